#include "model/apply.h"

#include <cassert>

namespace naru {

namespace {

// Applies one event; every change goes through touch(), so that the store sees the row.
class Applier {
 public:
  Applier(State& state, WallTime at, Touched& touched) : state_(state), at_(at), touched_(touched) {}

  void operator()(const event::SecretChosen& e) {
    touch("secret", "");
    state_.secret = e.secret;
  }
  void operator()(const event::ControlStarted&) {
    touch("counters", "");
    state_.counters.control_started = at_;
  }
  void operator()(const event::AppCreated& e) { state_.apps[touch("app", e.app.name)] = e.app; }
  void operator()(const event::AppRemoved& e) {
    erase_rows(state_.environments, "environment", [&](const auto& row) { return row.app == e.app; });
    erase_rows(state_.pipelines, "pipeline", [&](const auto& row) { return row.app == e.app; });
    erase_rows(state_.releases, "release", [&](const auto& row) { return row.app == e.app; });
    erase_rows(state_.rollouts, "rollout", [&](const auto& row) { return row.app == e.app; });
    state_.apps.erase(touch("app", e.app));
  }
  void operator()(const event::GrantsChanged& e) { state_.apps.at(touch("app", e.app)).grants = e.grants; }
  void operator()(const event::EnvironmentCreated& e) {
    state_.environments[touch("environment", env_key(e.environment.app, e.environment.name))] = e.environment;
  }
  void operator()(const event::EnvironmentRemoved& e) {
    const auto is_of_it = [&](const auto& row) { return env_key(row.app, row.environment) == e.environment; };
    erase_rows(state_.releases, "release", is_of_it);
    erase_rows(state_.rollouts, "rollout", is_of_it);
    state_.environments.erase(touch("environment", e.environment));
  }
  void operator()(const event::VariablesSet& e) {
    auto& variables = environment(e.environment).variables;
    for (const auto& [name, value] : e.set) variables[name] = value;
    for (const auto& name : e.unset) variables.erase(name);
  }
  void operator()(const event::NetworkReady& e) {
    Environment& row = environment(e.environment);
    row.network = e.network;
    row.network_error.clear();
  }
  void operator()(const event::NetworkFailed& e) { environment(e.environment).network_error = e.error; }
  void operator()(const event::UdpRoutesChanged& e) { environment(e.environment).udp_digest = e.digest; }
  void operator()(const event::UdpRoutesRefused& e) { environment(e.environment).udp_error = e.error; }
  void operator()(const event::EnvironmentStopped& e) {
    Environment& row = environment(e.environment);
    row.stopped = e.stopped;
    row.switched = at_;
  }

  void operator()(const event::PipelineCreated& e) {
    number(e.pipeline.id);
    state_.pipelines[e.pipeline.id] = e.pipeline;
    touch("pipeline", std::to_string(e.pipeline.id));
  }
  void operator()(const event::PipelinePlanned& e) {
    Pipeline& row = pipeline(e.pipeline);
    row.spec = e.spec;
    row.elsewhere = e.elsewhere;
    row.warnings = e.warnings;
    row.planned = true;
    row.planned_at = at_;
    row.state = StageState::running;
    row.builds.clear();
    for (const ServiceSpec& service : e.spec.services) {
      row.builds.push_back({});
      row.builds.back().service = service.name;
    }
  }
  void operator()(const event::BuildStarted& e) {
    BuildStage& row = build(e.pipeline, e.service);
    row.state = StageState::running;
    row.started = at_;
  }
  void operator()(const event::BuildFinished& e) {
    BuildStage& row = build(e.pipeline, e.service);
    row.state = e.ok ? StageState::succeeded : StageState::failed;
    row.cached = e.cached;
    row.finished = at_;
    row.error = e.error;
    if (e.ok) row.image = e.image;
    Pipeline& of = pipeline(e.pipeline);
    for (const std::string& warning : e.warnings)
      if (std::ranges::find(of.warnings, warning) == of.warnings.end()) of.warnings.push_back(warning);
  }
  void operator()(const event::PipelineFinished& e) {
    Pipeline& row = pipeline(e.pipeline);
    row.state = e.state;
    row.error = e.error;
    row.hint = e.hint;
    row.release = e.release;
    row.finished = at_;
    for (BuildStage& stage : row.builds)
      if (stage.state == StageState::waiting || stage.state == StageState::running)
        stage.state = StageState::cancelled;
  }
  void operator()(const event::ReleaseCreated& e) {
    number(e.release.id);
    state_.releases[e.release.id] = e.release;
    touch("release", std::to_string(e.release.id));
    state_.apps.at(touch("app", e.release.app)).last_version = e.release.version;
  }
  void operator()(const event::ReleasePending& e) {
    Environment& row = environment(e.environment);
    row.pending = e.release;
    row.offered = std::max(row.offered, e.release.value_or(0));
    row.approved = e.approved;
  }

