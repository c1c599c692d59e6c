#include <cassert>

#include "base/utf8.h"
#include "model/address.h"
#include "rollout/rollout.h"

namespace naru::rollout {

using Phase = RolloutPhase;

constexpr std::string_view kSupersededBy = "superseded by ";

bool was_superseded(const Rollout& rollout) {
  return (rollout.phase == Phase::rolling_back || rollout.phase == Phase::rolled_back) &&
         rollout.reason.starts_with(kSupersededBy);
}

std::string version_name(const State& state, std::optional<ReleaseId> id) {
  const Release* release = state.release(id);
  return release == nullptr ? "nothing" : fmt::format("v{}", release->version);
}

void change_phase(Changes& changes, RolloutId id, Phase phase, std::string reason) {
  changes.emit(event::RolloutPhaseChanged{id, phase, std::move(reason)});
}

void start_rollout(Changes& changes, const EnvKey& key, ReleaseId to, bool is_rollback) {
  const Environment& environment = changes.state().environments.at(key);
  Rollout rollout;
  rollout.id = changes.next_id();
  rollout.app = environment.app;
  rollout.environment = environment.name;
  rollout.from = environment.stable;
  rollout.to = to;
  rollout.policy = changes.state().release(to)->policy;
  rollout.is_rollback = is_rollback;
  // The salt makes a user's side random, and another one in the next rollout: the ids never repeat. Without
  // the secret in it anybody could compute it, and choose cookies that meet the canary.
  assert(!changes.state().secret.empty());
  rollout.salt = Digest::of_sha256(fmt::format("{}/{}/{}/{}", changes.state().secret, key, rollout.id,
                                               to_epoch_ms(changes.now())))
                     .hex();
  rollout.created = changes.now();
  changes.emit(event::RolloutStarted{std::move(rollout)});
}

bool takes_steps(const State& state, const Rollout& rollout) {
  if (!rollout.from || rollout.is_rollback || rollout.policy.strategy != StrategyKind::canary) return false;
  const Release *from = state.release(rollout.from), *to = state.release(rollout.to);
  if (from == nullptr || to == nullptr) return true;  // forgotten since
  // Who is recreated has no two sides to compare: everybody meets it already.
  return std::ranges::any_of(changed_services(from, *to), [&](const ReleaseService* service) {
    return taken_over(from, *to, *service).empty();
  });
}

std::string port_taken_by(const TakenPort& taken) {
  return fmt::format("host port {} of {} belongs to {}", taken.port, taken.service, taken.owner);
}

namespace {

bool routes_settled(const State& state) {
  return state.counters.routes_acked == state.counters.routes_revision;
}

// One environment's rollout, moved as far as the state allows.
class Progress {
 public:
  Progress(Changes& changes, const EnvKey& key, const Rollout& rollout)
      : changes_(changes),
        environment_(changes.state().environments.at(key)),
        rollout_(rollout),
        to_(*changes.state().release(rollout.to)),
        from_(changes.state().release(rollout.from)) {}

  void run() {
    if (superseded() || port_taken()) return;
    switch (rollout_.phase) {
      case Phase::preparing:
        return prepare();
      case Phase::stepping:
        return step();
      case Phase::completing:
        return complete();
      case Phase::rolling_back:
        return roll_back();
      case Phase::done:
      case Phase::rolled_back:
        return;
    }
  }

  bool finish_oneshots() {
    std::vector<std::string> done;
    each([&](const Instance& instance) {
      if (instance.oneshot && instance.release == rollout_.to && instance.phase == InstancePhase::completed &&
          !rollout_.oneshots_done.contains(instance.service))
        done.push_back(instance.service);
    });
    for (const std::string& service : done) changes_.emit(event::OneshotCompleted{rollout_.id, service});
    return !done.empty();
  }

