// The fields of these types in JSON.
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
                 mounts, networks, restart, replicas, resources, user, working_dir, hostname, stop_signal,
                 stop_grace, read_only, init, cap_add, cap_drop, labels, shared, test_target)
NARU_JSON_NAMES(StrategyKind, {{StrategyKind::canary, "canary"},
                               {StrategyKind::recreate, "recreate"},
                               {StrategyKind::all_at_once, "all-at-once"}})
NARU_JSON_FIELDS(CanaryStep, weight, min_duration, min_users)
NARU_JSON_FIELDS(RolloutPolicy, strategy, steps, bake, alpha, error_objective, error_margin, latency_margin,
                 warm_up, ready_deadline, cohort_cookie, cohort_header)
NARU_JSON_NAMES(DeployMode, {{DeployMode::automatic, "auto"}, {DeployMode::manual, "manual"}})
NARU_JSON_FIELDS(ApplicationSpec, services, volumes, networks, rollout, deploy)
}  // namespace naru
