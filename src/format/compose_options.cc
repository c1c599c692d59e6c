// Parts of a service: health, restart, dependencies, networks, deploy, capabilities.
#include <cmath>

#include "format/compose_parts.h"
#include "model/capabilities.h"
#include "model/container_bounds.h"

namespace naru::format {
namespace {

constexpr std::string_view kOtherCapabilities[] = {
    "AUDIT_CONTROL",   "AUDIT_READ",   "BLOCK_SUSPEND", "BPF",          "CHECKPOINT_RESTORE",
    "DAC_READ_SEARCH", "IPC_LOCK",     "IPC_OWNER",     "LEASE",        "LINUX_IMMUTABLE",
    "MAC_ADMIN",       "MAC_OVERRIDE", "MKNOD",         "NET_ADMIN",    "NET_BROADCAST",
    "PERFMON",         "SYS_ADMIN",    "SYS_BOOT",      "SYS_MODULE",   "SYS_NICE",
    "SYS_PACCT",       "SYS_PTRACE",   "SYS_RAWIO",     "SYS_RESOURCE", "SYS_TIME",
    "SYS_TTY_CONFIG",  "SYSLOG",       "WAKE_ALARM"};

bool contains(const auto& list, std::string_view word) {
  return std::find(std::begin(list), std::end(list), word) != std::end(list);
}

std::string upper(std::string text) {
  for (char& c : text)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return text;
}

void read_test(ComposeReading& reading, HealthSpec& health, const At& at) {
  if (at.node->kind == YamlKind::scalar) {
    if (auto text = reading.text(at, "a command")) health.test = {"/bin/sh", "-c", std::move(*text)};
    return;
  }
  std::vector<std::string> words = reading.texts(at, "a command: text or a list");
  if (words.empty()) return;
  const std::string form = words[0];
  if (form == "NONE") {
    health.disabled = true;
  } else if (form == "CMD" && words.size() > 1) {
    health.test.assign(words.begin() + 1, words.end());
  } else if (form == "CMD-SHELL" && words.size() == 2) {
    health.test = {"/bin/sh", "-c", words[1]};
  } else {
    reading.error(at.item(0), fmt::format("found \"{}\" and {} more words, expected [\"CMD\", program, ...], "
                                          "[\"CMD-SHELL\", \"command\"] or [\"NONE\"]",
                                          form.substr(0, 40), words.size() - 1));
  }
}

std::optional<DependencyCondition> parse_condition(std::string_view word) {
  if (word == "service_started") return DependencyCondition::started;
  if (word == "service_healthy") return DependencyCondition::healthy;
  if (word == "service_completed_successfully") return DependencyCondition::completed;
  return std::nullopt;
}

void add_dependency(ComposeReading& reading, ServiceDraft& draft, Dependency dependency, const At& at) {
  for (const Dependency& other : draft.spec.depends_on)
    if (other.service == dependency.service)
      return reading.error(at, fmt::format("found \"{}\" a second time", dependency.service.substr(0, 60)));
  draft.spec.depends_on.push_back(std::move(dependency));
  draft.dependency_places.push_back(at);
}

void read_limits(ComposeReading& reading, ResourceSpec& limits, const At& at) {
  reading.fields(at, {
                         {"cpus", [&](const At& v) { limits.cpu_millis = read_cpus(reading, v); }},
                         {"memory", [&](const At& v) { limits.memory_bytes = read_memory(reading, v); }},
                         {"pids",
                          [&](const At& v) {
                            limits.pids =
                                static_cast<std::uint32_t>(reading.whole(v, 1, 4'000'000).value_or(0));
                          }},
                     });
}

void read_restart_policy(ComposeReading& reading, ServiceDraft& draft, const At& at) {
  draft.has_restart = true;
  draft.restart_at = at;
  reading.fields(at, {
                         {"condition",
                          [&](const At& v) {
                            const std::string word = reading.text(v).value_or("any");
                            if (word == "none")
                              draft.spec.restart.mode = RestartMode::no;
                            else if (word == "on-failure")
                              draft.spec.restart.mode = RestartMode::on_failure;
                            else if (word == "any")
                              draft.spec.restart.mode = RestartMode::always;
                            else
                              reading.error(v, fmt::format("found {}, expected none, on-failure or any",
                                                           found(*v.node)));
                          }},
                         {"max_attempts",
                          [&](const At& v) {
                            draft.spec.restart.max_attempts =
                                static_cast<std::uint32_t>(reading.whole(v, 0, 1'000'000).value_or(0));
                          }},
                         {"delay", reading.ignored("the time between restarts grows by itself")},
                         {"window", reading.ignored("the time between restarts grows by itself")},
                     });
}

}  // namespace

HealthSpec read_health(ComposeReading& reading, const At& at) {
  HealthSpec health;
  const auto duration_into = [&](milliseconds& into, milliseconds least,
                                 std::optional<milliseconds> most = std::nullopt) {
    return [&reading, &into, least, most](const At& v) {
      const auto value = reading.duration(v);
      if (value && *value < least)
        reading.error(v, fmt::format("found {}, expected at least {}ms", found(*v.node), least.count()));
      if (value && most && *value > *most)
        reading.error(v, fmt::format("found {}, expected at most {}", found(*v.node), humanize(*most)),
                      {"a probe that takes longer has failed: let the program answer its check from memory"});
      into = value.value_or(into);
    };
  };
  reading.fields(at,
                 {
                     {"test", [&](const At& v) { read_test(reading, health, v); }},
                     {"interval", duration_into(health.interval, 10ms)},
                     {"timeout", duration_into(health.timeout, 10ms, kMaxHealthTimeout)},
                     {"start_period", duration_into(health.start_period, 0ms)},
                     {"start_interval", duration_into(health.start_interval, 10ms)},
                     {"retries",
                      [&](const At& v) {
                        health.retries = static_cast<std::uint32_t>(reading.whole(v, 1, 10'000).value_or(3));
                      }},
                     {"disable", [&](const At& v) { health.disabled = reading.boolean(v).value_or(false); }},
                 });
  return health;
}

RestartSpec read_restart(ComposeReading& reading, const At& at) {
  RestartSpec restart;
  const std::string word = reading.text(at, "a restart policy").value_or("always");
  const bool limited = word.starts_with("on-failure:");
  if (word == "no" || word == "false")
    restart.mode = RestartMode::no;  // YAML 1.1 reads a bare `no` as false
  else if (word == "always")
    restart.mode = RestartMode::always;
  else if (word == "unless-stopped")
    restart.mode = RestartMode::unless_stopped;
  else if (word == "on-failure" || limited)
    restart.mode = RestartMode::on_failure;
  else
    reading.error(
        at, fmt::format("found {}, expected no, always, on-failure[:N] or unless-stopped", found(*at.node)),
        {did_you_mean(word, {"no", "always", "on-failure", "unless-stopped"})});
  if (!limited) return restart;
  const auto attempts = yaml_int(std::string_view(word).substr(11));
  if (!attempts || *attempts < 0 || *attempts > 1'000'000)
    reading.error(at,
                  fmt::format("found {}, expected a number of attempts after the colon", found(*at.node)));
  else
    restart.max_attempts = static_cast<std::uint32_t>(*attempts);
  return restart;
}

void read_depends_on(ComposeReading& reading, ServiceDraft& draft, const At& at) {
  if (at.node->kind == YamlKind::sequence)
    return reading.each(at, "", [&](const At& item) {
      if (auto name = reading.text(item, "the name of a service"))
        add_dependency(reading, draft, {*name, {}}, item);
    });
  reading.entries(at, "a list of services, or a mapping", [&](const std::string& name, const At& entry) {
    Dependency dependency{name, DependencyCondition::started};
    bool required = true;
    if (!entry.node->is_null())
      reading.fields(entry,
                     {
                         {"condition",
                          [&](const At& v) {
                            const std::string word = reading.text(v).value_or("");
                            if (const auto condition = parse_condition(word))
                              dependency.condition = *condition;
                            else
                              reading.error(v,
                                            fmt::format("found {}, expected service_started, service_healthy "
                                                        "or service_completed_successfully",
                                                        found(*v.node)),
                                            {did_you_mean(word, {"service_started", "service_healthy",
                                                                 "service_completed_successfully"})});
                          }},
                         {"required", [&](const At& v) { required = reading.boolean(v).value_or(true); }},
                         {"restart",
                          [&](const At& v) {
                            if (reading.boolean(v).value_or(false))
                              reading.warn(v,
                                           "ignored: a service goes on running when what it depends on is "
                                           "recreated, its calls wait meanwhile");
                          }},
                     });
    // The service is looked up later; an optional one has no place, so that its absence is no fault.
    add_dependency(reading, draft, std::move(dependency), entry);
    if (!required && !draft.dependency_places.empty()) draft.dependency_places.back().node = nullptr;
  });
}

void read_networks(ComposeReading& reading, ServiceDraft& draft, const At& at) {
  const auto add = [&](const std::string& name, const At& place) {
    if (std::find(draft.spec.networks.begin(), draft.spec.networks.end(), name) != draft.spec.networks.end())
      return;
    draft.spec.networks.push_back(name);
    draft.network_places.push_back(place);
  };
  if (at.node->kind == YamlKind::sequence)
    return reading.each(at, "", [&](const At& item) {
      if (auto name = reading.text(item, "the name of a network")) add(*name, item);
    });
  reading.entries(at, "a list of networks, or a mapping", [&](const std::string& name, const At& entry) {
    if (!entry.node->is_null()) {
      const auto addresses =
          reading.unsupported("addresses are given by Naru; services reach each other by name");
      reading.fields(entry,
                     {{"aliases", reading.unsupported("services reach each other by the service's name")},
                      {"ipv4_address", addresses},
                      {"ipv6_address", addresses},
                      {"link_local_ips", addresses},
                      {"mac_address", addresses},
                      {"driver_opts", addresses},
                      {"gw_priority", reading.silent()},
                      {"interface_name", addresses},
                      {"priority", reading.silent()}});
    }
    add(name, entry);
  });
}

std::uint32_t read_cpus(ComposeReading& reading, const At& at) {
  const auto value = at.node->kind == YamlKind::scalar ? yaml_float(at.node->text) : std::nullopt;
  if (value && (*value == 0 || (*value >= 0.01 && *value <= 4096)))
    return static_cast<std::uint32_t>(std::lround(*value * 1000));
  reading.error(at, fmt::format("found {}, expected a number of CPUs, at least 0.01", found(*at.node)));
  return 0;
}

std::uint64_t read_memory(ComposeReading& reading, const At& at) {
  static constexpr std::uint64_t kLeast = 4 << 20;  // below that no program starts
  const std::uint64_t bytes = reading.bytes(at).value_or(0);
  if (bytes == 0 || bytes >= kLeast) return bytes;
  reading.error(
      at, fmt::format("found {}, expected at least 4m", found(*at.node)),
      {at.node->text.find_first_not_of("0123456789.") == std::string::npos ? "without a unit these are bytes"
                                                                           : ""});
  return 0;
}

void read_deploy(ComposeReading& reading, ServiceDraft& draft, ResourceSpec& limits, const At& at) {
  static constexpr const char* kRollout = "x-naru.rollout says how a release comes in";
  reading.fields(
      at, {
              {"replicas",
               [&](const At& v) {
                 draft.spec.replicas = static_cast<std::uint32_t>(reading.whole(v, 0, 100).value_or(1));
                 draft.replicas_at = v;
               }},
              {"resources",
               [&](const At& v) {
                 reading.fields(
                     v, {{"limits", [&](const At& l) { read_limits(reading, limits, l); }},
                         {"reservations", reading.ignored("there is one machine; only limits count")}});
               }},
              {"restart_policy", [&](const At& v) { read_restart_policy(reading, draft, v); }},
              {"mode",
               [&](const At& v) {
                 if (v.node->text != "replicated")
                   reading.unsupported("replicated is the only mode on one machine")(v);
               }},
              {"update_config", reading.ignored(kRollout)},
              {"rollback_config", reading.ignored(kRollout)},
              {"placement", reading.ignored("there is one machine")},
              {"endpoint_mode", reading.silent()},
              {"labels", reading.silent()},
          });
}

std::vector<std::string> read_capabilities(ComposeReading& reading, const At& at, bool add) {
  std::vector<std::string> out;
  reading.each(at, "a list of capabilities", [&](const At& item) {
    std::string name = upper(reading.text(item, "a capability").value_or("CHOWN"));
    if (name.starts_with("CAP_")) name = name.substr(4);
    const bool usual = contains(kContainerCapabilities, name);
    if (!usual && name != "ALL" && !contains(kOtherCapabilities, name)) {
      std::vector<std::string_view> known(std::begin(kContainerCapabilities),
                                          std::end(kContainerCapabilities));
      known.insert(known.end(), std::begin(kOtherCapabilities), std::end(kOtherCapabilities));
      return reading.error(item, fmt::format("found {}, which is no capability of Linux", found(*item.node)),
                           {did_you_mean(name, known)});
    }
    if (add && !usual && !reading.granted(item, {GrantKind::capability, name, false})) return;
    out.push_back(std::move(name));
  });
  return out;
}

void read_security_opt(ComposeReading& reading, const At& at) {
  reading.each(at, "a list of options", [&](const At& item) {
    const std::string text = reading.text(item).value_or("");
    if (text != "no-new-privileges" && text != "no-new-privileges:true" && text != "no-new-privileges=true" &&
        !text.empty())
      reading.forbidden("it changes the container's defences")(item);
  });
}

}  // namespace naru::format
