#include "sim/invariants.h"

#include "rollout/rollout.h"
#include "route/cohort.h"
#include "route/snapshot.h"
#include "route/table.h"
#include "sim/violation.h"

namespace naru::sim {

namespace {

constexpr std::uint64_t kSample = 40;       // users whose side is watched
constexpr milliseconds kForgotten{15'000};  // after which a fault explains nothing any more
constexpr milliseconds kStopped{120'000};   // in which everything stops, however slow it is

std::string name_of(const EnvKey& environment, const std::string& service) {
  return environment + "/" + service;
}
std::string user_name(std::uint64_t user) {
  return fmt::format("user-{}", user);
}

bool has_revision(const Release* release, const std::string& service, const Digest& revision) {
  const ReleaseService* found = release == nullptr ? nullptr : release->find(service);
  return found != nullptr && found->revision == revision;
}

template <class F>
void each_side(const RouteTable& table, F f) {
  for (const EnvironmentRoute& environment : table.environments)
    for (const ServiceRoute& service : environment.services) {
      f(environment, service, service.stable);
      if (service.canary) f(environment, service, *service.canary);
    }
}

}  // namespace

Invariants::Invariants(Outside outside, Control& control, bool calm)
    : out_(outside), control_(control), calm_(calm) {}

// ---- events

void Invariants::event(const State& before, const Event& event) {
  if (const auto* e = std::get_if<event::StepStarted>(&event)) step_started(before, *e);
  if (const auto* e = std::get_if<event::StepLive>(&event)) step_live(before, *e);
  if (const auto* e = std::get_if<event::StepPassed>(&event)) step_passed(before, *e);
  if (const auto* e = std::get_if<event::EvidenceStored>(&event)) evidence_stored(before, *e);
  if (const auto* e = std::get_if<event::RolloutPhaseChanged>(&event)) phase_changed(before, *e);
  if (const auto* e = std::get_if<event::InstanceStarted>(&event)) instance_started(before, *e);
  if (const auto* e = std::get_if<event::HistoryRemoved>(&event)) history_removed(before, *e);
  if (const auto* e = std::get_if<event::ReleaseCreated>(&event)) release_created(before, *e);
  if (const auto* e = std::get_if<event::ReleasePending>(&event)) release_pending(before, *e);
  if (const auto* e = std::get_if<event::EnvironmentStopped>(&event))
    switched_[e->environment] = out_.timeline.now();
  if (const auto* e = std::get_if<event::InstanceReady>(&event)) {
    const Instance& instance = before.instances.at(e->instance);
    const Container* container = out_.launcher.find(instance.container());
    if (container == nullptr || !container->was_healthy)
      violated("only what was healthy is ready", "{} is said to be ready", instance.container());
  }
  if (const auto* e = std::get_if<event::RolloutStarted>(&event)) {
    const Environment& environment = before.environments.at(env_key(e->rollout.app, e->rollout.environment));
    if (rollback_asked_) rolled_back_to_.insert(e->rollout.id);
    if (e->rollout.is_rollback && !met_everybody_.contains(e->rollout.to))
      violated("a rollback goes to what served", "rollout {} goes to {}", e->rollout.id, e->rollout.to);
    delivered_.insert(e->rollout.to);
    if (environment.rollout && *environment.rollout != e->rollout.id)
      violated("one rollout at a time", "{} has {} already", e->rollout.id, *environment.rollout);
  }
}

void Invariants::step_started(const State& before, const event::StepStarted& e) const {
  const Rollout& rollout = before.rollouts.at(e.rollout);
  for (const auto& [id, other] : before.rollouts)
    if (id != rollout.id && other.active() && other.phase == RolloutPhase::stepping &&
        other.evidence_slot == e.evidence_slot)
      violated("evidence slots are unique", "rollouts {} and {} share {}", id, rollout.id, e.evidence_slot);
  const bool again = rollout.phase == RolloutPhase::stepping && e.step == rollout.step && !rollout.step_live;
  if (again) return;
  const bool first = rollout.phase == RolloutPhase::preparing;
  if (e.step != (first ? 0 : rollout.step + 1))
    violated("steps follow the policy", "step {} after {}", e.step, rollout.step);
  if (!first && rollout.steps.back().passed == WallTime{})
    violated("steps follow the policy", "step {} before the verdict on {}", e.step, rollout.step);
  if (e.step >= rollout.policy.steps.size() || e.weight != rollout.policy.steps[e.step].weight)
    violated("weights follow the policy", "step {} has {} basis points", e.step, e.weight.value);
}

void Invariants::step_live(const State& before, const event::StepLive& e) {
  const Rollout& rollout = before.rollouts.at(e.rollout);
  first_live_.try_emplace(rollout.id, out_.timeline.now());
  const EnvironmentRoute* route = out_.gateway.environment(rollout.app, rollout.environment);
  if (route == nullptr || !route->split || route->split->rollout != rollout.id ||
      route->split->weight != rollout.steps.back().weight ||
      route->split->evidence_slot != rollout.evidence_slot)
    violated("a step is live when the gateway has it", "rollout {} step {}", rollout.id, rollout.step);
}

void Invariants::step_passed(const State& before, const event::StepPassed& e) {
  const Rollout& rollout = before.rollouts.at(e.rollout);
  const Gateway::Evidence& evidence = out_.gateway.evidence.at(rollout.evidence_slot % Gateway::kSlots);
  const std::uint64_t seen = evidence.canary.users_seen;
  if (evidence.stable.users_bad * 10 > evidence.stable.users_seen) outages_.insert(rollout.id);
  const std::uint64_t least = std::max<std::uint64_t>(1, rollout.policy.steps.at(e.step).min_users);
  if (seen < least)
    violated("no step passes without traffic", "rollout {} step {}: {} of {} users", rollout.id, e.step, seen,
             least);
}

void Invariants::evidence_stored(const State& before, const event::EvidenceStored& e) {
  const Rollout& rollout = before.rollouts.at(e.rollout);
  const std::size_t had = e.step < rollout.steps.size() ? rollout.steps[e.step].failed.size() : 0;
  if (e.step != rollout.step || e.failed.size() < had || e.failed.size() > kMaxExamples)
    violated("examples stay with their step", "rollout {} step {}: {} of step {}, {} before", e.rollout,
             rollout.step, e.failed.size(), e.step, had);
  for (const FailedExample& one : e.failed)
    if (one.path != fmt::format("/{}/{}", e.rollout, e.step))
      violated("examples are of their step", "rollout {} step {} shows {}", e.rollout, e.step, one.path);
}

void Invariants::phase_changed(const State& before, const event::RolloutPhaseChanged& e) {
  const Rollout& rollout = before.rollouts.at(e.rollout);
  if (e.reason.empty())
    violated("a rollout says why", "rollout {} changes its phase without a reason", rollout.id);
  if (e.phase == RolloutPhase::completing) {
    completing(before, rollout);
    met_everybody_.insert(rollout.to);
  }
  deadline_passed(before, rollout, e);
  if (e.phase != RolloutPhase::done && e.phase != RolloutPhase::rolled_back) return;
  ended(before, rollout, e.phase, e.reason);
  const bool well = e.phase == RolloutPhase::done;
  no_mix(before.release(well ? std::optional(rollout.to) : rollout.from),
         env_key(rollout.app, rollout.environment));
}

milliseconds Invariants::watched(const EnvKey& environment) const {
  const auto switched = switched_.find(environment);
  return out_.timeline.now() -
         std::max(control_started_, switched == switched_.end() ? WallTime() : switched->second);
}

void Invariants::deadline_passed(const State& before, const Rollout& rollout,
                                 const event::RolloutPhaseChanged& e) const {
  const EnvKey key = env_key(rollout.app, rollout.environment);
  const Environment& environment = before.environments.at(key);
  const milliseconds deadline = rollout.policy.ready_deadline;
  const bool waited = e.reason.find(fmt::format(", for {}", humanize(deadline))) != std::string::npos;
  const bool left =
      e.reason.ends_with("is not ready again") && !(environment.pending && environment.approved);
  // Control's clock may run a tenth faster.
  if (((e.phase == RolloutPhase::rolling_back && waited) || (e.phase == RolloutPhase::rolled_back && left)) &&
      watched(key) * 11 / 10 + 1s < deadline)
    violated("no deadline runs while nobody looks", "rollout {} {}, {} after somebody began to look",
             rollout.id, e.reason, humanize(watched(key)));
}

void Invariants::control_started() {
  control_started_ = out_.timeline.now();
}

void Invariants::stopped() const {
  for (const auto& [id, container] : out_.launcher.containers()) {
    const auto found = control_.state().environments.find(container.environment);
    if (control_.up() && container.alive() && found != control_.state().environments.end() &&
        found->second.stopped && watched(container.environment) > kStopped)
      violated("what is stopped ends", "{} runs {} after its environment was stopped", id,
               humanize(watched(container.environment)));
  }
}

void Invariants::completing(const State& before, const Rollout& rollout) const {
  const bool stepped = !rollout.steps.empty();
  if (!stepped || rollout.resume) return;
  const Release* to = before.release(rollout.to);
  if (rollout.steps.size() != rollout.policy.steps.size())
    violated("every step passes", "rollout {} goes on after {} steps", rollout.id, rollout.steps.size());
  for (const StepRecord& step : rollout.steps)
    if (step.passed == WallTime{})
      violated("every step passes", "rollout {} goes on before its verdict", rollout.id);
  // In true time, too.
  const milliseconds baked = out_.timeline.now() - first_live_.at(rollout.id);
  if (baked * 11 / 10 + 1ms < rollout.policy.bake)
    violated("the bake time is kept", "rollout {} goes on after {}", rollout.id, humanize(baked));
  if (!outages_.contains(rollout.id) && out_.developers.at(rollout.app).answers_errors(*to))
    violated("a bad release ends rolled back", "rollout {} brings {} to everybody", rollout.id, to->commit);
}

void Invariants::ended(const State& before, const Rollout& rollout, RolloutPhase phase,
                       const std::string& reason) const {
  if (phase != RolloutPhase::rolled_back || !calm_) return;
  const Commit* commit = out_.developers.at(rollout.app).find(before.release(rollout.to)->commit);
  if (commit->good && !reason.starts_with("superseded") && !reason.starts_with("aborted") &&
      !reason.starts_with("host port"))
    violated("a good release ends done", "rollout {} of {} was rolled back: {}", rollout.id, commit->id,
             reason);
}

// When a rollout has ended, only the revisions of the release that stays may have containers.
void Invariants::no_mix(const Release* kept, const EnvKey& environment) const {
  for (const auto& [id, container] : out_.launcher.containers())
    if (container.environment == environment && container.alive() &&
        !has_revision(kept, container.service, container.revision))
      violated("an ended rollout leaves no mix", "{} still runs", id);
}

void Invariants::instance_started(const State& before, const event::InstanceStarted& e) const {
  const Instance& instance = before.instances.at(e.instance);
  const auto known = by_address_.find(e.address);
  if (known == by_address_.end() || known->second.id != instance.container())
    violated("a result counts for its own attempt", "{} is said to run at {}", instance.container(),
             e.address);
}

// ---- environments

void Invariants::release_created(const State& before, const event::ReleaseCreated& e) const {
  for (const auto& [id, other] : before.releases) {
    if (other.app != e.release.app || other.version != e.release.version) continue;
    for (const ReleaseService& service : e.release.services) {
      const ReleaseService* there = other.find(service.spec.name);
      if (there == nullptr || there->image != service.image || other.commit != e.release.commit)
        violated("a version is the same everywhere", "v{} of {}: {} differs between {} and {}", other.version,
                 other.app, service.spec.name, other.environment, e.release.environment);
    }
  }
}

// By what the gateway really serves there. A person who approves what waits already decides otherwise.
void Invariants::release_pending(const State& before, const event::ReleasePending& e) const {
  const Release* release = before.release(e.release);
  if (release == nullptr || release->after.empty() ||
      before.environments.at(e.environment).pending == e.release)
    return;
  const EnvironmentRoute* route = out_.gateway.environment(release->app, release->after);
  const bool served =
      route != nullptr && std::ranges::all_of(route->services, [&](const ServiceRoute& service) {
        const Release* stable = before.release(service.stable.release);
        return stable != nullptr && stable->version == release->version;
      });
  if (!served)
    violated("a release follows the one before", "v{} comes to {} before {} serves it", release->version,
             e.environment, release->after);
}

void Invariants::ports() const {
  const State& state = control_.state();
  std::map<std::uint16_t, std::string> owners;
  for (const auto& [key, environment] : state.environments) {
    const Release* stable = environment.name == kProduction ? state.release(environment.stable) : nullptr;
    if (stable == nullptr) continue;
    for (const ReleaseService& service : stable->services)
      for (const PortSpec& port : service.spec.ports)
        if (const auto [owner, fresh] = owners.try_emplace(port.host.value_or(0), key);
            port.host && !fresh && owner->second != key)
          violated("ports are never shared", "{} and {} publish {}", owner->second, key, *port.host);
  }
  for (const auto& [key, port] : state.ports)
    if (const auto [owner, fresh] = owners.try_emplace(port, key); !fresh)
      violated("ports are never shared", "{} and {} have {}", owner->second, key, port);
}

void Invariants::apart(const RouteTable& table) const {
  const auto check = [&](const EnvKey& environment, const std::string& address) {
    const auto found = by_address_.find(address);
    if (found != by_address_.end() && found->second.environment != environment)
      violated("environments are apart", "{} knows {} of {}", environment, found->second.id,
               found->second.environment);
  };
  const auto key_of = [](const EnvironmentRoute& route) { return env_key(route.app, route.environment); };
  each_side(table, [&](const EnvironmentRoute& route, const ServiceRoute&, const RouteSide& side) {
    for (const Endpoint& endpoint : side.endpoints) check(key_of(route), endpoint.address);
  });
  for (const EnvironmentRoute& route : table.environments)
    for (const Caller& caller : route.callers) check(key_of(route), caller.address);
  for (const auto& [key, routes] : out_.launcher.udp_routes())
    for (const std::vector<UdpTarget>* targets : {&routes.targets, &routes.canary})
      for (const UdpTarget& target : *targets) check(key, target.address);
}

// Whoever goes back afterwards comes to the same place, and what has not ended is not forgotten.
void Invariants::history_removed(const State& before, const event::HistoryRemoved& e) const {
  State after = before;
  Touched touched;
  apply(after, event::HistoryRemoved(e), out_.timeline.now(), touched);
  for (const auto& [key, environment] : before.environments) {
    const Release* was = rollout::previous_release(before, environment);
    const Release* is = rollout::previous_release(after, environment);
    if (was != nullptr && (is == nullptr || is->id != was->id))
      violated("a rollback's target is kept", "{}: v{} is forgotten", key, was->version);
  }
  for (const PipelineId id : e.pipelines) {
    const StageState state = before.pipelines.at(id).state;
    if (state == StageState::waiting || state == StageState::running)
      violated("what has not ended is kept", "pipeline {} is forgotten", id);
  }
  for (const RolloutId id : e.rollouts)
    if (before.rollouts.at(id).active())
      violated("what has not ended is kept", "rollout {} is forgotten", id);
}

// No row names one that is not there.
void Invariants::references() const {
  const State& state = control_.state();
  const auto check = [&](std::string_view who, std::uint64_t id, std::optional<ReleaseId> release) {
    if (release && !state.releases.contains(*release))
      violated("what is kept names only what is kept", "{} {} names release {}", who, id, *release);
  };
  for (const auto& [key, environment] : state.environments) {
    check("environment", 0, environment.stable);
    check("environment", 0, environment.pending);
  }
  for (const auto& [id, rollout] : state.rollouts) {
    check("rollout", id, rollout.from);
    check("rollout", id, rollout.to);
  }
  for (const auto& [id, instance] : state.instances) check("an instance", 0, instance.release);
  for (const auto& [id, pipeline] : state.pipelines) check("pipeline", id, pipeline.release);
  for (const auto& [id, release] : state.releases)
    if (!state.pipelines.contains(release.pipeline))
      violated("what is kept names only what is kept", "release {} names pipeline {}", id, release.pipeline);
}

void Invariants::committed() const {
  references();
  ports();
  std::set<std::uint32_t> slots;
  for (const auto& [key, slot] : control_.state().slots)
    if (!slots.insert(slot).second)
      violated("telemetry slots are unique", "{} has {}, as another", key, slot);
  for (const auto& [key, environment] : control_.state().environments)
    if (environment.rollout && !control_.state().rollouts.contains(*environment.rollout))
      violated("one rollout at a time", "{} names rollout {}, which is not there", key, *environment.rollout);
}

// ---- routes

void Invariants::published(const RouteTable& table) const {
  for (const std::string& what : route::Snapshot::compile(table)->left_out())
    violated("the gateway can route every table", "{}", what);
  each_side(table, [&](const EnvironmentRoute&, const ServiceRoute& service, const RouteSide& side) {
    for (const Endpoint& endpoint : side.endpoints) {
      const auto found = control_.state().instances.find(endpoint.instance);
      if (found == control_.state().instances.end() || found->second.phase != InstancePhase::ready ||
          found->second.address != endpoint.address)
        violated("routes name ready instances only", "{} goes to {}", service.name, endpoint.instance);
    }
  });
  for (const EnvironmentRoute& route : table.environments) {
    const EnvKey key = env_key(route.app, route.environment);
    const Rollout* rollout = control_.state().active_rollout(control_.state().environments.at(key));
    const bool stepping = rollout != nullptr && rollout->phase == RolloutPhase::stepping;
    if (route.split.has_value() != stepping)
      violated("a split only while stepping", "{}: {}", key, stepping ? "there is none" : "there is one");
    if (stepping && (route.split->weight > kEverybody ||
                     route.split->weight != rollout->policy.steps.at(rollout->step).weight))
      violated("weights follow the policy", "{} splits at {}", key, route.split->weight.value);
  }
}

void Invariants::applied(const RouteTable& before, const RouteTable& after) {
  apart(after);
  each_side(before, [&](const EnvironmentRoute&, const ServiceRoute&, const RouteSide& side) {
    for (const Endpoint& endpoint : side.endpoints) last_routed_[endpoint.address] = out_.timeline.now();
  });
  each_side(after, [&](const EnvironmentRoute&, const ServiceRoute& service, const RouteSide& side) {
    for (const Endpoint& endpoint : side.endpoints) {
      last_routed_[endpoint.address] = WallTime::max();
      const Container& container = by_address_.at(endpoint.address);
      if (!container.faulty && !container.alive())
        violated("routes name ready instances only", "{} goes to {}, which was stopped", service.name,
                 container.id);
    }
  });
  for (auto& [address, at] : last_routed_) {
    if (at != WallTime::max()) continue;
    bool named = false;
    each_side(after, [&](const EnvironmentRoute&, const ServiceRoute&, const RouteSide& side) {
      named = named || std::ranges::find(side.endpoints, address, &Endpoint::address) != side.endpoints.end();
    });
    if (!named) at = out_.timeline.now();
  }
  for (const EnvironmentRoute& route : after.environments) {
    if (!route.split) continue;
    const route::CohortHash hash(route.split->salt);
    std::set<std::uint64_t>& canary = canary_users_[route.split->rollout];
    for (std::uint64_t user = 0; user < kSample; ++user) {
      const bool now =
          route::CohortHash::side(hash(user_name(user)), route.split->weight) == route::Side::canary;
      if (!now && canary.contains(user))
        violated("a user never flips back", "rollout {}: {}", route.split->rollout, user_name(user));
      if (now) canary.insert(user);
    }
  }
}

bool Invariants::serves(const RouteSide& side) const {
  return std::ranges::any_of(side.endpoints, [&](const Endpoint& endpoint) {
    const auto known = by_address_.find(endpoint.address);
    const Container* container = known == by_address_.end() ? nullptr : out_.launcher.find(known->second.id);
    return container != nullptr && container->healthy(out_.timeline.now());
  });
}

bool Invariants::answers(const EnvironmentRoute& route, bool canary) const {
  return std::ranges::all_of(route.services, [&](const ServiceRoute& service) {
    const bool only_canary = service.stable.endpoints.empty() && service.stable.release == 0;
    if (service.hold || (only_canary && !canary) || service.name == "migrate") return true;
    return serves(canary && service.canary ? *service.canary : service.stable);
  });
}

// Once served, a stateless service of the stable release stays so, unless its containers fail by themselves.
void Invariants::users_served() {
  for (const EnvironmentRoute& route : out_.gateway.applied().environments) {
    const EnvKey key = env_key(route.app, route.environment);
    const auto environment = control_.state().environments.find(key);
    if (!control_.up() || environment == control_.state().environments.end()) continue;
    const Release* stable = control_.state().release(environment->second.stable);
    if (stable == nullptr) continue;
    for (const ServiceRoute& service : route.services) {
      const ReleaseService* spec = stable->find(service.name);
      if (spec == nullptr || spec->spec.stateful() || rollout::is_oneshot(*stable, service.name)) continue;
      const std::string name = name_of(key, service.name);
      const auto fault = trouble_.find(name);
      const bool excused = fault != trouble_.end() && out_.timeline.now() - fault->second < kForgotten;
      const bool now = serves(service.stable);
      if (now && !excused) served_.insert(name);
      if (!now && served_.contains(name))
        violated("stable stays served", "{} has no ready endpoint (of {})", name,
                 service.stable.endpoints.size());
    }
  }
}

// ---- containers

void Invariants::container_creating(const Container& container) {
  by_address_[container.address] = container;
  for (const auto& [id, other] : out_.launcher.containers())
    for (const std::string& volume : container.volumes)
      if (id != container.id && other.alive() &&
          std::ranges::find(other.volumes, volume) != other.volumes.end())
        violated("state is never run twice", "{} and {} hold {}", id, container.id, volume);
  if (!container.oneshot) return;
  const std::string run =
      fmt::format("{}/{}/{}", container.environment, container.release, container.service);
  if (oneshots_succeeded_.contains(run)) violated("a one-shot runs once", "{} runs again", run);
  for (const auto& [id, other] : out_.launcher.containers())
    if (id != container.id && other.alive() && other.environment == container.environment &&
        other.release == container.release && other.service == container.service)
      violated("a one-shot runs once", "{} runs while {} does", container.id, id);
  const auto environment = control_.state().environments.find(container.environment);
  const Rollout* rollout = environment == control_.state().environments.end()
                               ? nullptr
                               : control_.state().active_rollout(environment->second);
  if (rollout != nullptr && rollout->to == container.release && rolled_back_to_.contains(rollout->id))
    violated("a rollback reruns no one-shot", "{} runs in rollout {}", run, rollout->id);
}

// How long a machine was down nobody can tell from a clock that was set meanwhile.
void Invariants::rebooted() {
  for (auto& [id, since] : first_live_) since = WallTime();
}

bool Invariants::gets_datagrams(const Container& container) const {
  const auto found = out_.launcher.udp_routes().find(container.environment);
  if (found == out_.launcher.udp_routes().end()) return false;
  const auto named = [&](const std::vector<UdpTarget>& targets) {
    return std::ranges::find(targets, container.address, &UdpTarget::address) != targets.end();
  };
  return named(found->second.targets) || named(found->second.canary);
}

void Invariants::container_stop_asked(const Container& container) {
  const auto routed = last_routed_.find(container.address);
  if (routed == last_routed_.end() || container.faulty) return;
  const auto environment = control_.state().environments.find(container.environment);
  if (environment != control_.state().environments.end() && environment->second.stopped &&
      watched(container.environment) * 11 / 10 + 1s >= rollout::kRoutesPatience)
    return;  // the gateway had its time
  if (routed->second == WallTime::max())
    violated("out of the routes before it stops", "{} is stopped while the gateway names it", container.id);
  // In true time; control's may run a tenth faster while it catches up with the machine's clock.
  if (container.volumes.empty() && (out_.timeline.now() - routed->second) * 11 / 10 + 1ms < rollout::kDrain)
    violated("requests under way are finished", "{} is stopped {} after its last request", container.id,
             humanize(out_.timeline.now() - routed->second));
  if (gets_datagrams(container))
    violated("no datagram goes to who stops", "{} is stopped while the kernel sends to it", container.id);
}

void Invariants::container_exited(const Container& container) {
  by_address_[container.address] = container;
  served_.erase(name_of(container.environment, container.service));
  if (container.faulty) trouble_[name_of(container.environment, container.service)] = out_.timeline.now();
  // Asked to stop, it may end with 0 and not be done.
  if (container.oneshot && container.exit_code == 0 && !container.stop_asked)
    oneshots_succeeded_.insert(
        fmt::format("{}/{}/{}", container.environment, container.release, container.service));
}

void Invariants::upset(const Container& container) {
  by_address_[container.address] = container;
  const std::string name = name_of(container.environment, container.service);
  served_.erase(name);
  trouble_[name] = std::max(out_.timeline.now(), container.unhealthy_until);
}

void Invariants::trouble(const EnvKey& environment, milliseconds lasts) {
  std::erase_if(served_, [&](const std::string& name) { return name.starts_with(environment + "/"); });
  const auto found = control_.state().environments.find(environment);
  if (found == control_.state().environments.end()) return;
  for (const auto& [service, address] : found->second.virtual_addresses)
    trouble_[name_of(environment, service)] = out_.timeline.now() + lasts;
}

}  // namespace naru::sim
