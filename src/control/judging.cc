#include "control/judging.h"

#include "base/log.h"
#include "control/failed_requests.h"
#include "model/json_text.h"
#include "rollout/rollout.h"

namespace naru::control {

namespace {

constexpr milliseconds kLook{100};
constexpr milliseconds kStore{1'000};

// f(instance, it is the new release's). Instances of both releases are neither's.
template <class F>
void each_judged(const State& state, const Rollout& rollout, F f) {
  const Release* from = state.release(rollout.from);
  const Release* to = state.release(rollout.to);
  const auto has = [](const Release* release, const Instance& instance) {
    const ReleaseService* service = release == nullptr ? nullptr : release->find(instance.service);
    return service != nullptr && service->revision == instance.revision;
  };
  for (const auto& [id, instance] : state.instances) {
    if (instance.app != rollout.app || instance.environment != rollout.environment || instance.oneshot)
      continue;
    const bool old_side = has(from, instance), new_side = has(to, instance);
    if (old_side != new_side) f(instance, new_side);
  }
}

// Crashes of instances that had been ready, and how long they ran since.
void count_crashes(const State& state, const Rollout& rollout, WallTime now,
                   judge::Observation& observation) {
  each_judged(state, rollout, [&](const Instance& instance, bool canary) {
    judge::CrashCounts& counts = canary ? observation.canary_crashes : observation.stable_crashes;
    counts.crashes += instance.crashes;
    counts.instance_seconds += std::chrono::duration<double>(instance.exposed_until(now)).count();
  });
}

std::vector<judge::LatencyBucket> buckets_of(const ipc::Histogram& histogram) {
  std::vector<judge::LatencyBucket> buckets;
  for (std::uint32_t i = 0; i < histogram.counts.size(); ++i)
    buckets.push_back({static_cast<std::int64_t>(ipc::histogram_value(i)), histogram.counts[i]});
  return buckets;
}

std::string slot_key(const EnvKey& key, const ReleaseService& service) {
  return fmt::format("{}/{}/{}", key, service.spec.name, service.revision.short_hex());
}

judge::SideCounts counts_of(const ipc::SideCounters& side) {
  return {side.users_seen, side.users_bad, side.users_slow, side.requests, side.failed_requests};
}

constexpr std::size_t kCallersNamed = 3;

// Which of the `services` it depends on.
std::set<std::string> needs_of(const Release& release, const std::string& service,
                               const std::vector<const ReleaseService*>& services) {
  std::set<std::string> out;
  for (const ReleaseService* other : services)
    if (rollout::depends_transitively(release, service, other->spec.name)) out.insert(other->spec.name);
  return out;
}

// Of the calls between services: those of users are judged.
std::pair<std::uint64_t, std::uint64_t> inner_requests(const ipc::ServiceCounters& counters) {
  return {counters.requests() - std::min(counters.requests(), counters.user_requests),
          counters.failures() - std::min(counters.failures(), counters.user_failures)};
}

// Of a service that has a revision of its own on each side: its slots, each with its owner.
struct ChangedService {
  InnerAnswers nothing_yet;
  std::pair<std::uint32_t, std::uint64_t> stable, canary;
};

std::vector<ChangedService> changed_on_both_sides(const State& state, const EnvKey& key,
                                                  const Rollout& rollout) {
  const Release *from = state.release(rollout.from), *to = state.release(rollout.to);
  if (from == nullptr || to == nullptr) return {};
  std::vector<ChangedService> out;
  const auto changed = rollout::changed_services(from, *to);
  for (const ReleaseService* service : changed) {
    const ReleaseService* before = from->find(service->spec.name);
    if (before == nullptr) continue;
    const auto stable = state.slots.find(slot_key(key, *before)),
               canary = state.slots.find(slot_key(key, *service));
    if (stable == state.slots.end() || canary == state.slots.end()) continue;
    out.push_back({{.service = service->spec.name, .needs = needs_of(*to, service->spec.name, changed)},
                   {stable->second, ipc::slot_owner(stable->first)},
                   {canary->second, ipc::slot_owner(canary->first)}});
  }
  return out;
}

}  // namespace

std::string remark_on(std::vector<InnerCalls> callers, bool users_seen) {
  std::uint64_t calls = 0;
  for (const InnerCalls& caller : callers) calls += caller.calls;
  std::string out;
  if (!users_seen && calls > 0)
    out = fmt::format("; {} calls between services do not count: only users who come from outside are judged",
                      calls);
  std::erase_if(callers, [](const InnerCalls& caller) { return caller.without_cohort == 0; });
  std::ranges::sort(callers, std::greater(), &InnerCalls::without_cohort);
  for (std::size_t i = 0; i < std::min(callers.size(), kCallersNamed); ++i)
    out += fmt::format("; {} does not carry the cohort ({} of {} inner calls were split by connection)",
                       callers[i].service, callers[i].without_cohort, callers[i].calls);
  if (callers.size() > kCallersNamed)
    out += fmt::format("; nor do {} other services", callers.size() - kCallersNamed);
  return out;
}

struct Judging::View {
  Rollout rollout;
  judge::Observation crashes;
  std::map<std::string, WallTime> ready;  // the canary's containers that have been ready, and when last
  // Slots and their owners: of the stable side's services. Each has a name at the edge.
  std::vector<std::pair<std::uint32_t, std::uint64_t>> stable_slots;
  struct Caller {
    std::uint64_t owner = 0;
    std::string service;
  };
  std::map<std::uint32_t, Caller> callers;  // by slot
  std::vector<ChangedService> changed;
};

Judging::Judging(Core& core, const ipc::Telemetry& telemetry, const Clock& clock)
    : core_(core), telemetry_(telemetry), clock_(clock) {}

Judging::~Judging() {
  thread_.request_stop();
}

void Judging::start() {
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void Judging::run(const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any wake;
  while (!stop.stop_requested()) {
    look();
    std::unique_lock lock(mutex);
    wake.wait_for(lock, stop, kLook, [] { return false; });
  }
}

void Judging::look() {
  const WallTime now = clock_.wall();
  const auto views = core_.read([&](const State& state) {
    std::vector<View> found;
    for (const auto& [key, environment] : state.environments) {
      const Rollout* rollout = state.active_rollout(environment);
      if (rollout == nullptr || environment.stopped) continue;
      View view{*rollout, {}, {}, {}, {}, changed_on_both_sides(state, key, *rollout)};
      count_crashes(state, *rollout, now, view.crashes);
      each_judged(state, *rollout, [&](const Instance& instance, bool canary) {
        // One that crashed after it was ready is cold by its own doing.
        if (canary && instance.was_ready && instance.crashes == 0)
          view.ready[instance.container()] = instance.ready_at;
      });
      for (const Release* release : {state.release(rollout->from), state.release(rollout->to)})
        if (release != nullptr)
          for (const ReleaseService& service : release->services)
            if (const auto slot = state.slots.find(slot_key(key, service)); slot != state.slots.end())
              view.callers[slot->second] = {ipc::slot_owner(slot->first), service.spec.name};
      if (const Release* stable = state.release(rollout->from))
        for (const ReleaseService& service : stable->services)
          if (const auto slot = state.slots.find(slot_key(key, service)); slot != state.slots.end())
            view.stable_slots.emplace_back(slot->second, ipc::slot_owner(slot->first));
      found.push_back(std::move(view));
    }
    return found;
  });
  std::erase_if(sessions_, [&](const auto& session) {
    return std::ranges::none_of(views, [&](const View& view) { return view.rollout.id == session.first; });
  });
  for (const View& view : views) {
    if (view.rollout.phase == RolloutPhase::preparing) baseline(view);
    if (view.rollout.phase == RolloutPhase::stepping && view.rollout.step_live) observe(view);
  }
}

void Judging::baseline(const View& view) {
  if (view.rollout.slow_us > 0 || !view.rollout.from) return;
  ipc::Histogram sum;
  for (const auto& [slot, owner] : view.stable_slots) {
    const ipc::Histogram latency = telemetry_.edge_latency(slot, owner);
    for (std::size_t i = 0; i < sum.counts.size(); ++i) sum.counts[i] += latency.counts[i];
  }
  const auto threshold = judge::pick_slow_threshold(buckets_of(sum));
  const std::int64_t slow_us = threshold.value_or(0);
  if (slow_us != view.rollout.slow_us) core_.post(command::LatencyBaseline{view.rollout.id, slow_us});
}

// The judge refuses counters that fall; here they may: the shared memory is new after a reboot, an instance's
// row is new after a stop and start. What was read so far is then kept as an offset.
void Judging::keep_rising(Session& session, judge::Observation& observation) {
  const auto rise = [](auto& now, auto& raw, auto& before, auto member) {
    if (now.*member < raw.*member) before.*member += raw.*member;
    raw.*member = now.*member;
    now.*member += before.*member;
  };
  const auto side = [&](auto which) {
    for (const auto member :
         {&judge::SideCounts::users_seen, &judge::SideCounts::users_bad, &judge::SideCounts::users_slow,
          &judge::SideCounts::requests, &judge::SideCounts::failed})
      rise(observation.*which, session.raw.*which, session.before.*which, member);
  };
  side(&judge::Observation::canary);
  side(&judge::Observation::stable);
  for (const auto which : {&judge::Observation::canary_crashes, &judge::Observation::stable_crashes}) {
    rise(observation.*which, session.raw.*which, session.before.*which, &judge::CrashCounts::crashes);
    rise(observation.*which, session.raw.*which, session.before.*which,
         &judge::CrashCounts::instance_seconds);
  }
  for (const auto which : {&judge::Observation::in_step, &judge::Observation::since_canary})
    observation.*which = session.raw.*which = std::max(observation.*which, session.raw.*which);
}

// A cold instance is slow: who was slow while one of the canary's warmed up is no evidence, on either side.
// Errors always are. A container is cold once: a health check that fails for a moment makes it no newer.
bool Judging::warms_up(const View& view, Session& session, milliseconds since_canary) const {
  std::erase_if(session.first_ready, [&](const auto& row) { return !view.ready.contains(row.first); });
  session.first_ready.insert(view.ready.begin(), view.ready.end());
  milliseconds warm = since_canary;
  for (const auto& [container, ready] : session.first_ready)
    warm = std::min(warm, std::max(clock_.wall() - ready, milliseconds(0)));
  return warm < view.rollout.policy.warm_up;
}

judge::Observation Judging::observation_of(const View& view, const ipc::EvidenceCounters& counters,
                                           Session& session) const {
  judge::Observation observation = view.crashes;
  observation.step = view.rollout.step;
  observation.in_step = std::max(clock_.wall() - view.rollout.step_started, milliseconds(0));
  observation.since_canary = std::max(clock_.wall() - view.rollout.first_user, milliseconds(0));
  observation.canary = counts_of(counters.canary);
  observation.stable = counts_of(counters.stable);
  keep_rising(session, observation);
  const std::uint64_t slow_canary = observation.canary.users_slow,
                      slow_stable = observation.stable.users_slow;
  const std::uint64_t fresh_canary = slow_canary - session.slow_seen_canary,
                      fresh_stable = slow_stable - session.slow_seen_stable;
  judge::SlowLot::Drawn counted;
  if (!warms_up(view, session, observation.since_canary))
    counted = session.slow_lot.draw(fresh_canary, fresh_stable, clock_.mono());
  session.slow_ignored_canary += fresh_canary - counted.canary;
  session.slow_ignored_stable += fresh_stable - counted.stable;
  session.slow_seen_canary = slow_canary;
  session.slow_seen_stable = slow_stable;
  observation.canary.users_slow -= std::min(observation.canary.users_slow, session.slow_ignored_canary);
  observation.stable.users_slow -= std::min(observation.stable.users_slow, session.slow_ignored_stable);
  return observation;
}

// After a restart of control: on from what was stored, whatever the counters say now.
Result<void> Judging::resume(const View& view, Session& session) const {
  session.state = TRY(judge::load_state(json_text(view.rollout.judge)));
  session.step = view.rollout.step;
  if (!session.state.started) return {};
  const judge::Observation& last = session.state.last;
  if (session.state.step != view.rollout.step) {
    // A step has counters of its own; what counts over all steps goes on, also when its instances are new.
    session.raw.canary_crashes = last.canary_crashes;
    session.raw.stable_crashes = last.stable_crashes;
    session.raw.since_canary = last.since_canary;
    return {};
  }
  const ipc::EvidenceCounters counters = telemetry_.evidence_of(evidence_of(view.rollout));
  session.raw = last;
  session.before.in_step = session.before.since_canary = milliseconds(0);
  // Users slow that the judge was not shown are those of the warm-up, and those who were not drawn.
  const auto ignored = [](std::uint64_t counted, std::uint64_t shown) {
    return counted - std::min(counted, shown);
  };
  session.slow_ignored_canary = ignored(counters.canary.users_slow, last.canary.users_slow);
  session.slow_ignored_stable = ignored(counters.stable.users_slow, last.stable.users_slow);
  session.raw.canary.users_slow += session.slow_ignored_canary;
  session.raw.stable.users_slow += session.slow_ignored_stable;
  session.slow_seen_canary = session.raw.canary.users_slow;
  session.slow_seen_stable = session.raw.stable.users_slow;
  return {};
}

std::map<std::uint32_t, InnerCalls> Judging::inner_calls(const View& view) const {
  std::map<std::uint32_t, InnerCalls> found;
  for (const auto& [slot, caller] : view.callers) {
    const ipc::ServiceCounters counters = telemetry_.service(slot, caller.owner);
    found[slot] = {caller.service, counters.inner_calls, counters.inner_without_cohort};
  }
  return found;
}

// The counters are of all rollouts that the slot has seen.
std::vector<InnerCalls> Judging::new_calls(const std::map<std::uint32_t, InnerCalls>& now, Session& session) {
  std::map<std::string, InnerCalls> by_service;
  for (const auto& [slot, calls] : now) {
    InnerCalls& before = session.inner_before[slot];
    if (calls.calls < before.calls) before = {};  // a reboot: the shared memory is new
    InnerCalls& sum = by_service[calls.service];
    sum.service = calls.service;
    sum.calls += calls.calls - before.calls;
    sum.without_cohort += calls.without_cohort - std::min(calls.without_cohort, before.without_cohort);
  }
  std::vector<InnerCalls> out;
  for (auto& [service, calls] : by_service) out.push_back(std::move(calls));
  return out;
}

std::vector<InnerAnswers> Judging::inner_answers(const View& view) const {
  std::vector<InnerAnswers> out;
  for (const ChangedService& service : view.changed) {
    InnerAnswers& answers = out.emplace_back(service.nothing_yet);
    std::tie(answers.stable, answers.stable_failed) =
        inner_requests(telemetry_.service(service.stable.first, service.stable.second));
    std::tie(answers.canary, answers.canary_failed) =
        inner_requests(telemetry_.service(service.canary.first, service.canary.second));
  }
  return out;
}

// Evidence that cannot be read is not begun anew: what was spent of alpha would be spent twice. Whoever
// decides instead still sees what fails.
void Judging::hold(const View& view, Session& session, const ipc::EvidenceCounters& counters) {
  const Rollout& rollout = view.rollout;
  const std::string& why = session.unreadable;
  const std::string target = target_of(rollout.app, rollout.environment);
  std::string reason = fmt::format(
      "the evidence of this rollout cannot be read ({}), so that nothing is judged any more; `naru promote "
      "{}` goes on to everybody, `naru abort {}` takes it back",
      why, target, target);
  auto failed = examples_of(counters);
  const bool said = rollout.reason == reason, due = clock_.mono() - session.stored >= kStore;
  const auto& kept = rollout.steps.back().failed;
  if (said && (!due || rollout::kept_examples(kept, failed) == kept)) return;
  if (!said) log_event(Level::error, "control.judge", {{"rollout", rollout.id}, {"error", why}});
  session.stored = clock_.mono();
  core_.post(command::Judged{rollout.id, rollout.step, command::Outcome::hold, std::move(reason),
                             rollout.judge, rollout.verdict, std::move(failed)});
}

void Judging::observe(const View& view) {
  const Rollout& rollout = view.rollout;
  const auto [at, is_new] = sessions_.try_emplace(rollout.id);
  Session& session = at->second;
  if (is_new) session.inner_before = inner_calls(view);
  if (is_new && !rollout.judge.is_null())
    if (auto resumed = resume(view, session); !resumed) session.unreadable = resumed.error().message();
  const ipc::EvidenceCounters counters = telemetry_.evidence_of(evidence_of(rollout));
  if (!session.unreadable.empty()) return hold(view, session, counters);
  if (is_new || session.step != rollout.step) session.answered_before = inner_answers(view);
  if (session.step != rollout.step) {  // fresh counters; crashes and time are of the whole rollout
    session.step = rollout.step;
    session.slow_ignored_canary = session.slow_ignored_stable = 0;
    session.slow_seen_canary = session.slow_seen_stable = 0;
    for (judge::Observation* kept : {&session.raw, &session.before}) {
      kept->canary = kept->stable = {};
      kept->in_step = milliseconds(0);
    }
  }
  auto verdict = judge::step(rollout.policy, session.state, observation_of(view, counters, session),
                             target_of(rollout.app, rollout.environment));
  if (!verdict) {
    log_event(Level::warn, "control.judge", {{"rollout", rollout.id}, {"error", verdict.error().message()}});
    return;
  }
  const auto outcome = verdict->kind == judge::VerdictKind::promote     ? command::Outcome::promote
                       : verdict->kind == judge::VerdictKind::roll_back ? command::Outcome::roll_back
                                                                        : command::Outcome::hold;
  const MonoTime now = clock_.mono();
  const bool already_passed =
      outcome == command::Outcome::promote && rollout.steps.back().passed != WallTime{};
  if ((outcome == command::Outcome::hold || already_passed) && now - session.stored < kStore) return;
  session.stored = now;
  const judge::Observation& seen = session.state.last;
  verdict->reason +=
      remark_on(new_calls(inner_calls(view), session), seen.canary.users_seen + seen.stable.users_seen > 0);
  if (verdict->metric == "errors")
    verdict->reason += where_errors_start(session.answered_before, inner_answers(view), seen.canary.failed);
  core_.post(command::Judged{rollout.id, rollout.step, outcome, verdict->reason, session.state, *verdict,
                             examples_of(counters)});
}

}  // namespace naru::control