  void operator()(const event::HistoryRemoved& e) {
    erase_ids(state_.rollouts, "rollout", e.rollouts);
    erase_ids(state_.releases, "release", e.releases);
    erase_ids(state_.pipelines, "pipeline", e.pipelines);
  }

  void operator()(const event::RolloutStarted& e) {
    number(e.rollout.id);
    state_.rollouts[e.rollout.id] = e.rollout;
    touch("rollout", std::to_string(e.rollout.id));
    Environment& row = environment(env_key(e.rollout.app, e.rollout.environment));
    row.rollout = e.rollout.id;
    if (row.pending == e.rollout.to) row.pending.reset();  // another one goes on waiting, now for a person
    row.approved = false;
  }
  void operator()(const event::StepStarted& e) {
    Rollout& row = rollout(e.rollout);
    row.phase = RolloutPhase::stepping;
    row.step = e.step;
    row.step_live = false;
    row.evidence_slot = e.evidence_slot;
    row.slow_us = e.slow_us;
    row.resume = false;
    row.reason.clear();
    row.steps.resize(e.step);
    row.steps.push_back({e.weight, {}, {}, {}});
    touch("counters", "");
    state_.counters.next_evidence_slot = e.evidence_slot + 1;
  }
  void operator()(const event::StepLive& e) {
    Rollout& row = rollout(e.rollout);
    row.step_live = true;
    row.step_started = at_;
    if (row.first_user == WallTime{}) row.first_user = at_;
    row.steps.back().started = at_;
  }
  void operator()(const event::StepPassed& e) {
    Rollout& row = rollout(e.rollout);
    row.steps.at(e.step).passed = at_;
    row.steps.at(e.step).verdict = e.verdict;
  }
  void operator()(const event::EvidenceStored& e) {
    Rollout& row = rollout(e.rollout);
    row.judge = e.judge;
    row.verdict = e.verdict;
    row.reason = e.reason;
    if (e.step < row.steps.size()) row.steps[e.step].failed = e.failed;
  }
  void operator()(const event::LatencyBaselineSet& e) { rollout(e.rollout).slow_us = e.slow_us; }
  void operator()(const event::RolloutResumed& e) { rollout(e.rollout).resume = true; }
  void operator()(const event::ServiceSwapped& e) {
    auto& swapped = rollout(e.rollout).swapped;
    std::erase(swapped, e.service);
    if (e.to_new) swapped.push_back(e.service);
  }
  void operator()(const event::OneshotCompleted& e) { rollout(e.rollout).oneshots_done.insert(e.service); }
  void operator()(const event::RolloutPhaseChanged& e) {
    Rollout& row = rollout(e.rollout);
    row.phase = e.phase;
    row.phase_since = at_;
    row.reason = e.reason;
    row.step_live = false;
    Environment& env = environment(env_key(row.app, row.environment));
    if (e.phase == RolloutPhase::completing) {
      env.stable = row.to;
      row.completed = at_;
      touch("release", std::to_string(row.to));
      state_.releases.at(row.to).served = true;
    }
    if (!row.active()) {
      row.ended = at_;
      env.rollout.reset();
    }
  }

