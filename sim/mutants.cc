#include "sim/mutant.h"

namespace naru::sim {

namespace {

const Instance* ready_of(const State& state, const Rollout& rollout, std::optional<ReleaseId> of) {
  const Release* release = state.release(of);
  for (const auto& [id, instance] : state.instances) {
    if (instance.app != rollout.app || instance.environment != rollout.environment ||
        instance.phase != InstancePhase::ready || release == nullptr)
      continue;
    const ReleaseService* service = release->find(instance.service);
    if (service != nullptr && service->revision == instance.revision && !service->spec.stateful())
      return &instance;
  }
  return nullptr;
}

const ServiceSpec* spec_of(const State& state, const Instance& instance) {
  const ReleaseService* service = state.release(instance.release)->find(instance.service);
  return service == nullptr ? nullptr : &service->spec;
}

template <class E>
const E* event_at(const Changes& changes, std::size_t at) {
  return std::get_if<E>(&changes.events()[at]);
}

// ---- in what is decided

void stop_without_drain(Changes& changes, std::size_t at) {
  const auto* retired = event_at<event::InstanceRetired>(changes, at);
  if (retired == nullptr) return;
  const auto found = changes.state().instances.find(retired->instance);
  if (found == changes.state().instances.end() || found->second.phase != InstancePhase::retiring) return;
  const Instance instance = found->second;
  changes.emit(event::InstanceStopping{instance.id});
  changes.queue(ActionKind::stop_instance, instance.id, std::to_string(instance.attempt));
}

void retire_stable_early(Changes& changes, std::size_t at) {
  const auto* live = event_at<event::StepLive>(changes, at);
  if (live == nullptr) return;
  const Rollout& rollout = changes.state().rollouts.at(live->rollout);
  if (const Instance* instance = ready_of(changes.state(), rollout, rollout.from))
    changes.emit(event::InstanceRetired{std::string(instance->id)});
}

// The old instance is forgotten while its container still stops, so that the next one starts beside it.
void start_state_early(Changes& changes, std::size_t at) {
  const auto* stopping = event_at<event::InstanceStopping>(changes, at);
  if (stopping == nullptr) return;
  const auto found = changes.state().instances.find(stopping->instance);
  if (found == changes.state().instances.end()) return;
  const ServiceSpec* spec = spec_of(changes.state(), found->second);
  if (spec != nullptr && spec->stateful()) changes.emit(event::InstanceRemoved{std::string(found->first)});
}

// Told apart by their names: who writes the same volume under another one starts beside.
void start_state_by_name(Changes& changes, std::size_t at) {
  const auto* started = event_at<event::RolloutStarted>(changes, at);
  if (started == nullptr) return;
  const Rollout rollout = started->rollout;
  const Release& to = *changes.state().release(rollout.to);
  const Release* from = changes.state().release(rollout.from);
  for (const ReleaseService& service : to.services) {
    if (from == nullptr || !service.spec.stateful() || from->find(service.spec.name) != nullptr) continue;
    Instance instance;
    instance.id = fmt::format("{}-{}-{}", rollout.app, service.spec.name, changes.next_id());
    instance.app = rollout.app;
    instance.environment = rollout.environment;
    instance.service = service.spec.name;
    instance.revision = service.revision;
    instance.release = to.id;
    const std::string id = instance.id;
    changes.emit(event::InstanceCreated{std::move(instance)});
    changes.queue(ActionKind::start_instance, id, "1");
    return;
  }
}

void call_everything_a_rollback(Changes& changes, std::size_t at) {
  const auto* started = event_at<event::RolloutStarted>(changes, at);
  if (started == nullptr || started->rollout.is_rollback) return;
  Rollout rollout = changes.state().rollouts.at(started->rollout.id);
  if (rollout.phase != RolloutPhase::preparing) return;
  rollout.is_rollback = true;
  changes.emit(event::RolloutStarted{std::move(rollout)});
}

void rerun_oneshots_on_rollback(Changes& changes, std::size_t at) {
  const auto* started = event_at<event::RolloutStarted>(changes, at);
  if (started == nullptr || !started->rollout.is_rollback) return;
  Rollout rollout = changes.state().rollouts.at(started->rollout.id);
  if (!rollout.active() || rollout.phase != RolloutPhase::preparing) return;
  rollout.is_rollback = false;
  changes.emit(event::RolloutStarted{std::move(rollout)});
}

void end_superseded_at_once(Changes& changes, std::size_t at) {
  const auto* changed = event_at<event::RolloutPhaseChanged>(changes, at);
  if (changed == nullptr || changed->phase != RolloutPhase::rolling_back ||
      !changed->reason.starts_with("superseded"))
    return;
  const RolloutId id = changed->rollout;
  const std::string reason = changed->reason;
  if (changes.state().rollouts.at(id).active())
    changes.emit(event::RolloutPhaseChanged{id, RolloutPhase::rolled_back, reason});
}

void skip_bake(Changes& changes, std::size_t at) {
  const auto* passed = event_at<event::StepPassed>(changes, at);
  if (passed == nullptr) return;
  const Rollout& rollout = changes.state().rollouts.at(passed->rollout);
  if (rollout.phase == RolloutPhase::stepping)
    changes.emit(event::RolloutPhaseChanged{rollout.id, RolloutPhase::completing, "every step passed"});
}

void forget_the_way_back(Changes& changes, std::size_t at) {
  const auto* forgotten = event_at<event::HistoryRemoved>(changes, at);
  if (forgotten == nullptr) return;
  event::HistoryRemoved more{forgotten->app, {}, {}, {}};
  for (const auto& [id, rollout] : changes.state().rollouts)
    if (rollout.app == more.app && rollout.phase == RolloutPhase::done && rollout.from)
      more.rollouts.push_back(id);
  if (!more.rollouts.empty()) changes.emit(std::move(more));
}

void share_evidence_slot(Changes& changes, std::size_t at) {
  const auto* started = event_at<event::StepStarted>(changes, at);
  if (started == nullptr || started->evidence_slot == 3) return;
  event::StepStarted again = *started;
  again.evidence_slot = 3;
  changes.emit(again);
}

void leave_udp_unsaid(Changes& changes, std::size_t at) {
  const auto* queued = event_at<event::ActionQueued>(changes, at);
  if (queued != nullptr && queued->action.kind == ActionKind::set_udp_routes)
    changes.done(ActionId(queued->action.id));
}

// ---- in what lies between environments

void skip_the_one_before(Changes& changes, std::size_t at) {
  const auto* created = event_at<event::ReleaseCreated>(changes, at);
  if (created == nullptr || created->release.after.empty()) return;
  const Release& release = created->release;
  changes.emit(event::ReleasePending{env_key(release.app, release.environment), release.id, true});
}

void build_again_for_the_next(Changes& changes, std::size_t at) {
  const auto* created = event_at<event::ReleaseCreated>(changes, at);
  if (created == nullptr || created->release.after.empty()) return;
  Release release = created->release;
  release.services[0].image.manifest = Digest::of_sha256("built again");
  release.services[0].revision = Digest::of_sha256(fmt::format("built again {}", release.id));
  changes.emit(event::ReleaseCreated{std::move(release)});
}

void share_ports(Changes& changes, std::size_t at) {
  const auto* assigned = event_at<event::PortAssigned>(changes, at);
  if (assigned == nullptr) return;
  const event::PortAssigned one = *assigned;
  for (const auto& [key, port] : std::map(changes.state().ports))
    if (key != one.key && port != one.port) changes.emit(event::PortAssigned{key, one.port});
}

void route_to_the_neighbour(const State& state, RouteTable& table) {
  for (EnvironmentRoute& route : table.environments)
    for (ServiceRoute& service : route.services)
      for (const auto& [id, instance] : state.instances)
        if (instance.app == route.app && instance.environment != route.environment &&
            instance.service == service.name && instance.phase == InstancePhase::ready)
          service.stable.endpoints.push_back({id, instance.address});
}

// ---- in what it is told

void accept_old_attempt(const State& state, Command& command) {
  auto* started = std::get_if<command::InstanceStarted>(&command);
  if (started == nullptr) return;
  if (const auto found = state.instances.find(started->instance); found != state.instances.end())
    started->attempt = found->second.attempt;
}

void accept_old_ack(const State& state, Command& command) {
  if (auto* acked = std::get_if<command::RoutesAcked>(&command))
    acked->revision = state.counters.routes_revision;
}

void accept_old_udp(const State& state, Command& command) {
  auto* set = std::get_if<command::UdpRoutesSet>(&command);
  if (set == nullptr) return;
  if (const auto found = state.environments.find(set->environment); found != state.environments.end())
    set->digest = found->second.udp_digest;
}

void believe_every_probe(const State&, Command& command) {
  if (auto* probed = std::get_if<command::Probed>(&command)) probed->healthy = true;
}

// ---- in what is published

void weight_off_by_one(const State&, RouteTable& table) {
  for (EnvironmentRoute& route : table.environments)
    if (route.split) --route.split->weight.value;
}

void route_to_the_unready(const State& state, RouteTable& table) {
  for (EnvironmentRoute& route : table.environments)
    for (ServiceRoute& service : route.services)
      for (const auto& [id, instance] : state.instances)
        if (instance.app == route.app && instance.environment == route.environment &&
            instance.service == service.name && instance.phase == InstancePhase::running && !instance.oneshot)
          service.stable.endpoints.push_back({id, instance.address});
}

void split_survives_rollback(const State& state, RouteTable& table) {
  for (EnvironmentRoute& route : table.environments)
    for (const auto& [id, rollout] : state.rollouts)
      if (rollout.app == route.app && rollout.environment == route.environment &&
          rollout.phase == RolloutPhase::rolling_back && !rollout.steps.empty()) {
        route.split.emplace();
        route.split->rollout = id;
        route.split->weight = rollout.steps.back().weight;
      }
}

void salt_by_step(const State&, RouteTable& table) {
  for (EnvironmentRoute& route : table.environments)
    if (route.split) route.split->salt += std::to_string(route.split->weight.value);
}

// ---- in what is judged

void pass_without_traffic(command::Judged& judged) {
  if (judged.outcome == command::Outcome::hold) judged.outcome = command::Outcome::promote;
}

void overlook_the_bad(command::Judged& judged) {
  if (judged.outcome == command::Outcome::roll_back) judged.outcome = command::Outcome::hold;
}

void show_anothers_examples(command::Judged& judged) {
  for (FailedExample& one : judged.failed) one.path = fmt::format("/{}/{}", judged.rollout - 1, judged.step);
}

std::vector<Mutant> all_mutants() {
  return {
      {.name = "no-drain", .what = "an instance is stopped when it is retired", .after = stop_without_drain},
      {.name = "stable-retired-early",
       .what = "stable goes when the first step is live",
       .after = retire_stable_early},
      {.name = "state-started-early",
       .what = "the next database starts while the old one stops",
       .after = start_state_early},
      {.name = "state-by-name",
       .what = "a database under a new name starts beside the old one",
       .after = start_state_by_name},
      {.name = "rollback-to-the-unserved",
       .what = "a release that nobody met goes to everybody",
       .after = call_everything_a_rollback},
      {.name = "deadlines-while-away",
       .what = "deadlines run while control is down",
       .drop_command = [](const Command& c) { return std::holds_alternative<command::ControlStarted>(c); }},
      {.name = "one-shot-on-rollback",
       .what = "a rollback runs the migration again",
       .after = rerun_oneshots_on_rollback},
      {.name = "superseded-canary-left",
       .what = "a superseded rollout ends before its canary is gone",
       .after = end_superseded_at_once},
      {.name = "no-bake", .what = "a passed step goes to everybody", .after = skip_bake},
      {.name = "way-back-forgotten",
       .what = "retention forgets how the stable release came",
       .after = forget_the_way_back},
      {.name = "staging-skipped",
       .what = "a release goes to every environment at once",
       .after = skip_the_one_before},
      {.name = "built-again",
       .what = "an environment gets images of its own",
       .after = build_again_for_the_next},
      {.name = "port-shared", .what = "every assigned port is the same", .after = share_ports},
      {.name = "neighbours-routed",
       .what = "an environment's users meet another's instances",
       .table = route_to_the_neighbour},
      {.name = "shared-evidence", .what = "all steps use one evidence slot", .after = share_evidence_slot},
      {.name = "old-attempt",
       .what = "a result of an old attempt counts for the new one",
       .command = accept_old_attempt},
      {.name = "old-ack",
       .what = "an acknowledgement of old routes counts for the newest",
       .command = accept_old_ack},
      {.name = "old-udp",
       .what = "datagrams' targets that were sent count for the newest",
       .command = accept_old_udp},
      {.name = "udp-unsaid",
       .what = "the launcher is not told that datagrams go elsewhere",
       .after = leave_udp_unsaid},
      {.name = "failed-probe-counts",
       .what = "a health check that fails makes an instance ready",
       .command = believe_every_probe},
      {.name = "no-list-on-restart",
       .what = "what ended while control was away is never learned",
       .drop_command = [](const Command& c) { return std::holds_alternative<command::ContainersListed>(c); }},
      {.name = "exits-unheard",
       .what = "the exits of one-shots are lost",
       .drop_command =
           [](const Command& c) {
             const auto* exited = std::get_if<command::ContainerExited>(&c);
             return exited != nullptr && exited->container.contains("-migrate-");
           }},
      {.name = "event-twice",
       .what = "an event is applied twice",
       .apply_twice =
           [](const Event& e) { return std::holds_alternative<event::VirtualAddressAssigned>(e); }},
      {.name = "row-not-written",
       .what = "instances are not written to the store",
       .lose_row = [](const std::string& kind) { return kind == "instance"; }},
      {.name = "outbox-row-not-written",
       .what = "actions are not written to the store",
       .lose_row = [](const std::string& kind) { return kind == "action"; }},
      {.name = "outbox-row-forgotten",
       .what = "one action in seven is never carried out",
       .forget_action = [](const Action& action) { return action.id % 7 == 0; }},
      {.name = "early-acknowledgement",
       .what = "a push is acknowledged before its commit",
       .acknowledge_early = true},
      {.name = "machines-clock",
       .what = "decisions by a clock that people set back and forward",
       .machines_clock = true},
      {.name = "weight-off-by-one", .what = "the split sums to 9,999", .table = weight_off_by_one},
      {.name = "route-to-the-unready",
       .what = "instances that are not ready are routed to",
       .table = route_to_the_unready},
      {.name = "split-after-rollback",
       .what = "a rollback keeps the split",
       .table = split_survives_rollback},
      {.name = "salt-by-step", .what = "every step draws its users anew", .table = salt_by_step},
      {.name = "pass-without-traffic",
       .what = "a step passes without users",
       .verdict = pass_without_traffic},
      {.name = "overlook-the-bad",
       .what = "a verdict against the canary is not acted on",
       .verdict = overlook_the_bad},
      {.name = "anothers-examples",
       .what = "a rollout shows the failed requests of another one",
       .verdict = show_anothers_examples},
  };
}

}  // namespace

const std::vector<Mutant>& mutants() {
  static const std::vector<Mutant> all = all_mutants();
  return all;
}

}  // namespace naru::sim
