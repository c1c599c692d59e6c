#include "control/views.h"

#include <ranges>

#include "control/failed_requests.h"
#include "control/pipeline_log.h"
#include "pipeline/pipeline.h"
#include "rollout/rollout.h"
#include "route/table.h"

namespace naru::control {

namespace {

constexpr std::size_t kMaxError = 4000;

std::string version_of(const State& state, std::optional<ReleaseId> id) {
  const Release* release = state.release(id);
  return release == nullptr ? "nothing" : fmt::format("v{}", release->version);
}

std::string percent(BasisPoints weight) {
  return weight.value % 100 == 0 ? fmt::format("{}%", weight.value / 100)
                                 : fmt::format("{:.2f}%", weight.value / 100.0);
}

template <class F>
void each_instance(const State& state, const Environment& environment, F f) {
  for (const auto& [id, instance] : state.instances)
    if (instance.app == environment.app && instance.environment == environment.name) f(instance);
}

// The release whose services people mean: what everybody meets, else what is on its way.
const Release* shown_release(const State& state, const Environment& environment) {
  if (const Release* stable = state.release(environment.stable)) return stable;
  if (const Rollout* rollout = state.active_rollout(environment)) return state.release(rollout->to);
  return nullptr;
}

struct Readiness {
  std::uint32_t ready = 0, wanted = 0;
};
Readiness readiness(const State& state, const Environment& environment, const Release& release,
                    const ReleaseService& service) {
  // What a rollout has recreated, perhaps under a new name, serves both sides; and while what keeps data is
  // recreated or comes back, any revision of it does.
  const ReleaseService* recreated = route::recreated(state, environment, service.spec.name);
  const ReleaseService& serving = recreated == nullptr ? service : *recreated;
  Readiness out;
  out.wanted =
      environment.stopped || rollout::is_oneshot(release, service.spec.name) ? 0 : serving.spec.replicas;
  each_instance(state, environment, [&](const Instance& instance) {
    if (instance.service == serving.spec.name && instance.phase == InstancePhase::ready &&
        (recreated != nullptr || instance.revision == service.revision || service.spec.stateful()))
      ++out.ready;
  });
  return out;
}

std::string_view health_of(const State& state, const Environment& environment) {
  const Release* release = state.release(environment.stable);
  if (release == nullptr) return "empty";
  std::uint32_t services = 0, full = 0, none = 0;
  for (const ReleaseService& service : release->services) {
    const Readiness r = readiness(state, environment, *release, service);
    if (r.wanted == 0) continue;
    ++services;
    if (r.ready >= r.wanted) ++full;
    if (r.ready == 0) ++none;
  }
  if (environment.stopped) return "down";
  if (full == services) return "ok";
  return none == services ? "down" : "degraded";
}

Json release_line(const Release& release) {
  return {{"id", release.id},
          {"version", release.version},
          {"commit", release.commit},
          {"subject", release.subject}};
}

BasisPoints weight_of(const Rollout& rollout) {
  switch (rollout.phase) {
    case RolloutPhase::stepping:
      return rollout.steps.empty() ? BasisPoints{} : rollout.steps.back().weight;
    case RolloutPhase::completing:
    case RolloutPhase::done:
      return kEverybody;
    default:
      return {};
  }
}

std::vector<std::string> changed_names(const State& state, const Rollout& rollout) {
  std::vector<std::string> names;
  if (const Release* to = state.release(rollout.to))
    for (const ReleaseService* service : rollout::changed_services(state.release(rollout.from), *to))
      names.push_back(service->spec.name);
  return names;
}

Json steps_of(const Rollout& rollout) {
  Json out = Json::array();
  for (const StepRecord& step : rollout.steps)
    out.push_back({{"weight", step.weight},
                   {"started", step.started},
                   {"passed", step.passed},
                   {"verdict", step.verdict}});
  return out;
}

// What keeps a service of the stable release from being whole.
std::string trouble_of(const State& state, const Environment& environment) {
  std::string trouble;
  each_instance(state, environment, [&](const Instance& instance) {
    if (!trouble.empty() || instance.oneshot) return;
    const auto side = side_of(state, environment, instance.service, instance.revision.short_hex());
    if (side != "stable" && side != "both") return;
    if (instance.phase == InstancePhase::failed)
      trouble = fmt::format("{} of {} failed: {}", instance.id, instance.service, instance.error);
    else if (instance.phase == InstancePhase::waiting)
      trouble =
          fmt::format("{} of {} will be started again: {}", instance.id, instance.service, instance.error);
    else if (instance.phase == InstancePhase::running && instance.was_ready)
      trouble = fmt::format("{} of {} is not healthy: {}", instance.id, instance.service, instance.error);
  });
  return trouble.substr(0, 500);
}

std::string rollout_message(const State& state, const Rollout& rollout) {
  const std::string to = version_of(state, rollout.to);
  switch (rollout.phase) {
    case RolloutPhase::preparing:
      if (!rollout.reason.empty()) return fmt::format("starting {}: {}", to, rollout.reason);
      return rollout.from
                 ? fmt::format("starting {}; users meet {} only", to, version_of(state, rollout.from))
                 : fmt::format("starting {}", to);
    case RolloutPhase::stepping:
      if (rollout.reason.empty())
        return fmt::format("{} goes to {} of the users", to, percent(weight_of(rollout)));
      return rollout.reason;
    case RolloutPhase::completing:
      return fmt::format("everybody meets {}; {} is being stopped", to, version_of(state, rollout.from));
    case RolloutPhase::rolling_back:
      return rollout::was_superseded(rollout) ? fmt::format("{} is {}", to, rollout.reason)
                                              : fmt::format("{} is being taken back: {}", to, rollout.reason);
    default:
      return {};
  }
}

std::string taken_back(const State& state, const Rollout& rollout) {
  return fmt::format("{} was {}{}", version_of(state, rollout.to),
                     rollout::was_superseded(rollout) ? "" : "taken back: ", rollout.reason);
}

// Since when the deadline runs for what it waits for; none when none does.
WallTime waiting_since(const State& state, const Rollout& rollout, const Surroundings& around) {
  const auto environment = state.environments.find(env_key(rollout.app, rollout.environment));
  if (rollout.phase != RolloutPhase::preparing || environment == state.environments.end() ||
      environment->second.stopped)
    return {};
  return rollout::waiting_of(state, environment->second, rollout, around.now).since.value_or(WallTime{});
}

std::string pipeline_message(const Pipeline& pipeline) {
  const std::string commit = pipeline.commit.substr(0, 10);
  if (!pipeline.planned) return fmt::format("reading {}", commit);
  const auto done = std::ranges::count_if(
      pipeline.builds, [](const BuildStage& b) { return b.state == StageState::succeeded; });
  return fmt::format("building {}: {} of {} services are done", commit, done, pipeline.builds.size());
}

std::string hint_of(const Pipeline& pipeline) {
  return pipeline.hint.empty() ? "" : fmt::format(" ({})", pipeline.hint.substr(0, 500));
}

bool under_way(const Pipeline& pipeline) {
  return pipeline.state == StageState::waiting || pipeline.state == StageState::running;
}

}  // namespace

const Rollout* newest_rollout(const State& state, const Environment& environment) {
  for (const auto& [id, rollout] : std::views::reverse(state.rollouts))
    if (rollout.app == environment.app && rollout.environment == environment.name) return &rollout;
  return nullptr;
}

const Pipeline* newest_pipeline(const State& state, const std::string& app) {
  for (const auto& [id, pipeline] : std::views::reverse(state.pipelines))
    if (pipeline.app == app) return &pipeline;
  return nullptr;
}

std::string_view side_of(const State& state, const Environment& environment, const std::string& service,
                         std::string_view revision) {
  const auto has = [&](const Release* release) {
    const ReleaseService* found = release == nullptr ? nullptr : release->find(service);
    return found != nullptr && found->revision.short_hex() == revision;
  };
  const Rollout* rollout = state.active_rollout(environment);
  const bool stable = has(state.release(environment.stable));
  const bool next = rollout != nullptr && has(state.release(rollout->to));
  if (stable && next) return "both";
  return stable ? "stable" : next ? "canary" : "old";
}

namespace {

// Host ports of the release that everybody meets that are not open, each with its reason and a remedy.
std::string closed_ports(const State& state, const Environment& environment, const Surroundings& around) {
  std::string out;
  const Release* stable = state.release(environment.stable);
  if (stable == nullptr) return out;
  for (const route::PublishedPort& port : route::published_ports(state, environment, *stable))
    if (const auto error = around.listener_errors.find(port.listener());
        error != around.listener_errors.end())
      out += fmt::format(
          "; host port {} of {} is not open: {}; it is tried again (`ss -ltnp 'sport = :{}'` shows who has "
          "it)",
          port.host, port.service, error->second, port.host);
  return out;
}

}  // namespace

std::string status_message(const State& state, const Environment& environment, const Surroundings& around) {
  if (environment.stopped)
    return fmt::format("stopped; start it again with `naru app start {}`",
                       target_of(environment.app, environment.name));
  const Rollout* active = state.active_rollout(environment);
  const Pipeline* pipeline = newest_pipeline(state, environment.app);
  if (active != nullptr) return rollout_message(state, *active) + closed_ports(state, environment, around);
  if (pipeline != nullptr && under_way(*pipeline)) return pipeline_message(*pipeline);
  const Release* stable = state.release(environment.stable);
  if (environment.pending && !environment.approved)
    return fmt::format("{} waits for a person: `naru promote {}`", version_of(state, environment.pending),
                       target_of(environment.app, environment.name));
  if (const Release* next = pipeline::waiting_release(state, environment))
    return fmt::format(
        "{}v{} {}", stable == nullptr ? "" : fmt::format("v{} serves everybody; ", stable->version),
        next->version,
        environment_before(state, *next) != nullptr
            ? fmt::format("comes here when {} serves it", next->after)
            : fmt::format("waited for {}, which was removed: `naru promote {} v{}`", next->after,
                          target_of(environment.app, environment.name), next->version));
  if (stable == nullptr && pipeline != nullptr && pipeline->state == StageState::failed)
    return fmt::format("nothing runs; the last push failed: {}{}", pipeline->error.substr(0, 500),
                       hint_of(*pipeline));
  const Rollout* last = newest_rollout(state, environment);
  if (stable == nullptr && last != nullptr && last->phase == RolloutPhase::rolled_back)
    return "nothing runs; " + taken_back(state, *last);
  if (stable == nullptr) return "nothing runs yet; push a commit";
  std::string message = fmt::format("v{} serves everybody", stable->version);
  if (last != nullptr && last->phase == RolloutPhase::rolled_back)
    message += "; " + taken_back(state, *last);
  else if (pipeline != nullptr && pipeline->state == StageState::failed)
    message +=
        fmt::format("; the last push failed: {}{}", pipeline->error.substr(0, 500), hint_of(*pipeline));
  if (const std::string trouble = trouble_of(state, environment); !trouble.empty()) message += "; " + trouble;
  return message + closed_ports(state, environment, around);
}

Json app_summary(const State& state, const App& app, const Surroundings& around) {
  Json environments = Json::array();
  for (const auto& [key, environment] : state.environments) {
    if (environment.app != app.name) continue;
    const Release* stable = state.release(environment.stable);
    const Rollout* rollout = state.active_rollout(environment);
    Json urls = Json::array();
    if (stable != nullptr)
      for (const Address& address : addresses_of(state, environment, *stable, around.gateway_port))
        urls.push_back(address.url);
    const Release* to = rollout == nullptr ? nullptr : state.release(rollout->to);
    environments.push_back(
        {{"name", environment.name},
         {"stable",
          stable == nullptr ? Json() : Json{{"version", stable->version}, {"commit", stable->commit}}},
         {"rollout", rollout == nullptr ? Json()
                                        : Json{{"phase", rollout->phase},
                                               {"to", to == nullptr ? 0 : to->version},
                                               {"weight", weight_of(*rollout)}}},
         {"health", health_of(state, environment)},
         {"message", status_message(state, environment, around)},
         {"addresses", std::move(urls)}});
  }
  return {{"name", app.name}, {"created", app.created}, {"environments", std::move(environments)}};
}

Json instance_view(const State& state, const Instance& instance, const Surroundings& around) {
  const Release* release = state.release(instance.release);
  const ReleaseService* service = release == nullptr ? nullptr : release->find(instance.service);
  const auto environment = state.environments.find(env_key(instance.app, instance.environment));
  Json out{
      {"id", instance.id},
      {"app", instance.app},
      {"env", instance.environment},
      {"service", instance.service},
      {"release_version", release == nullptr ? 0 : release->version},
      {"side", environment == state.environments.end()
                   ? "old"
                   : side_of(state, environment->second, instance.service, instance.revision.short_hex())},
      {"phase", instance.phase},
      {"address", instance.address},
      {"pid", instance.pid},
      {"attempt", instance.attempt},
      {"restarts", instance.restarts},
      {"exit_code", instance.exit_code},
      {"out_of_memory", instance.out_of_memory},
      {"oneshot", instance.oneshot},
      {"stop_grace", service == nullptr ? ServiceSpec().stop_grace : service->spec.stop_grace},
      {"container", instance.container()},
      {"error", instance.error.substr(0, kMaxError)},
      {"started", instance.started},
      {"ready_at", instance.ready_at}};
  if (const auto usage = around.usage.find(instance.container()); usage != around.usage.end()) {
    out["memory_bytes"] = usage->second.memory_bytes;
    out["cpu_usec"] = usage->second.cpu_usec;
  }
  return out;
}

namespace {
// What has just begun has none yet: somebody gives one when he has looked. The newest rollout's comes with
// what it cannot know: it ended well, and then a port turned out to be somebody else's.
std::string reason_of(const State& state, const Rollout& rollout, const Surroundings& around) {
  const bool early = rollout.phase == RolloutPhase::preparing || rollout.phase == RolloutPhase::stepping;
  if (early && rollout.reason.empty()) return rollout_message(state, rollout);
  const auto environment = state.environments.find(env_key(rollout.app, rollout.environment));
  if (environment == state.environments.end() || environment->second.stable != rollout.to ||
      newest_rollout(state, environment->second) != &rollout)
    return rollout.reason;
  return rollout.reason + closed_ports(state, environment->second, around);
}
}  // namespace

Json rollout_view(const State& state, const Rollout& rollout, const Surroundings& around) {
  const Release* from = state.release(rollout.from);
  const Release* to = state.release(rollout.to);
  Json planned = Json::array();
  const std::vector<CanaryStep> none,
      &steps = rollout::takes_steps(state, rollout) ? rollout.policy.steps : none;
  for (const CanaryStep& step : steps)
    planned.push_back(
        {{"weight", step.weight}, {"min_duration", step.min_duration}, {"min_users", step.min_users}});
  return {{"id", rollout.id},
          {"app", rollout.app},
          {"env", rollout.environment},
          {"from_version", from == nullptr ? Json() : Json(from->version)},
          {"to_version", to == nullptr ? 0 : to->version},
          {"commit", to == nullptr ? "" : to->commit},
          {"subject", to == nullptr ? "" : to->subject},
          {"strategy", rollout.policy.strategy},
          {"bake", rollout.policy.bake},
          {"is_rollback", rollout.is_rollback},
          {"phase", rollout.phase},
          {"superseded", rollout::was_superseded(rollout)},
          {"waiting_since", waiting_since(state, rollout, around)},
          {"ready_deadline", rollout.policy.ready_deadline},
          {"step", rollout.step},
          {"steps", steps_of(rollout)},
          {"planned", std::move(planned)},
          {"slow_us", std::max<std::int64_t>(rollout.slow_us, 0)},
          {"weight", weight_of(rollout)},
          {"reason", reason_of(state, rollout, around)},
          {"verdict", rollout.verdict.is_object() ? rollout.verdict : Json()},
          {"changed", changed_names(state, rollout)},
          {"created", rollout.created},
          {"first_user", rollout.first_user},
          {"completed", rollout.completed},
          {"ended", rollout.ended},
          {"failed_requests", failed_requests(rollout)}};
}

namespace {
// A build that was under way when its pipeline ended was cancelled then.
WallTime ended_at(const Pipeline& pipeline, const BuildStage& build) {
  const bool cut = build.state == StageState::cancelled && build.started != WallTime{};
  return build.finished == WallTime{} && cut ? pipeline.finished : build.finished;
}
}  // namespace

Json pipeline_view(const State& state, const Pipeline& pipeline) {
  Json builds = Json::array();
  for (const BuildStage& build : pipeline.builds)
    builds.push_back({{"service", build.service},
                      {"state", build.state},
                      {"cached", build.cached},
                      {"started", build.started},
                      {"finished", ended_at(pipeline, build)},
                      {"error", build.error.substr(0, kMaxError)}});
  const Release* release = state.release(pipeline.release);
  return {{"id", pipeline.id},
          {"app", pipeline.app},
          {"commit", pipeline.commit},
          {"subject", pipeline.subject},
          {"author", pipeline.author},
          {"state", pipeline.state},
          {"error", pipeline.error.substr(0, kMaxError)},
          {"hint", pipeline.hint.substr(0, kMaxError)},
          {"warnings", pipeline.warnings},
          {"builds", std::move(builds)},
          {"release_version", release == nullptr ? Json() : Json(release->version)},
          {"pushed", pipeline.pushed},
          {"planned_at", pipeline.planned_at},
          {"finished", pipeline.finished}};
}

Json release_view(const State& state, const Release& release) {
  const Release* before = nullptr;
  for (const auto& [id, other] : state.releases)
    if (other.app == release.app && other.environment == release.environment && id < release.id)
      before = &other;
  const bool forgotten = before == nullptr && release.version > 1;
  Json services = Json::array();
  for (const ReleaseService& service : release.services) {
    const ReleaseService* same = before == nullptr ? nullptr : before->find(service.spec.name);
    const bool changed = same == nullptr || same->revision != service.revision;
    services.push_back({{"name", service.spec.name},
                        {"revision", service.revision.short_hex()},
                        {"image", service.image.manifest.text()},
                        {"changed", forgotten ? Json() : Json(changed)}});
  }
  bool current = false;
  for (const auto& [key, environment] : state.environments)
    if (environment.app == release.app && environment.stable == release.id) current = true;
  const Rollout* last = nullptr;
  for (const auto& [id, rollout] : state.rollouts)
    if (rollout.to == release.id) last = &rollout;
  const bool superseded = last != nullptr && rollout::was_superseded(*last);
  const bool taken_back = last != nullptr && last->phase == RolloutPhase::rolled_back && !superseded;
  return {{"id", release.id},
          {"env", release.environment},
          {"version", release.version},
          {"commit", release.commit},
          {"subject", release.subject},
          {"author", release.author},
          {"created", release.created},
          {"current", current},
          {"taken_back", taken_back},
          {"superseded", superseded},
          {"served", rollout::has_served(state, release)},
          {"services", std::move(services)}};
}

Json status_view(const State& state, const Environment& environment, const Surroundings& around) {
  const Release* stable = state.release(environment.stable);
  const Release* pending = state.release(environment.pending);
  const Release* shown = shown_release(state, environment);
  const Rollout* rollout = newest_rollout(state, environment);
  const Pipeline* pipeline = newest_pipeline(state, environment.app);
  const auto addresses = shown == nullptr ? std::vector<Address>()
                                          : addresses_of(state, environment, *shown, around.gateway_port);
  const auto changed =
      rollout != nullptr && rollout->active() ? changed_names(state, *rollout) : std::vector<std::string>();
  Json services = Json::array();
  if (shown != nullptr)
    for (const ReleaseService& service : shown->services) {
      const Readiness r = readiness(state, environment, *shown, service);
      Json urls = Json::array();
      for (const Address& address : addresses)
        if (address.service == service.spec.name) urls.push_back(address.url);
      services.push_back(
          {{"name", service.spec.name},
           {"revision", service.revision.short_hex()},
           {"ready", r.ready},
           {"wanted", r.wanted},
           {"stateful", service.spec.stateful()},
           {"addresses", std::move(urls)},
           {"oneshot", rollout::is_oneshot(*shown, service.spec.name)},
           {"depends_on",
            [&] {
              Json on = Json::array();
              for (const Dependency& d : service.spec.depends_on) on.push_back(d.service);
              return on;
            }()},
           {"changed_in_rollout", std::ranges::find(changed, service.spec.name) != changed.end()}});
    }
  Json instances = Json::array();
  each_instance(state, environment, [&](const Instance& instance) {
    instances.push_back(instance_view(state, instance, around));
  });
  std::vector<std::string> granted;
  if (const auto app = state.apps.find(environment.app); app != state.apps.end())
    for (const GrantRecord& record : app->second.grants) granted.push_back(record.grant);
  Json urls = Json::array();
  for (const Address& address : addresses)
    urls.push_back({{"service", address.service}, {"url", address.url}});
  return {
      {"app", environment.app},
      {"env", environment.name},
      {"stopped", environment.stopped},
      {"grants", granted},
      {"health", health_of(state, environment)},
      {"stable", stable == nullptr ? Json() : release_line(*stable)},
      {"pending",
       pending == nullptr ? Json() : Json{{"version", pending->version}, {"approved", environment.approved}}},
      {"services", std::move(services)},
      {"instances", std::move(instances)},
      {"rollout", rollout == nullptr ? Json() : rollout_view(state, *rollout, around)},
      {"pipeline", pipeline == nullptr ? Json() : pipeline_view(state, *pipeline)},
      {"addresses", std::move(urls)},
      {"message", status_message(state, environment, around)}};
}

namespace {

void mask_strings(Json& json, const std::vector<std::string>& secrets) {
  if (json.is_string())
    json = mask(json.get<std::string>(), secrets);
  else if (json.is_structured())
    for (Json& child : json) mask_strings(child, secrets);
}

void hide_values(Json& object) {
  if (!object.is_object()) return;
  for (Json& value : object) value = "***";
}

Json service_names(const Json& services) {
  Json names = Json::array();
  for (const Json& service : services)
    if (service.is_object()) names.push_back(service.value("name", ""));
  return names;
}

Json names_of(const Json& object) {
  Json names = Json::array();
  for (const auto& [name, value] : object.items()) names.push_back(name);
  return names;
}

}  // namespace

Json public_event(Json event, const std::vector<std::string>& secrets) {
  if (!event.is_object()) return event;
  if (event.contains("set")) hide_values(event["set"]);
  if (event.contains("environment") && event["environment"].is_object())
    hide_values(event["environment"]["variables"]);
  const auto shorten = [](Json& holder) {
    if (holder.contains("spec") && holder["spec"].is_object() && holder["spec"].contains("services"))
      holder["spec"] = Json{{"services", service_names(holder["spec"]["services"])}};
  };
  shorten(event);
  if (event.contains("elsewhere")) event["elsewhere"] = names_of(event["elsewhere"]);
  if (event.contains("pipeline") && event["pipeline"].is_object()) {
    shorten(event["pipeline"]);
    event["pipeline"].erase("elsewhere");
  }
  if (event.contains("release") && event["release"].is_object() && event["release"].contains("services")) {
    Json services = Json::array();
    for (const Json& service : event["release"]["services"])
      if (service.is_object())
        services.push_back({{"name", service.value("/spec/name"_json_pointer, "")},
                            {"revision", service.value("revision", "")}});
    event["release"]["services"] = std::move(services);
  }
  if (event.contains("image"))
    event["image"] =
        Json{{"manifest", event["image"].is_object() ? event["image"].value("manifest", "") : ""}};
  if (event.contains("rollout") && event["rollout"].is_object()) {
    event["rollout"].erase("judge");
    event["rollout"].erase("salt");  // the routes' own secret
  }
  event.erase("judge");
  event.erase("secret");  // SecretChosen
  mask_strings(event, secrets);
  return event;
}

}  // namespace naru::control