  void operator()(const event::InstanceCreated& e) {
    state_.instances[touch("instance", e.instance.id)] = e.instance;
    touch("counters", "");
    ++state_.counters.next_id;
  }
  void operator()(const event::InstanceStarting& e) {
    Instance& row = instance(e.instance);
    row.phase = InstancePhase::starting;
    row.attempt = e.attempt;
    row.was_ready = false;
    row.pid = 0;
    row.address.clear();
  }
  void operator()(const event::InstanceStarted& e) {
    Instance& row = instance(e.instance);
    row.phase = InstancePhase::running;
    row.address = e.address;
    row.pid = e.pid;
    row.started = at_;
    row.exit_code.reset();
    row.out_of_memory = false;
    row.error.clear();
  }
  void operator()(const event::InstanceReady& e) {
    Instance& row = instance(e.instance);
    row.exposed = row.exposed_until(at_);
    row.phase = InstancePhase::ready;
    row.was_ready = true;
    row.ready_at = at_;
    row.error.clear();
  }
  void operator()(const event::InstanceUnready& e) {
    Instance& row = instance(e.instance);
    row.phase = InstancePhase::running;
    row.error = e.reason;
  }
  void operator()(const event::InstanceExited& e) {
    Instance& row = instance(e.instance);
    if (row.was_ready) ++row.crashes;
    row.exposed = row.exposed_until(at_);
    row.restarts = row.restarts_by(at_) + 1;
    row.phase = e.next;
    row.exit_code = e.exit_code;
    row.out_of_memory = e.out_of_memory;
    row.error = e.error;
    row.retry_at = e.retry_at;
    row.pid = 0;
    row.address.clear();
  }
  void operator()(const event::InstanceRetired& e) {
    Instance& row = instance(e.instance);
    row.phase = InstancePhase::retiring;
    row.retired_at = at_;
    row.retired_revision = state_.counters.routes_revision;
    row.out_of_routes = {};
  }
  void operator()(const event::InstanceStopping& e) {
    Instance& row = instance(e.instance);
    row.phase = InstancePhase::stopping;
    row.retired_at = at_;  // its time to end runs from here
  }
  void operator()(const event::InstanceStopFailed& e) { instance(e.instance).error = e.error; }
  void operator()(const event::InstanceRemoved& e) { state_.instances.erase(touch("instance", e.instance)); }

  void operator()(const event::SlotAssigned& e) {
    state_.slots[touch("slot", e.key)] = e.slot;
    touch("counters", "");
    state_.counters.next_slot = e.slot + 1;
  }
  void operator()(const event::SlotFreed& e) { state_.slots.erase(touch("slot", e.key)); }
  void operator()(const event::PortAssigned& e) { state_.ports[touch("port", e.key)] = e.port; }
  void operator()(const event::PortFreed& e) { state_.ports.erase(touch("port", e.key)); }
  void operator()(const event::RoutesChanged& e) {
    touch("counters", "");
    state_.counters.routes_revision = e.revision;
    state_.counters.routes_digest = e.digest;
  }
  void operator()(const event::RoutesAcked& e) {
    touch("counters", "");
    state_.counters.routes_acked = std::max(state_.counters.routes_acked, e.revision);
    const bool newest = e.revision == state_.counters.routes_revision;
    for (const auto& [id, row] : state_.instances)
      if (row.phase == InstancePhase::retiring && row.out_of_routes == WallTime{} &&
          (newest || e.revision > row.retired_revision))
        instance(id).out_of_routes = at_;
  }
  void operator()(const event::VirtualAddressAssigned& e) {
    Environment& row = environment(e.environment);
    std::erase_if(row.virtual_addresses, [&](const auto& other) { return other.second == e.address; });
    row.virtual_addresses[e.service] = e.address;
    ++row.next_virtual;
  }
  void operator()(const event::ActionQueued& e) {
    number(e.action.id);
    state_.outbox[e.action.id] = e.action;
    touch("action", std::to_string(e.action.id));
  }
  void operator()(const event::ActionDone& e) {
    state_.outbox.erase(e.action);
    touch("action", std::to_string(e.action));
  }

