// What must hold when everything has come to rest, and what keeps it from rest.
#include "rollout/rollout.h"
#include "route/table.h"
#include "sim/invariants.h"
#include "sim/violation.h"

namespace naru::sim {

Behaviour Invariants::behaviour_of(const Instance& instance) const {
  const ReleaseService* service = control_.state().release(instance.release)->find(instance.service);
  return out_.developers.at(instance.app).behaviour_of(service->image.manifest);
}

std::string Invariants::unrest_of(const Instance& instance) const {
  const bool good = behaviour_of(instance) == Behaviour::good || behaviour_of(instance) == Behaviour::errors;
  switch (instance.phase) {
    case InstancePhase::starting:
    case InstancePhase::retiring:
    case InstancePhase::stopping:
      return fmt::format("{} is {}", instance.id, Json(instance.phase).get<std::string>());
    case InstancePhase::running:
    case InstancePhase::waiting:
      return good ? fmt::format("{} is {}", instance.id, Json(instance.phase).get<std::string>()) : "";
    case InstancePhase::ready: {
      const Container* container = out_.launcher.find(instance.container());
      const bool there = container != nullptr && container->alive();
      return there ? "" : fmt::format("{} is ready without a container", instance.id);
    }
    case InstancePhase::completed:
    case InstancePhase::failed:
      return "";
  }
  return "";
}

std::string Invariants::unrest() const {
  if (!control_.up()) return "control is away";
  const State& state = control_.state();
  if (!state.outbox.empty())
    return fmt::format("the outbox holds {} actions, first {} {}", state.outbox.size(),
                       Json(state.outbox.begin()->second.kind).get<std::string>(),
                       state.outbox.begin()->second.subject);
  for (const auto& [id, pipeline] : state.pipelines)
    if (pipeline.state == StageState::waiting || pipeline.state == StageState::running)
      return fmt::format("pipeline {} has not ended", id);
  for (const auto& [key, environment] : state.environments) {
    if (environment.pending && environment.approved)
      return fmt::format("{}: an approved release has not started", key);
    const Rollout* rollout = state.active_rollout(environment);
    if (rollout == nullptr) continue;
    if (rollout->phase != RolloutPhase::stepping)
      return fmt::format("{}: rollout {} is {}: {}", key, rollout->id,
                         Json(rollout->phase).get<std::string>(), rollout->reason);
    if (!rollout->step_live || rollout->reason.empty())
      return fmt::format("{}: rollout {} does not say what it waits for", key, rollout->id);
    const Gateway::Evidence& evidence = out_.gateway.evidence.at(rollout->evidence_slot % Gateway::kSlots);
    // After an outage of both the judge leaves it to a person, and says so.
    const bool outage = evidence.stable.users_bad * 10 > evidence.stable.users_seen;
    if (!outage && evidence.canary.users_bad >= 10 &&
        out_.developers.at(rollout->app).answers_errors(*state.release(rollout->to)))
      return fmt::format("{}: rollout {} goes on with {} bad users", key, rollout->id,
                         evidence.canary.users_bad);
  }
  for (const auto& [id, instance] : state.instances)
    if (std::string why = unrest_of(instance); !why.empty()) return why;
  return "";
}

void Invariants::at_rest(const std::map<std::string, std::string>& acknowledged) const {
  const State& state = control_.state();
  for (const auto& [id, container] : out_.launcher.containers()) {
    const auto found = state.instances.find(container.instance);
    if (found == state.instances.end() || found->second.container() != id)
      violated("nothing is left behind", "{} belongs to nobody", id);
  }
  for (const auto& [key, routes] : out_.launcher.udp_routes())
    if (state.environments.contains(key) && routes != route::udp_routes_of(state, key))
      violated("the kernel sends datagrams where the state says", "{}: it sends {} and should {}", key,
               Json(routes).dump(), Json(route::udp_routes_of(state, key)).dump());
  for (const auto& [key, environment] : state.environments) {
    const Release* stable = state.release(environment.stable);
    if (!route::udp_routes_of(state, key).empty() && !out_.launcher.udp_routes().contains(key))
      violated("the kernel sends datagrams where the state says", "{}: it was told nothing", key);
    if (stable == nullptr || environment.stopped) continue;
    for (const ReleaseService& service : stable->services) {
      const Behaviour behaviour = out_.developers.at(environment.app).behaviour_of(service.image.manifest);
      if (rollout::is_oneshot(*stable, service.spec.name) ||
          (behaviour != Behaviour::good && behaviour != Behaviour::errors))
        continue;
      const Rollout* rollout = state.active_rollout(environment);
      const bool swapped =
          rollout != nullptr && std::ranges::any_of(rollout->swapped, [&](const std::string& name) {
            const Release& to = *state.release(rollout->to);
            return excludes(to, to.find(name)->spec, *stable, service.spec);
          });
      if (!swapped && !rollout::all_ready(state, environment, service))
        violated("stable runs at rest", "{}: {} of v{} is not ready", key, service.spec.name,
                 stable->version);
    }
  }
  for (const auto& [commit, app] : acknowledged) {
    const bool found = std::ranges::any_of(state.pipelines, [&](const auto& row) {
      return row.second.app == app && row.second.commit == commit;
    });
    if (!found) violated("nothing acknowledged is lost", "the push of {} has no pipeline", commit);
  }
  for (const auto& [id, release] : state.releases)
    if (!accounted_for(release))
      violated("nothing acknowledged is lost", "v{} of {} is neither delivered to {} nor waiting",
               release.version, release.app, release.environment);
}

// Delivered, or waiting, or overtaken, or never served by the environment that it follows.
bool Invariants::accounted_for(const Release& release) const {
  const State& state = control_.state();
  const Environment& environment = state.environments.at(env_key(release.app, release.environment));
  if (delivered_.contains(release.id) || environment.pending == release.id) return true;
  const bool overtaken = std::ranges::any_of(state.releases, [&](const auto& row) {
    return row.second.app == release.app && row.second.version > release.version;
  });
  if (overtaken) return true;
  if (release.after.empty()) return false;
  const Environment& before = state.environments.at(env_key(release.app, release.after));
  const Release* served = state.release(before.stable);
  return served == nullptr || served->version != release.version || state.active_rollout(before) != nullptr;
}

}  // namespace naru::sim
