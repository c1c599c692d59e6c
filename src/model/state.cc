// The fields of these types in JSON.
#include "model/state.h"

namespace naru {
NARU_JSON_FIELDS(App, name, branch, created, last_version, first_id, grants)
NARU_JSON_FIELDS(Environment, app, name, deploy, variables, network, stable, pending, approved, rollout,
                 virtual_addresses, next_virtual, offered, stopped, switched, network_error, udp_digest,
                 udp_error)
NARU_JSON_NAMES(StageState, {{StageState::waiting, "waiting"},
                             {StageState::running, "running"},
                             {StageState::succeeded, "succeeded"},
                             {StageState::failed, "failed"},
                             {StageState::cancelled, "cancelled"}})
NARU_JSON_FIELDS(ImageInfo, manifest, layers, entrypoint, command, env, working_dir, user, stop_signal,
                 health, volumes, exposed)
NARU_JSON_FIELDS(BuildStage, service, state, cached, started, finished, image, error)
NARU_JSON_FIELDS(Pipeline, id, app, ref, commit, subject, author, rerun, state, spec, elsewhere, planned,
                 builds, error, warnings, release, pushed, planned_at, finished, hint)
NARU_JSON_FIELDS(ReleaseService, spec, image, revision)
NARU_JSON_FIELDS(Release, id, app, environment, after, version, commit, subject, author, pipeline, services,
                 volumes, policy, deploy, created, served)
NARU_JSON_NAMES(RolloutPhase, {{RolloutPhase::preparing, "preparing"},
                               {RolloutPhase::stepping, "stepping"},
                               {RolloutPhase::completing, "completing"},
                               {RolloutPhase::rolling_back, "rolling-back"},
                               {RolloutPhase::done, "done"},
                               {RolloutPhase::rolled_back, "rolled-back"}})
NARU_JSON_FIELDS(FailedExample, time, side, service, method, path, status, outcome, duration_us, trace_id)
NARU_JSON_FIELDS(StepRecord, weight, started, passed, verdict, failed)
NARU_JSON_FIELDS(Rollout, id, app, environment, from, to, policy, phase, step, step_live, step_started, salt,
                 evidence_slot, slow_us, steps, swapped, oneshots_done, resume, judge, verdict, reason,
                 is_rollback, created, phase_since, first_user, completed, ended)
NARU_JSON_NAMES(InstancePhase, {{InstancePhase::starting, "starting"},
                                {InstancePhase::running, "running"},
                                {InstancePhase::ready, "ready"},
                                {InstancePhase::retiring, "retiring"},
                                {InstancePhase::stopping, "stopping"},
                                {InstancePhase::waiting, "waiting"},
                                {InstancePhase::completed, "completed"},
                                {InstancePhase::failed, "failed"}})
NARU_JSON_FIELDS(Instance, id, app, environment, service, revision, release, replica, oneshot, phase, attempt,
                 restarts, address, pid, exit_code, out_of_memory, error, was_ready, crashes, exposed,
                 created, started, ready_at, retry_at, retired_at, retired_revision, out_of_routes)
NARU_JSON_NAMES(ActionKind, {{ActionKind::plan_pipeline, "plan_pipeline"},
                             {ActionKind::build_service, "build_service"},
                             {ActionKind::ensure_network, "ensure_network"},
                             {ActionKind::start_instance, "start_instance"},
                             {ActionKind::stop_instance, "stop_instance"},
                             {ActionKind::remove_container, "remove_container"},
                             {ActionKind::publish_routes, "publish_routes"},
                             {ActionKind::remove_network, "remove_network"},
                             {ActionKind::set_udp_routes, "set_udp_routes"}})
NARU_JSON_FIELDS(Action, id, kind, subject, detail)
NARU_JSON_FIELDS(Counters, next_id, routes_revision, routes_acked, routes_digest, next_evidence_slot,
                 next_slot, control_started)
NARU_JSON_FIELDS(State, counters, apps, environments, pipelines, releases, rollouts, instances, slots, ports,
                 outbox, secret)

bool written_by_another(const Release& release, const ServiceSpec& service, const MountSpec& where) {
  return std::ranges::any_of(release.services, [&](const ReleaseService& other) {
    return other.spec.name != service.name && other.spec.writes(where);
  });
}

bool excludes(const Release& release, const ServiceSpec& service, const Release& others,
              const ServiceSpec& other) {
  if (service.name == other.name) return service.stateful() || other.stateful();
  if (service.shared && other.shared) return false;
  const ReleaseService* beside = release.find(other.name);
  return std::ranges::any_of(service.mounts, [&](const MountSpec& mount) {
    return mount.keeps_state() && other.writes(mount) &&
           (beside == nullptr || !beside->spec.writes(mount) || !written_by_another(others, other, mount));
  });
}

namespace {

const ServiceSpec* publisher_of(const Release& release, std::uint16_t host_port) {
  for (const ReleaseService& service : release.services)
    for (const PortSpec& port : service.spec.ports)
      if (port.host == host_port && port.transport == Transport::tcp) return &service.spec;
  return nullptr;
}

}  // namespace

const Environment* environment_before(const State& state, const Release& release) {
  const auto before = state.environments.find(env_key(release.app, release.after));
  return release.after.empty() || before == state.environments.end() ? nullptr : &before->second;
}

std::optional<TakenPort> taken_port(const State& state, const Release& release) {
  if (release.environment != kProduction) return std::nullopt;
  for (const auto& [key, environment] : state.environments) {
    const Release* theirs = state.release(environment.stable);
    if (theirs == nullptr || environment.name != kProduction || environment.app == release.app) continue;
    for (const ReleaseService& service : theirs->services)
      for (const PortSpec& port : service.spec.ports) {
        if (!port.host || port.transport != Transport::tcp) continue;
        if (const ServiceSpec* ours = publisher_of(release, *port.host))
          return TakenPort{*port.host, ours->name,
                           fmt::format("service {} of {}", service.spec.name, environment.app)};
      }
  }
  return std::nullopt;
}
}  // namespace naru