 private:
  const std::string& touch(const char* kind, const std::string& key) {
    touched_.emplace(kind, key);
    return key;  // NOLINT(bugprone-return-const-ref-from-parameter): used before the expression ends
  }
  void number(std::uint64_t used) {
    touch("counters", "");
    state_.counters.next_id = std::max(state_.counters.next_id, used + 1);
  }
  Environment& environment(const EnvKey& key) { return state_.environments.at(touch("environment", key)); }
  Pipeline& pipeline(PipelineId id) {
    touch("pipeline", std::to_string(id));
    return state_.pipelines.at(id);
  }
  BuildStage& build(PipelineId id, const std::string& service) {
    for (BuildStage& stage : pipeline(id).builds)
      if (stage.service == service) return stage;
    assert(!"a build event for a service that the plan does not have");
    std::abort();
  }
  Rollout& rollout(RolloutId id) {
    touch("rollout", std::to_string(id));
    return state_.rollouts.at(id);
  }
  Instance& instance(const std::string& id) { return state_.instances.at(touch("instance", id)); }

  template <class Map>
  void erase_ids(Map& map, const char* kind, const std::vector<std::uint64_t>& ids) {
    for (const std::uint64_t id : ids) {
      touch(kind, std::to_string(id));
      map.erase(id);
    }
  }
  template <class Map, class Predicate>
  void erase_rows(Map& map, const char* kind, Predicate gone) {
    for (auto it = map.begin(); it != map.end();) {
      if (!gone(it->second)) {
        ++it;
        continue;
      }
      touch(kind, fmt::format("{}", it->first));
      it = map.erase(it);
    }
  }

  State& state_;
  WallTime at_;
  Touched& touched_;
};

template <class Map>
Json find_row(const Map& map, const typename Map::key_type& key) {
  const auto found = map.find(key);
  return found == map.end() ? Json() : Json(found->second);
}

}  // namespace

void apply(State& state, const Event& event, WallTime at, Touched& touched) {
  std::visit(Applier(state, at, touched), event);
}

Json row_of(const State& state, const std::string& kind, const std::string& key) {
  if (kind == "counters") return state.counters;
  if (kind == "secret") return state.secret.empty() ? Json() : Json(state.secret);
  if (kind == "app") return find_row(state.apps, key);
  if (kind == "environment") return find_row(state.environments, key);
  if (kind == "pipeline") return find_row(state.pipelines, std::stoull(key));
  if (kind == "release") return find_row(state.releases, std::stoull(key));
  if (kind == "rollout") return find_row(state.rollouts, std::stoull(key));
  if (kind == "instance") return find_row(state.instances, key);
  if (kind == "slot") return find_row(state.slots, key);
  if (kind == "port") return find_row(state.ports, key);
  if (kind == "action") return find_row(state.outbox, std::stoull(key));
  assert(!"an unknown kind of row");
  return {};
}

void load_row(State& state, const std::string& kind, const std::string& key, const Json& row) {
  if (kind == "counters")
    state.counters = row.get<Counters>();
  else if (kind == "secret")
    state.secret = row.get<std::string>();
  else if (kind == "app")
    state.apps[key] = row.get<App>();
  else if (kind == "environment")
    state.environments[key] = row.get<Environment>();
  else if (kind == "pipeline")
    state.pipelines[std::stoull(key)] = row.get<Pipeline>();
  else if (kind == "release")
    state.releases[std::stoull(key)] = row.get<Release>();
  else if (kind == "rollout")
    state.rollouts[std::stoull(key)] = row.get<Rollout>();
  else if (kind == "instance")
    state.instances[key] = row.get<Instance>();
  else if (kind == "slot")
    state.slots[key] = row.get<std::uint32_t>();
  else if (kind == "port")
    state.ports[key] = row.get<std::uint16_t>();
  else if (kind == "action")
    state.outbox[std::stoull(key)] = row.get<Action>();
}

}  // namespace naru