  void end_when_late() {
    if (rollout_.phase != Phase::preparing) return;
    const Waiting waiting = waiting_of(state(), environment_, rollout_, changes_.now());
    const milliseconds deadline = rollout_.policy.ready_deadline;
    if (waiting.since && changes_.now() - *waiting.since > deadline)
      change_phase(changes_, rollout_.id, Phase::rolling_back,
                   fmt::format("{}, for {}{}", waiting.reason, humanize(deadline),
                               waiting.service.empty() ? "" : see_logs(waiting.service)));
  }

 private:
  const State& state() const { return changes_.state(); }

  bool early() const { return rollout_.phase == Phase::preparing || rollout_.phase == Phase::stepping; }

  // A push that declares another's port is refused; but of two under way at once one is first.
  bool port_taken() {
    const auto taken = early() ? taken_port(state(), to_) : std::nullopt;
    if (taken) change_phase(changes_, rollout_.id, Phase::rolling_back, port_taken_by(*taken));
    return taken.has_value();
  }

  bool superseded() {
    if (!early() || !environment_.pending || !environment_.approved || *environment_.pending == rollout_.to)
      return false;
    change_phase(changes_, rollout_.id, Phase::rolling_back,
                 fmt::format("{}{}", kSupersededBy, version_name(state(), environment_.pending)));
    return true;
  }

  template <class F>
  void each(F f) const {
    each_instance(state(), environment_, f);
  }

  std::string failure() const {
    std::string reason;
    each([&](const Instance& instance) {
      if (!reason.empty() || !is_new(from_, to_, instance) || instance.phase == InstancePhase::stopping)
        return;
      if (instance.phase == InstancePhase::failed)
        reason = instance.oneshot
                     ? fmt::format("the one-shot service {} failed: {}", instance.service, instance.error)
                     : fmt::format("{} failed: {}", instance.service, instance.error);
      else if (rollout_.phase == Phase::preparing && instance.restarts >= kMaxCrashesAtStart)
        reason = fmt::format("{} does not start: {} ({} times in a row){}", instance.service, instance.error,
                             instance.restarts, see_logs(instance.service));
    });
    return reason;
  }

  void prepare() {
    if (std::string reason = failure(); !reason.empty())
      return change_phase(changes_, rollout_.id, Phase::rolling_back, reason);
    if (finish_oneshots()) return;
    const auto changed = changed_services(from_, to_);
    if (swap_stateful(changed)) return;
    const Waiting waiting = waiting_of(state(), environment_, rollout_, changes_.now());
    if (waiting.reason.empty()) {
      if (rollout_.policy.steps.empty() || !takes_steps(state(), rollout_)) return go_on_to_everybody();
      if (rollout_.slow_us < 0) return;  // the judge looks at once
      if (stepping() < kMaxStepping) return begin_step(0);
      return say(fmt::format(
          "{} releases are being judged, the most at once: it waits for one of them to end", kMaxStepping));
    }
    say(waiting.reason);
  }
  std::string see_logs(const std::string& service) const {
    return fmt::format("; see `naru logs {}/{}`", target_of(rollout_.app, rollout_.environment), service);
  }

  // A stateful service is recreated alone, and as late as can be: the one-shots that can run before anything
  // is swapped run first, and what it depends on is there, so that neither's failure touches anything.
  bool may_swap(const ReleaseService& service, const std::vector<const ReleaseService*>& going) const {
    const auto oneshots = oneshots_left(to_, rollout_);
    if (std::ranges::any_of(oneshots,
                            [&](const ReleaseService* other) { return runs_first(*other, oneshots); }))
      return false;
    // What it depends on may wait for one that can run only when the old one has gone.
    const bool held =
        std::ranges::any_of(oneshots, [&](const ReleaseService* other) { return is_held_by(going, *other); });
    return held || std::ranges::all_of(service.spec.depends_on, [&](const Dependency& on) {
             return is_met(state(), environment_, to_, rollout_, on);
           });
  }
  // Neither it nor a one-shot that it needs writes what an old one has, and it needs nothing that is still to
  // be swapped.
  bool runs_first(const ReleaseService& oneshot, const std::vector<const ReleaseService*>& oneshots) const {
    return std::ranges::none_of(to_.services, [&](const ReleaseService& service) {
      if (!is_still_to_swap(from_, to_, rollout_, service)) return false;
      const auto going = taken_over(from_, to_, service);
      return needs(oneshot, service) || std::ranges::any_of(oneshots, [&](const ReleaseService* other) {
               return (other == &oneshot || needs(oneshot, *other)) && is_held_by(going, *other);
             });
    });
  }
  bool needs(const ReleaseService& service, const ReleaseService& on) const {
    return depends_transitively(to_, service.spec.name, on.spec.name);
  }
  bool is_held_by(const std::vector<const ReleaseService*>& going, const ReleaseService& service) const {
    return std::ranges::any_of(
        going, [&](const ReleaseService* old) { return excludes(to_, service.spec, *from_, old->spec); });
  }

