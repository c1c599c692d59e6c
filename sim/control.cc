#include "sim/control.h"

#include "platform/lane.h"
#include "platform/platform.h"
#include "route/table.h"
#include "sim/violation.h"

namespace naru::sim {

namespace {

constexpr milliseconds kRetry{500};
constexpr milliseconds kTick{500}, kProbe{500}, kJudge{1'000}, kHousekeep{7'000};
constexpr std::size_t kReleasesKept = 2;  // few, so that every world forgets some

}  // namespace

Control::Control(Outside outside, const Mutant& mutant)
    : out_(outside), mutant_(mutant), store_(mutant), clock_(out_.machine) {
  out_.timeline.in(0ms, [this] { start(); });
}

WallTime Control::now() const {
  return mutant_.machines_clock ? out_.machine.wall() : clock_->wall();
}

milliseconds Control::soon() {
  return out_.rng.chance(out_.faults.slow) ? between(out_.rng, 1, 3'000) : between(out_.rng, 1, 30);
}

void Control::start() {
  up_ = true;
  ++epoch_;
  state_ = store_.load();
  running_.clear();
  lanes_.clear();
  probe_failures_.clear();
  probing_.clear();
  sessions_.clear();
  if (on_start) on_start();
  submit(command::ControlStarted{});
  if (!up_) return;
  every(kTick, &Control::tick);
  every(kProbe, &Control::probe);
  every(kJudge, &Control::judge);
  every(kHousekeep, &Control::housekeep);
  dispatch();
  launcher_connected();
}

// The steady clock begins anew: only what was stored says how late it was.
void Control::rebooted() {
  clock_.emplace(out_.machine);
  clock_->not_before(store_.last_time());
}

void Control::crash() {
  if (!up_) return;
  if (trace) trace("control crashes");
  up_ = false;
  ++epoch_;
  const bool down = out_.rng.chance(0.03);  // `naru down`, or nobody there to start it again
  out_.timeline.in(down ? between(out_.rng, 20'000, 120'000) : between(out_.rng, 50, 4'000),
                   [this] { start(); });
}

std::optional<Result<void>> Control::submit(Command command) {
  if (!up_) return std::nullopt;
  if (mutant_.drop_command && mutant_.drop_command(command)) return Result<void>();
  ++commands_;
  if (mutant_.command) mutant_.command(state_, command);
  // When control dies: before the decision, before its commit, or before anything is done about it.
  const bool dies = out_.rng.chance(out_.faults.control_crash);
  const std::uint64_t point = dies ? out_.rng.below(3) : 3;
  if (point == 0) {
    crash();
    return std::nullopt;
  }
  Changes changes(state_, now());
  auto decided = platform::decide(changes, command);
  if (trace && !(std::holds_alternative<command::Tick>(command) && changes.events().empty()))
    trace(describe(command) + (decided ? "" : ": " + decided.error().message()));
  if (!decided) {
    if (!changes.events().empty())
      violated("a refusal changes nothing", "{}: {} events with a refusal", describe(command),
               changes.events().size());
    return decided;
  }
  if (mutant_.after) {
    const std::size_t seen = changes.events().size();
    for (std::size_t i = 0; i < seen; ++i) mutant_.after(changes, i);
  }
  if (mutant_.apply_twice) {
    Touched touched;
    for (const Event& event : changes.events())
      if (mutant_.apply_twice(event)) apply(state_, event, changes.now(), touched);
  }
  if (point == 1) {
    crash();
    if (mutant_.acknowledge_early && std::holds_alternative<command::Push>(command)) return decided;
    return std::nullopt;
  }
  if (changes.events().empty()) return decided;
  if (trace)
    for (const Event& event : changes.events()) trace("  -> " + to_json_event(event).dump().substr(0, 260));
  store_.commit(state_, changes.events(), changes.touched(), changes.now());
  on_committed();
  if (point == 2) {
    crash();
    return std::nullopt;
  }
  dispatch();
  return decided;
}

void Control::post_in(milliseconds delay, Command command) {
  out_.timeline.in(delay, [this, epoch = epoch_, command = std::move(command)] {
    if (epoch == epoch_) submit(command);
  });
}

void Control::every(milliseconds interval, void (Control::*what)()) {
  out_.timeline.in(interval, [this, interval, what, epoch = epoch_] {
    if (epoch != epoch_) return;
    every(interval, what);
    (this->*what)();
  });
}

void Control::tick() {
  submit(command::Tick{});
}

void Control::housekeep() {
  submit(command::Housekeep{kReleasesKept});
}

// ---- the outbox

void Control::dispatch() {
  for (const auto& [id, action] : state_.outbox) {
    if (mutant_.forget_action && mutant_.forget_action(action)) continue;
    if (!running_.insert(id).second) continue;
    auto& lane = lanes_[platform::lane_of(action)];
    lane.push_back(action);
    if (lane.size() == 1) run(action);
  }
}

void Control::run(const Action& action) {
  out_.timeline.in(soon(), [this, action, epoch = epoch_] {
    if (epoch == epoch_) carry_out(action);
  });
}

// Nothing: to be tried again, unless it has left the outbox another way.
void Control::finish(const Action& action, std::optional<Command> result) {
  const std::uint64_t epoch = epoch_;
  if (!result && state_.outbox.contains(action.id)) {
    out_.timeline.in(kRetry, [this, action, epoch] {
      if (epoch == epoch_) carry_out(action);
    });
    return;
  }
  if (result && out_.rng.chance(out_.faults.duplicate))
    out_.timeline.in(between(out_.rng, 1, 15'000), [this, again = *result] { submit(again); });
  if (result) submit(std::move(*result));
  if (epoch != epoch_) return;
  running_.erase(action.id);
  const std::string lane = platform::lane_of(action);
  lanes_.at(lane).pop_front();
  if (lanes_.at(lane).empty())
    lanes_.erase(lane);
  else
    run(lanes_.at(lane).front());
}

void Control::carry_out(const Action& action) {
  const auto back = [this, action, epoch = epoch_](std::optional<Command> result) {
    out_.timeline.in(soon(), [this, action, epoch, result = std::move(result)] {
      if (epoch == epoch_) finish(action, result);
    });
  };
  switch (action.kind) {
    case ActionKind::plan_pipeline:
      return plan(action);
    case ActionKind::build_service:
      return build(action);
    case ActionKind::ensure_network: {
      if (!out_.launcher.available()) return back(std::nullopt);
      const auto slash = action.subject.find('/');
      NetworkInfo network{network_id(action.subject.substr(0, slash), action.subject.substr(slash + 1)),
                          "br0",
                          "10.88.0.0/23",
                          "10.88.0.1",
                          "10.88.2.0/23",
                          9};
      return back(command::NetworkReady{action.id, action.subject, network});
    }
    case ActionKind::start_instance:
      return start_instance(action);
    case ActionKind::remove_network:
      if (!out_.launcher.available()) return back(std::nullopt);
      return back(command::NetworkRemoved{action.id});
    case ActionKind::stop_instance:
      return out_.launcher.stop(
          action.subject + "." + action.detail, [action, back](const Launcher::Answer& answer) {
            if (answer.outcome == Launcher::Outcome::gone)
              back(command::InstanceStopped{action.id, action.subject, answer.exit_code});
            else
              back(std::nullopt);
          });
    case ActionKind::remove_container:
      return out_.launcher.remove(action.subject, [action, back](const Launcher::Answer& answer) {
        if (answer.outcome == Launcher::Outcome::gone)
          back(command::ContainerRemoved{action.id});
        else
          back(std::nullopt);
      });
    case ActionKind::publish_routes:
      return publish(action);
    case ActionKind::set_udp_routes: {
      const UdpRoutes routes = route::udp_routes_of(state_, action.subject);
      const std::string digest = route::digest_of(routes);
      return out_.launcher.set_udp_routes(action.subject, routes,
                                          [action, back, digest](const Launcher::Answer& answer) {
                                            if (answer.outcome == Launcher::Outcome::gone)
                                              back(command::UdpRoutesSet{action.id, action.subject, digest});
                                            else
                                              back(std::nullopt);
                                          });
    }
  }
}

void Control::plan(const Action& action) {
  command::PlanFinished result{action.id, std::stoull(action.subject), {}, {}, {}};
  if (const auto pipeline = state_.pipelines.find(result.pipeline); pipeline != state_.pipelines.end()) {
    const std::string& app = pipeline->second.app;
    const Commit& commit = *out_.developers.at(app).find(pipeline->second.commit);
    const auto read_for = [&](const std::string& environment) {
      ApplicationSpec spec = commit.spec;
      const auto found = state_.environments.find(env_key(app, environment));
      for (ServiceSpec& service : spec.services)
        if (service.name == "api" && found != state_.environments.end())
          service.environment = found->second.variables;
      return spec;
    };
    result.spec = read_for("production");
    for (const EnvironmentSpec& environment : commit.spec.environments)
      if (environment.name != kProduction) result.elsewhere[environment.name] = read_for(environment.name);
    if (commit.plan_fails) result.error = "compose.yaml:3: not a mapping";
  }
  out_.timeline.in(soon() * 3, [this, action, result, epoch = epoch_] {
    if (epoch == epoch_) finish(action, result);
  });
}

void Control::build(const Action& action) {
  command::BuildFinished result{action.id, std::stoull(action.subject), action.detail, false, {}, {}};
  if (const auto pipeline = state_.pipelines.find(result.pipeline); pipeline != state_.pipelines.end()) {
    const Developers& developers = out_.developers.at(pipeline->second.app);
    const Commit& commit = *developers.find(pipeline->second.commit);
    result.image = developers.image_of(commit, action.detail);
    if (commit.build_fails == action.detail || out_.rng.chance(out_.faults.build_failure))
      result.error = "RUN make test: exited with 2";
  }
  const milliseconds time =
      out_.rng.chance(out_.faults.slow) ? between(out_.rng, 1'000, 60'000) : between(out_.rng, 50, 2'000);
  out_.timeline.in(time, [this, action, result, epoch = epoch_] {
    if (epoch == epoch_) finish(action, result);
  });
}

void Control::start_instance(const Action& action) {
  const auto attempt = static_cast<std::uint32_t>(std::stoul(action.detail));
  const auto back = [this, action, epoch = epoch_](std::optional<Command> result) {
    out_.timeline.in(soon(), [this, action, epoch, result = std::move(result)] {
      if (epoch == epoch_) finish(action, result);
    });
  };
  const auto found = state_.instances.find(action.subject);
  if (found == state_.instances.end() || found->second.attempt != attempt)
    return back(command::InstanceStartFailed{action.id, action.subject, attempt, "it is no longer wanted"});
  const Instance& instance = found->second;
  const ReleaseService& service = *state_.release(instance.release)->find(instance.service);
  Container wanted;
  wanted.id = instance.container();
  wanted.instance = instance.id;
  wanted.service = instance.service;
  wanted.environment = env_key(instance.app, instance.environment);
  wanted.release = instance.release;
  wanted.revision = instance.revision;
  wanted.oneshot = instance.oneshot;
  wanted.behaviour = out_.developers.at(instance.app).behaviour_of(service.image.manifest);
  if (service.spec.stateful())
    for (const MountSpec& mount : service.spec.mounts)
      wanted.volumes.push_back(wanted.environment + "/" + mount.source);
  out_.launcher.start(std::move(wanted), [this, action, attempt, back,
                                          container = instance.container()](const Launcher::Answer& answer) {
    using Outcome = Launcher::Outcome;
    if (answer.outcome == Outcome::unavailable) return back(std::nullopt);
    if (answer.outcome == Outcome::failed)
      return back(command::InstanceStartFailed{action.id, action.subject, attempt, "no such file: /app"});
    if (answer.outcome == Outcome::running)
      return back(command::InstanceStarted{action.id, action.subject, attempt, answer.address, answer.pid});
    // It ended before anybody looked; its exit comes with the result.
    if (up_ && state_.outbox.contains(action.id))
      submit(command::InstanceStarted{action.id, action.subject, attempt, answer.address, 0});
    back(command::ContainerExited{container, answer.exit_code, false});
  });
}

void Control::publish(const Action& action) {
  RouteTable table = route::table_of(state_);
  table.revision = state_.counters.routes_revision;
  if (mutant_.table) mutant_.table(state_, table);
  on_publish(table);
  for (const auto& [id, rollout] : state_.rollouts)
    if (rollout.phase == RolloutPhase::stepping && !rollout.step_live &&
        rollout.evidence_slot < Gateway::kSlots)
      out_.gateway.evidence.at(rollout.evidence_slot) = {};
  const std::uint64_t revision = table.revision;
  out_.gateway.publish(std::move(table), [this, action, revision, epoch = epoch_](bool acknowledged) {
    if (epoch != epoch_) return;
    if (acknowledged)
      finish(action, command::RoutesAcked{action.id, revision});
    else
      finish(action, std::nullopt);
  });
}

// ---- observers

void Control::container_exited(const Container& container) {
  if (!up_ || !out_.launcher.available()) return;
  post_in(soon(), command::ContainerExited{container.id, container.exit_code, false});
}

void Control::launcher_connected() {
  if (!up_ || !out_.launcher.available()) return;
  // Asked, looked up and answered at three different times; other messages pass between them.
  out_.timeline.in(soon(), [this, asked = now(), epoch = epoch_] {
    if (epoch == epoch_ && out_.launcher.available())
      post_in(soon(), command::ContainersListed{out_.launcher.list(), asked});
  });
}

void Control::probe() {
  std::vector<command::Probed> seen;
  for (const auto& [id, instance] : state_.instances) {
    if (instance.oneshot ||
        (instance.phase != InstancePhase::running && instance.phase != InstancePhase::ready))
      continue;
    if (probing_.contains(id)) continue;  // one after another: their results do not overtake each other
    Container* container = out_.launcher.find(instance.container());
    const bool healthy = container != nullptr && container->healthy(out_.timeline.now());
    if (healthy) container->was_healthy = true;
    std::uint32_t& failures = probe_failures_[instance.container()];
    failures = healthy ? 0 : failures + 1;
    const bool ready = instance.phase == InstancePhase::ready;
    if (healthy ? !ready : (!ready || failures >= 3))
      seen.push_back({id, instance.attempt, healthy, healthy ? "" : "its health check exits with 1"});
  }
  for (command::Probed& probed : seen) {
    probing_.insert(probed.instance);
    out_.timeline.in(soon(), [this, epoch = epoch_, probed = std::move(probed)] {
      if (epoch != epoch_) return;
      probing_.erase(probed.instance);
      submit(probed);
    });
  }
}

judge::Observation Control::observe(const Rollout& rollout, Session& session) const {
  judge::Observation now;
  now.step = rollout.step;
  now.in_step = this->now() - rollout.step_started;
  now.since_canary = this->now() - rollout.first_user;
  const Gateway::Evidence& evidence = out_.gateway.evidence.at(rollout.evidence_slot % Gateway::kSlots);
  now.canary = evidence.canary;
  now.stable = evidence.stable;
  const Release* from = state_.release(rollout.from);
  const Release* to = state_.release(rollout.to);
  for (const auto& [id, instance] : state_.instances) {
    if (instance.app != rollout.app || instance.environment != rollout.environment || instance.oneshot)
      continue;
    const auto has = [&](const Release* release) {
      const ReleaseService* service = release == nullptr ? nullptr : release->find(instance.service);
      return service != nullptr && service->revision == instance.revision;
    };
    if (has(from) == has(to)) continue;
    judge::CrashCounts& counts = has(to) ? now.canary_crashes : now.stable_crashes;
    counts.crashes += instance.crashes;
    counts.instance_seconds += std::chrono::duration<double>(instance.exposed_until(this->now())).count();
  }
  // Instances that went took their counts along.
  const auto raise = [](judge::CrashCounts& highest, judge::CrashCounts& counts) {
    counts.crashes = std::max(counts.crashes, highest.crashes);
    counts.instance_seconds = std::max(counts.instance_seconds, highest.instance_seconds);
    highest = counts;
  };
  raise(session.canary_crashes, now.canary_crashes);
  raise(session.stable_crashes, now.stable_crashes);
  return now;
}

void Control::judge() {
  std::vector<command::Judged> verdicts;
  for (const auto& [id, rollout] : state_.rollouts) {
    if (rollout.phase == RolloutPhase::preparing && rollout.slow_us < 0)
      post_in(soon(), command::LatencyBaseline{id, 0});
    if (rollout.phase != RolloutPhase::stepping || !rollout.step_live) continue;
    const auto [at, is_new] = sessions_.try_emplace(id);
    Session& session = at->second;
    if (is_new && !rollout.judge.is_null()) {
      session.state = rollout.judge.get<judge::State>();
      session.canary_crashes = session.state.last.canary_crashes;
      session.stable_crashes = session.state.last.stable_crashes;
    }
    const auto verdict = judge::step(rollout.policy, session.state, observe(rollout, session),
                                     target_of(rollout.app, rollout.environment));
    if (!verdict) violated("the judge can judge", "rollout {}: {}", id, verdict.error().message());
    using enum command::Outcome;
    const auto outcome = verdict->kind == judge::VerdictKind::promote     ? promote
                         : verdict->kind == judge::VerdictKind::roll_back ? roll_back
                                                                          : hold;
    command::Judged judged{id, rollout.step, outcome, verdict->reason, session.state, {}};
    judged.failed = out_.gateway.evidence.at(rollout.evidence_slot % Gateway::kSlots).failed;
    if (mutant_.verdict) mutant_.verdict(judged);
    if (judged.outcome == hold && now() - session.stored < 5s) continue;
    if (judged.outcome == promote && rollout.steps.back().passed != WallTime{}) continue;
    session.stored = now();
    verdicts.push_back(std::move(judged));
  }
  for (command::Judged& judged : verdicts) post_in(soon(), std::move(judged));
}

// ---- the store

void MemoryStore::commit(const State& state, const std::vector<Event>& events, const Touched& touched,
                         WallTime at) {
  for (const auto& [kind, key] : touched) {
    if (mutant_.lose_row && mutant_.lose_row(kind)) continue;
    Json row = row_of(state, kind, key);
    if (row.is_null())
      rows_.erase({kind, key});
    else
      rows_[{kind, key}] = std::move(row);
  }
  for (const Event& event : events) {
    log_.emplace_back(at, to_json_event(event));
    const auto again = event_from_json(log_.back().second);
    if (!again) violated("events are read as they were written", "{}", again.error().message());
    on_event(replayed_, *again);
    Touched ignored;
    apply(replayed_, *again, at, ignored);
  }
  check_rows(state, touched);
}

// The rows that changed, against the log's; check_replay() compares them all.
void MemoryStore::check_rows(const State& state, const Touched& touched) const {
  for (const auto& [kind, key] : touched) {
    const Json expected = row_of(replayed_, kind, key);
    if (row_of(state, kind, key) != expected)
      violated("replay gives the same rows", "{} '{}' is {} and by the log {}", kind, key,
               row_of(state, kind, key).dump(), expected.dump());
  }
}

State MemoryStore::load() const {
  State state;
  for (const auto& [key, row] : rows_) load_row(state, key.first, key.second, row);
  return state;
}

void MemoryStore::check_replay() const {
  State again;
  for (const auto& [at, event] : log_) {
    Touched ignored;
    apply(again, *event_from_json(event), at, ignored);
  }
  if (const Json difference = Json::diff(Json(load()), Json(again)); !difference.empty())
    violated("replay gives the same rows", "after {} events: {}", log_.size(),
             difference.dump().substr(0, 2'000));
}

namespace {

struct Describe {
  template <class T>
  std::string operator()(const T&) const {
    return "command";
  }
  std::string operator()(const command::CreateApp& c) const { return "CreateApp " + c.app; }
  std::string operator()(const command::RemoveApp& c) const { return "RemoveApp " + c.app; }
  std::string operator()(const command::RemoveEnvironment& c) const {
    return "RemoveEnvironment " + c.environment;
  }
  std::string operator()(const command::SetVariables& c) const { return "SetVariables " + c.environment; }
  std::string operator()(const command::Push& c) const { return "Push " + c.commit; }
  std::string operator()(const command::Promote& c) const { return "Promote " + c.environment; }
  std::string operator()(const command::Abort& c) const { return "Abort " + c.environment; }
  std::string operator()(const command::Rollback& c) const { return "Rollback " + c.environment; }
  std::string operator()(const command::StopEnvironment& c) const {
    return fmt::format("StopEnvironment {} {}", c.environment, c.stopped);
  }
  std::string operator()(const command::PlanFinished& c) const {
    return fmt::format("PlanFinished {} {}", c.pipeline, c.error);
  }
  std::string operator()(const command::BuildFinished& c) const {
    return fmt::format("BuildFinished {} {} {}", c.pipeline, c.service, c.error);
  }
  std::string operator()(const command::NetworkReady& c) const { return "NetworkReady " + c.environment; }
  std::string operator()(const command::InstanceStarted& c) const {
    return fmt::format("InstanceStarted {}.{}", c.instance, c.attempt);
  }
  std::string operator()(const command::InstanceStartFailed& c) const {
    return fmt::format("InstanceStartFailed {}.{} {}", c.instance, c.attempt, c.error);
  }
  std::string operator()(const command::InstanceStopped& c) const { return "InstanceStopped " + c.instance; }
  std::string operator()(const command::ContainerRemoved& c) const {
    return fmt::format("ContainerRemoved (action {})", c.action);
  }
  std::string operator()(const command::RoutesAcked& c) const {
    return fmt::format("RoutesAcked {}", c.revision);
  }
  std::string operator()(const command::UdpRoutesSet& c) const { return "UdpRoutesSet " + c.environment; }
  std::string operator()(const command::ContainerExited& c) const {
    return fmt::format("ContainerExited {} {}", c.container, c.exit_code.value_or(-1));
  }
  std::string operator()(const command::ContainersListed& c) const {
    return fmt::format("ContainersListed ({})", c.containers.size());
  }
  std::string operator()(const command::Probed& c) const {
    return fmt::format("Probed {}.{} {}", c.instance, c.attempt, c.healthy);
  }
  std::string operator()(const command::Judged& c) const {
    return fmt::format("Judged {} step {}: {}", c.rollout, c.step, c.reason);
  }
  std::string operator()(const command::LatencyBaseline& c) const {
    return fmt::format("LatencyBaseline {}: {} us", c.rollout, c.slow_us);
  }
  std::string operator()(const command::ControlStarted&) const { return "ControlStarted"; }
  std::string operator()(const command::Tick&) const { return "Tick"; }
};

}  // namespace

std::string describe(const Command& command) {
  return std::visit(Describe{}, command);
}

}  // namespace naru::sim
