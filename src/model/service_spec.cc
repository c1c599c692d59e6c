#include "model/service_spec.h"

namespace naru {
NARU_JSON_NAMES(Transport, {{Transport::tcp, "tcp"}, {Transport::udp, "udp"}})
NARU_JSON_FIELDS(PortSpec, container, host, host_ip, transport, app_protocol)
NARU_JSON_NAMES(MountKind,
                {{MountKind::volume, "volume"}, {MountKind::bind, "bind"}, {MountKind::tmpfs, "tmpfs"}})
NARU_JSON_FIELDS(MountSpec, kind, source, target, read_only, tmpfs_bytes)
NARU_JSON_FIELDS(HealthSpec, disabled, test, interval, timeout, start_period, start_interval, retries)
NARU_JSON_FIELDS(BuildSpec, context, dockerfile, target, args)
NARU_JSON_NAMES(DependencyCondition, {{DependencyCondition::started, "service_started"},
                                      {DependencyCondition::healthy, "service_healthy"},
                                      {DependencyCondition::completed, "service_completed_successfully"}})
NARU_JSON_FIELDS(Dependency, service, condition)
NARU_JSON_NAMES(RestartMode, {{RestartMode::no, "no"},
                              {RestartMode::always, "always"},
                              {RestartMode::on_failure, "on-failure"},
                              {RestartMode::unless_stopped, "unless-stopped"}})
NARU_JSON_FIELDS(RestartSpec, mode, max_attempts)
NARU_JSON_FIELDS(ResourceSpec, memory_bytes, cpu_millis, pids)
NARU_JSON_FIELDS(ServiceSpec, name, build, image, entrypoint, command, environment, ports, depends_on, health,
                 mounts, networks, internal, restart, replicas, resources, user, working_dir, hostname,
                 stop_signal, stop_grace, read_only, cap_add, cap_drop, labels, shared, test_target)
NARU_JSON_NAMES(StrategyKind, {{StrategyKind::canary, "canary"},
                               {StrategyKind::recreate, "recreate"},
                               {StrategyKind::all_at_once, "all-at-once"}})
NARU_JSON_FIELDS(CanaryStep, weight, min_duration, min_users)
NARU_JSON_FIELDS(ProbeSpec, service, path, rate)
NARU_JSON_FIELDS(RolloutPolicy, strategy, steps, bake, alpha, error_objective, error_margin, latency_margin,
                 warm_up, ready_deadline, cohort_cookie, cohort_header, probe)
NARU_JSON_NAMES(DeployMode, {{DeployMode::automatic, "auto"}, {DeployMode::manual, "manual"}})
NARU_JSON_FIELDS(EnvironmentSpec, name, deploy, after)
NARU_JSON_FIELDS(ApplicationSpec, services, volumes, networks, rollout, deploy, environments)

bool share_network(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  const auto has = [](const std::vector<std::string>& names, const std::string& name) {
    return names.empty() ? name == "default" : std::ranges::find(names, name) != names.end();
  };
  if (a.empty()) return has(b, "default");
  return std::ranges::any_of(a, [&](const std::string& name) { return has(b, name); });
}

Speaks speaks(const PortSpec& port) {
  if (port.transport != Transport::tcp) return Speaks::other;
  if (!port.app_protocol.empty())
    return port.app_protocol.starts_with("http") || port.app_protocol == "grpc" ? Speaks::http
                                                                                : Speaks::other;
  static constexpr std::uint16_t kOthers[] = {21,   22,   25,   53,   143,  389,   465,  587,
                                              993,  1433, 1883, 2181, 3306, 3389,  4222, 5432,
                                              5672, 6379, 8883, 9042, 9092, 11211, 27017};
  if (std::ranges::find(kOthers, port.container) != std::end(kOthers)) return Speaks::other;
  const auto within = [&](int first, int last) { return port.container >= first && port.container <= last; };
  const bool web = port.container == 80 || within(3000, 3999) || within(4000, 4200) || within(5000, 5173) ||
                   within(8000, 8999);
  return web ? Speaks::http : Speaks::unknown;
}

bool may_speak_http(const PortSpec& port) {
  return speaks(port) != Speaks::other;
}

bool is_valid_name(std::string_view name) {
  return !name.empty() && name.size() <= 24 && name.front() >= 'a' && name.front() <= 'z' &&
         name.back() != '-' && std::ranges::all_of(name, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
         });
}

bool lies_in(std::string_view path, std::string_view folder) {
  if (folder == "/") return path.starts_with('/');
  return path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/');
}

bool folders_meet(std::string_view a, std::string_view b) {
  return lies_in(a, b) || lies_in(b, a);
}

std::vector<EnvironmentSpec> ApplicationSpec::every_environment() const {
  std::vector<EnvironmentSpec> all = environments;
  if (std::ranges::find(all, kProduction, &EnvironmentSpec::name) == all.end())
    all.insert(all.begin(), {std::string(kProduction), deploy, {}});
  return all;
}

}  // namespace naru