  bool swap_stateful(const std::vector<const ReleaseService*>& changed) {
    for (const ReleaseService* service : changed) {
      if (!is_still_to_swap(from_, to_, rollout_, *service) ||
          !may_swap(*service, taken_over(from_, to_, *service)))
        continue;
      changes_.emit(event::ServiceSwapped{rollout_.id, service->spec.name, true});
      return true;
    }
    return false;
  }

  void begin_step(std::uint32_t index) {
    changes_.emit(event::StepStarted{rollout_.id, index, rollout_.policy.steps.at(index).weight,
                                     free_evidence_slot(), rollout_.slow_us});
  }
  // A step's slot is fresh: no rollout under way uses it, and the last one used comes last again.
  std::uint32_t free_evidence_slot() const {
    std::set<std::uint32_t> used;
    for (const auto& [id, rollout] : state().rollouts)
      if (rollout.phase == Phase::stepping) used.insert(rollout.evidence_slot);
    std::uint32_t slot = state().counters.next_evidence_slot % kEvidenceSlots;
    for (std::uint32_t i = 0; i < kEvidenceSlots && used.contains(slot); ++i)
      slot = (slot + 1) % kEvidenceSlots;
    return slot;
  }
  std::size_t stepping() const {
    return static_cast<std::size_t>(std::ranges::count_if(
        state().rollouts, [](const auto& row) { return row.second.phase == Phase::stepping; }));
  }

  void go_on_to_everybody() {
    std::string reason = from_ == nullptr         ? "the first release goes to everybody"
                         : rollout_.is_rollback   ? "a rollback goes to everybody"
                         : rollout_.resume        ? "a person said go on"
                         : rollout_.steps.empty() ? "goes to everybody at once"
                                                  : "every step passed";
    if (rollout_.is_rollback)
      for (const std::string& service : rollout_.swapped) reason += "; " + data_stays(service);
    change_phase(changes_, rollout_.id, Phase::completing, std::move(reason));
  }
  // Going back takes the program back, never what the newer one has written.
  static std::string data_stays(const std::string& service) {
    return fmt::format("the data of {} was not rolled back", service);
  }

  void step() {
    if (std::string reason = failure(); !reason.empty())
      return change_phase(changes_, rollout_.id, Phase::rolling_back, reason);
    if (!rollout_.step_live) {
      if (routes_settled(state())) changes_.emit(event::StepLive{rollout_.id});
      return;
    }
    if (!rollout_.resume && rollout_.steps.back().passed == WallTime{}) return;  // the judge decides
    // More users only for what runs: it may have crashed since, and who says go on does not say fall down.
    if (const auto* unready = not_ready(state(), environment_, changed_services(from_, to_)))
      return say(why_not_ready(state(), environment_, *unready));
    if (rollout_.resume) return go_on_to_everybody();
    if (rollout_.step + 1 < rollout_.policy.steps.size()) return begin_step(rollout_.step + 1);
    const auto baked = changes_.now() - rollout_.first_user;
    if (baked >= rollout_.policy.bake) return go_on_to_everybody();
    say(fmt::format("baking at {}%: every step passed, the least time of {} is not over", percent(),
                    humanize(rollout_.policy.bake)));
  }
  std::uint32_t percent() const { return rollout_.steps.back().weight.value / 100; }

