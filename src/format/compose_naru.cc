// x-naru: what compose cannot say. Unknown keys are errors here, since nobody else reads them.
#include <cmath>

#include "format/compose_parts.h"
#include "format/quantity.h"

namespace naru::format {
namespace {

constexpr std::size_t kMaxSteps = 20;
constexpr std::size_t kMaxProbePath = 1000;  // bytes
constexpr std::int64_t kMaxProbeRate = 100;  // requests a second
constexpr auto kStrict = ComposeReading::Unknown::error;

void read_strategy(ComposeReading& reading, RolloutPolicy& policy, const At& at) {
  const std::string word = reading.text(at, "a strategy").value_or("canary");
  if (word == "canary")
    policy.strategy = StrategyKind::canary;
  else if (word == "all-at-once")
    policy.strategy = StrategyKind::all_at_once;
  else if (word == "recreate" || word == "blue-green" || word == "rolling" || word == "shadow")
    reading.error(at, fmt::format("the strategy \"{}\" is not there yet", word),
                  {"canary and all-at-once are", Code::unsupported});
  else
    reading.error(at, fmt::format("found {}, expected canary or all-at-once", found(*at.node)),
                  {did_you_mean(word, {"canary", "all-at-once"})});
}

std::optional<BasisPoints> read_weight(ComposeReading& reading, const At& at) {
  const auto weight = at.node->kind == YamlKind::scalar ? parse_percentage(at.node->text) : std::nullopt;
  if (weight && weight->value > 0) return weight;
  reading.error(at, fmt::format("found {}, expected a share of the users such as 5%", found(*at.node)));
  return std::nullopt;
}

void read_steps(ComposeReading& reading, RolloutPolicy& policy, const At& at) {
  std::vector<CanaryStep> steps;
  BasisPoints before{0};
  reading.each(at, "a list of steps", [&](const At& item) {
    CanaryStep step;
    bool weighed = false;
    const auto weigh = [&](const At& v) {
      weighed = true;
      const auto weight = read_weight(reading, v);
      if (weight && *weight <= before)
        reading.error(v,
                      fmt::format("found {}, expected more than the step before ({}%)", found(*v.node),
                                  before.value / 100.0),
                      {"who is in stays in: shares only grow"});
      if (weight) before = step.weight = *weight;
    };
    if (item.node->kind == YamlKind::scalar)
      weigh(item);  // "5%" alone
    else
      reading.fields(
          item,
          {{"weight", weigh},
           {"duration",
            [&](const At& v) { step.min_duration = reading.duration(v).value_or(step.min_duration); }},
           {"users",
            [&](const At& v) {
              step.min_users = static_cast<std::uint32_t>(reading.whole(v, 0, 10'000'000).value_or(0));
            }}},
          kStrict);
    if (!weighed && item.node->kind == YamlKind::mapping)
      reading.error(item, "found a step without `weight`, expected a share such as 5%");
    if (step.weight < kEverybody) steps.push_back(step);  // everybody is always the last step
  });
  if (steps.size() > kMaxSteps)
    return reading.error(at, fmt::format("found {} steps, expected at most {}", steps.size(), kMaxSteps),
                         {{}, Code::too_large});
  policy.steps = std::move(steps);
}

// "1%" or 0.01.
std::optional<double> read_rate(ComposeReading& reading, const At& at) {
  if (at.node->kind == YamlKind::scalar && at.node->text.ends_with('%')) {
    const auto share = parse_percentage(at.node->text);
    if (share && share->value > 0 && share->value < 10'000) return share->fraction();
    reading.error(at, fmt::format("found {}, expected a rate between 0% and 100%", found(*at.node)));
    return std::nullopt;
  }
  return reading.number(at, 0, 0.999999);
}

bool valid_token(std::string_view text) {  // RFC 9110, 5.6.2
  return !text.empty() && text.size() <= 100 &&
         text.find_first_not_of(
             "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") ==
             std::string_view::npos;
}

void read_cohort(ComposeReading& reading, RolloutPolicy& policy, const At& at) {
  const auto name_into = [&](std::string& into, std::string_view what) {
    return [&reading, &into, what](const At& v) {
      const auto text = reading.text(v, what);
      if (text && valid_token(*text))
        into = *text;
      else if (text)
        reading.error(v, fmt::format("found {}, expected {}", found(*v.node), what));
    };
  };
  reading.fields(at,
                 {{"cookie", name_into(policy.cohort_cookie, "the name of a cookie")},
                  {"header", name_into(policy.cohort_header, "the name of a header")}},
                 kStrict);
  if (!policy.cohort_cookie.empty() && !policy.cohort_header.empty())
    reading.error(at, "found a cookie and a header, expected one of them");
}

bool is_request_path(std::string_view text) {  // RFC 9112, 3.2.1: as it goes into a request line
  return text.starts_with('/') && text.size() <= kMaxProbePath &&
         std::ranges::all_of(text, [](char c) { return c > ' ' && c < '\x7f' && c != '#'; });
}

ProbeSpec read_probe(ComposeReading& reading, const At& at) {
  ProbeSpec probe;
  const auto read_path = [&](const At& v) {
    const auto text = reading.text(v, "the path of a request");
    if (text && is_request_path(*text))
      probe.path = *text;
    else if (text)
      reading.error(v, fmt::format("found {}, expected the path of a request such as /", found(*v.node)));
  };
  if (at.node->kind == YamlKind::scalar) {
    read_path(at);  // "/search?q=a" alone
    return probe;
  }
  reading.fields(
      at,
      {{"service",
        [&](const At& v) { probe.service = reading.text(v, "the name of a service").value_or(""); }},
       {"path", read_path},
       {"rate",
        [&](const At& v) {
          probe.rate = static_cast<std::uint32_t>(reading.whole(v, 1, kMaxProbeRate).value_or(probe.rate));
        }}},
      kStrict);
  return probe;
}

void read_rollout(ComposeReading& reading, RolloutPolicy& policy, const At& at) {
  std::optional<double> margin, latency_margin;
  const auto duration_into = [&](milliseconds& into) {
    return [&reading, &into](const At& v) { into = reading.duration(v).value_or(into); };
  };
  reading.fields(
      at,
      {
          {"strategy", [&](const At& v) { read_strategy(reading, policy, v); }},
          {"steps", [&](const At& v) { read_steps(reading, policy, v); }},
          {"bake", duration_into(policy.bake)},
          {"warm_up", duration_into(policy.warm_up)},
          {"ready_deadline", duration_into(policy.ready_deadline)},
          {"alpha", [&](const At& v) { policy.alpha = reading.number(v, 0, 0.5).value_or(policy.alpha); }},
          {"objective",
           [&](const At& v) {
             policy.error_objective = read_rate(reading, v).value_or(policy.error_objective);
           }},
          {"margin", [&](const At& v) { margin = reading.number(v, 0, 10); }},
          {"latency_margin", [&](const At& v) { latency_margin = reading.number(v, 0, 10); }},
          {"cohort", [&](const At& v) { read_cohort(reading, policy, v); }},
          {"probe", [&](const At& v) { policy.probe = read_probe(reading, v); }},
      },
      kStrict);
  if (margin) policy.error_margin = policy.latency_margin = *margin;
  if (latency_margin) policy.latency_margin = *latency_margin;
  if (policy.ready_deadline < 1s)
    reading.error(at.child_or_self("ready_deadline"),
                  "found less than a second, expected time enough to start an instance");
}

DeployMode read_deploy(ComposeReading& reading, const At& at) {
  const std::string word = reading.text(at, "auto or manual").value_or("auto");
  if (word != "manual" && word != "auto")
    reading.error(at, fmt::format("found {}, expected auto or manual", found(*at.node)),
                  {did_you_mean(word, {"auto", "manual"})});
  return word == "manual" ? DeployMode::manual : DeployMode::automatic;
}

struct EnvironmentDraft {
  EnvironmentSpec spec;
  std::optional<At> deploy_at, after_at;
};

void read_environment(ComposeReading& reading, std::vector<EnvironmentDraft>& drafts, const At& at,
                      const std::string& name) {
  if (!is_valid_name(name))
    return reading.error(at,
                         fmt::format("found the environment \"{}\", expected a name of 1 to 24 of a-z, 0-9 "
                                     "and '-', beginning with a letter",
                                     name.substr(0, 60)));
  EnvironmentDraft draft;
  draft.spec.name = name;
  if (!at.node->is_null())
    reading.fields(at,
                   {{"deploy",
                     [&](const At& v) {
                       draft.deploy_at = v;
                       draft.spec.deploy = read_deploy(reading, v);
                     }},
                    {"after",
                     [&](const At& v) {
                       draft.after_at = v;
                       draft.spec.after = reading.text(v, "the name of an environment").value_or("");
                     }}},
                   kStrict);
  drafts.push_back(std::move(draft));
}

const EnvironmentDraft* find(const std::vector<EnvironmentDraft>& drafts, std::string_view name) {
  const auto found = std::ranges::find(drafts, name, [](const EnvironmentDraft& d) { return d.spec.name; });
  return found == drafts.end() ? nullptr : &*found;
}

// `after` names another one, and following it comes to an end.
void check_order(ComposeReading& reading, const std::vector<EnvironmentDraft>& drafts) {
  std::vector<std::string_view> names{kProduction};
  for (const EnvironmentDraft& draft : drafts) names.push_back(draft.spec.name);
  for (const EnvironmentDraft& draft : drafts) {
    if (draft.spec.after.empty()) continue;
    if (draft.spec.after != kProduction && find(drafts, draft.spec.after) == nullptr) {
      reading.error(
          *draft.after_at,
          fmt::format("found the environment \"{}\", which is not declared", draft.spec.after.substr(0, 60)),
          {did_you_mean(draft.spec.after, names)});
      continue;
    }
    const EnvironmentDraft* at = &draft;
    for (std::size_t steps = 0; at != nullptr && !at->spec.after.empty(); at = find(drafts, at->spec.after))
      if (++steps > drafts.size()) {
        reading.error(*draft.after_at, "found environments that wait for each other in a circle");
        return;
      }
  }
}

void read_environments(ComposeReading& reading, ApplicationSpec& spec, const At& at) {
  std::vector<EnvironmentDraft> drafts;
  reading.entries(at, "a mapping of environments", [&](const std::string& name, const At& item) {
    read_environment(reading, drafts, item, name);
  });
  const std::size_t count = drafts.size() + (find(drafts, kProduction) == nullptr ? 1 : 0);
  if (count > kMaxEnvironments)
    return reading.error(
        at,
        fmt::format("found {} environments with production, expected at most {}", count, kMaxEnvironments),
        {{}, Code::too_large});
  check_order(reading, drafts);
  for (EnvironmentDraft& draft : drafts) {
    if (draft.spec.name == kProduction && !draft.deploy_at) draft.spec.deploy = spec.deploy;
    spec.environments.push_back(std::move(draft.spec));
  }
}

}  // namespace

// Which service a probe asks: the one that is named, else the first that people open.
void settle_probe(ComposeReading& reading, const std::vector<ServiceDraft>& services, ApplicationSpec& spec,
                  const At& root) {
  if (!spec.rollout.probe) return;
  std::string& wanted = spec.rollout.probe->service;
  const At at = root.child_or_self("x-naru").child_or_self("rollout").child_or_self("probe");
  const auto answers = [](const ServiceDraft& draft) {
    return !draft.spec.stateful() && std::ranges::any_of(draft.spec.ports, may_speak_http);
  };
  if (!wanted.empty()) {
    const auto named = std::ranges::find(services, wanted, [](const ServiceDraft& d) { return d.spec.name; });
    std::vector<std::string_view> names;
    for (const ServiceDraft& draft : services)
      if (answers(draft)) names.push_back(draft.spec.name);
    if (named == services.end())
      reading.error(at.child_or_self("service"),
                    fmt::format("found the service \"{}\", which is not declared", wanted.substr(0, 60)),
                    {did_you_mean(wanted, names)});
    else if (!answers(*named))
      reading.error(
          at.child_or_self("service"),
          fmt::format("found \"{}\", which has no port that answers HTTP and keeps no data", wanted),
          {"probe a service with `ports` or `expose`"});
    return;
  }
  // What is known to speak HTTP before what may, and then what people open.
  const auto first = [&](Speaks what, bool published) {
    return std::ranges::find_if(services, [&](const ServiceDraft& draft) {
      return !draft.spec.stateful() && std::ranges::any_of(draft.spec.ports, [&](const PortSpec& port) {
        return speaks(port) == what && (port.host || !published);
      });
    });
  };
  auto any = services.end();
  for (const Speaks what : {Speaks::http, Speaks::unknown})
    for (const bool published : {true, false})
      if (any == services.end()) any = first(what, published);
  if (any == services.end())
    return reading.error(at, "found a probe, but no service that answers HTTP",
                         {"give the service that it should ask `ports` or `expose`"});
  wanted = any->spec.name;
}

void read_root_extension(ComposeReading& reading, ApplicationSpec& spec, const At& at) {
  std::optional<At> environments;
  reading.fields(at,
                 {
                     {"rollout", [&](const At& v) { read_rollout(reading, spec.rollout, v); }},
                     {"deploy", [&](const At& v) { spec.deploy = read_deploy(reading, v); }},
                     {"environments", [&](const At& v) { environments = v; }},
                 },
                 kStrict);
  if (environments) read_environments(reading, spec, *environments);  // production's `deploy` is known by now
}

void read_service_extension(ComposeReading& reading, ServiceSpec& spec, const At& at) {
  reading.fields(
      at,
      {
          {"shared", [&](const At& v) { spec.shared = reading.boolean(v).value_or(false); }},
          {"test",
           [&](const At& v) {
             const bool off =
                 v.node->kind == YamlKind::scalar &&
                 (yaml_bool(v.node->text) == false || v.node->text.empty() || v.node->text == "none");
             spec.test_target = off ? "" : reading.text(v, "the name of a stage, or false").value_or("");
           }},
      },
      kStrict);
}

}  // namespace naru::format