  void complete() {
    if (!routes_settled(state())) return;
    const auto left = instances_left([this](const Instance& instance) { return is_old(instance); });
    if (!may_end_beside(left)) return;
    change_phase(changes_, rollout_.id, Phase::done, rollout_.reason + told(left));
  }

  template <class Predicate>
  std::vector<const Instance*> instances_left(Predicate wanted) const {
    std::vector<const Instance*> left;
    each([&](const Instance& instance) {
      if (wanted(instance)) left.push_back(&instance);
    });
    return left;
  }
  // All are gone, or those that are left were asked to stop and had more than their time. The launcher goes
  // on trying, and nothing starts on a volume that they hold; but nobody waits for them for ever.
  bool may_end_beside(const std::vector<const Instance*>& left) const {
    return std::ranges::all_of(left, [&](const Instance* instance) {
      return is_overdue(state(), environment_, *instance, changes_.now());
    });
  }
  static std::string told(const std::vector<const Instance*>& left) {
    std::string out;
    for (const Instance* instance : left)
      out += fmt::format("; {} of {} does not stop{}{}, it is tried again", instance->id, instance->service,
                         instance->error.empty() ? "" : ": ", instance->error);
    return std::string(beginning(out, 600));
  }

  void roll_back() {
    if (!rollout_.swapped.empty()) {
      const std::string service = rollout_.swapped.back();
      changes_.emit(event::ServiceSwapped{rollout_.id, service, false});
      return say(fmt::format("{}; {}", rollout_.reason, data_stays(service)));
    }
    const auto left =
        instances_left([this](const Instance& instance) { return is_new(from_, to_, instance); });
    if (!may_end_beside(left) || !routes_settled(state())) return;
    const std::string reason = rollout_.reason + told(left);
    if (old_ready()) return change_phase(changes_, rollout_.id, Phase::rolled_back, reason);
    // What was recreated does not come back (its new revision may have changed the data): that must not keep
    // the next release, perhaps the remedy, waiting for ever.
    const bool next = environment_.pending && environment_.approved;
    const bool late = changes_.now() - watched_since(state(), environment_, rollout_.phase_since) >
                      rollout_.policy.ready_deadline;
    if (next || late)
      change_phase(changes_, rollout_.id, Phase::rolled_back,
                   reason + "; a stateful service of the old release is not ready again");
  }
  bool is_old(const Instance& instance) const {
    const ReleaseService* before = from_ == nullptr ? nullptr : from_->find(instance.service);
    const ReleaseService* now = to_.find(instance.service);
    return before != nullptr && before->revision == instance.revision &&
           (now == nullptr || now->revision != instance.revision);
  }
  // Whoever had to go for a stateful service is back.
  bool old_ready() const {
    return std::ranges::all_of(changed_services(from_, to_), [&](const ReleaseService* service) {
      return std::ranges::all_of(taken_over(from_, to_, *service), [&](const ReleaseService* old) {
        return all_ready(state(), environment_, *old);
      });
    });
  }

  void say(const std::string& reason) {
    if (rollout_.reason != reason)
      changes_.emit(event::EvidenceStored{
          rollout_.id, rollout_.judge, rollout_.verdict, reason, rollout_.step,
          rollout_.steps.empty() ? std::vector<FailedExample>() : rollout_.steps.back().failed});
  }

  Changes& changes_;
  const Environment& environment_;
  const Rollout& rollout_;
  const Release& to_;
  const Release* from_;
};

// A fresh one; when there is none left, one whose service stands in no kept release. "" when all are in use.
std::string free_virtual_address(const State& state, const Environment& environment) {
  // The last one of the range is nobody's, as in a subnet.
  if (const auto next = environment.next_virtual + 1;
      !nth_address(environment.network->virtual_range, next + 1).empty())
    return nth_address(environment.network->virtual_range, next);
  std::set<std::string_view> kept;
  for (const auto& [id, release] : state.releases)
    if (release.app == environment.app && release.environment == environment.name)
      for (const ReleaseService& service : release.services) kept.insert(service.spec.name);
  for (const auto& [service, address] : environment.virtual_addresses)
    if (!kept.contains(service)) return address;
  return {};
}

// Why it cannot; "" when each service has one.
std::string assign_virtual_addresses(Changes& changes, const EnvKey& key, const Release& release) {
  for (const ReleaseService& service : release.services) {
    const Environment& environment = changes.state().environments.at(key);
    if (!environment.network || environment.virtual_addresses.contains(service.spec.name)) continue;
    std::string address = free_virtual_address(changes.state(), environment);
    if (address.empty())
      return fmt::format("no virtual address of {} is left for {}: services of kept releases have them all",
                         environment.network->virtual_range, service.spec.name);
    changes.emit(event::VirtualAddressAssigned{key, service.spec.name, std::move(address)});
  }
  return {};
}

}  // namespace

const Release* previous_release(const State& state, const Environment& environment) {
  const Release* found = nullptr;
  for (const auto& [id, rollout] : state.rollouts)
    if (rollout.app == environment.app && rollout.environment == environment.name &&
        rollout.to == environment.stable && rollout.phase == Phase::done && rollout.from &&
        !rollout.is_rollback)
      found = state.release(rollout.from);
  return found;
}

void advance_rollout(Changes& changes, const EnvKey& key) {
  const Environment& environment = changes.state().environments.at(key);
  if (environment.stopped) {  // nothing goes on, but a one-shot that has ended is not run again afterwards
    if (const Rollout* rollout = changes.state().active_rollout(environment))
      Progress(changes, key, *rollout).finish_oneshots();
    return;
  }
  if (const Rollout* rollout = changes.state().active_rollout(environment)) {
    if (std::string why = assign_virtual_addresses(changes, key, *changes.state().release(rollout->to));
        !why.empty() && rollout->phase == Phase::preparing)
      return change_phase(changes, rollout->id, Phase::rolling_back, std::move(why));
    return Progress(changes, key, *rollout).run();
  }
  if (environment.pending && environment.approved) start_rollout(changes, key, *environment.pending, false);
}

void reconcile(Changes& changes, const EnvKey& key) {
  const std::size_t before = changes.events().size();
  advance_rollout(changes, key);
  converge_instances(changes, key);
  if (changes.events().size() > before) return;
  // Only when nothing is left to start: what could not be started before has its time from now on.
  const Environment& environment = changes.state().environments.at(key);
  const Rollout* rollout = changes.state().active_rollout(environment);
  if (rollout != nullptr && !environment.stopped) Progress(changes, key, *rollout).end_when_late();
}

// Fixed before the first step: a threshold that moved with the data would not be evidence.
void decide(Changes& changes, const command::LatencyBaseline& observation) {
  const auto found = changes.state().rollouts.find(observation.rollout);
  if (found == changes.state().rollouts.end()) return;
  if (found->second.phase == Phase::preparing && found->second.slow_us != observation.slow_us)
    changes.emit(event::LatencyBaselineSet{observation.rollout, observation.slow_us});
}

void decide(Changes& changes, const command::Judged& observation) {
  const auto found = changes.state().rollouts.find(observation.rollout);
  if (found == changes.state().rollouts.end()) return;
  const Rollout& rollout = found->second;
  if (rollout.phase != Phase::stepping || !rollout.step_live || rollout.step != observation.step) return;
  changes.emit(event::EvidenceStored{rollout.id, observation.judge, observation.verdict, observation.reason,
                                     rollout.step,
                                     kept_examples(rollout.steps.back().failed, observation.failed)});
  if (observation.outcome == command::Outcome::roll_back)
    change_phase(changes, rollout.id, Phase::rolling_back, observation.reason);
  else if (observation.outcome == command::Outcome::promote && rollout.steps.back().passed == WallTime{})
    changes.emit(event::StepPassed{rollout.id, rollout.step, observation.reason});
}

}  // namespace naru::rollout
