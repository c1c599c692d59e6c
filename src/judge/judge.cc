#include "judge/judge.h"

#include <algorithm>
#include <cmath>

#include "judge/metric.h"
#include "judge/passing.h"
#include "judge/statistics.h"

namespace naru::judge {
namespace {

constexpr std::uint64_t kMaxCount =
    1'000'000'000'000;  // beyond it a double no longer counts users one by one safely
constexpr std::size_t kMaxSteps = 100;

bool falls(const SideCounts& before, const SideCounts& now) {
  return now.users_seen < before.users_seen || now.users_bad < before.users_bad ||
         now.users_slow < before.users_slow || now.requests < before.requests || now.failed < before.failed;
}
bool falls(const CrashCounts& before, const CrashCounts& now) {
  return now.crashes < before.crashes || now.instance_seconds < before.instance_seconds;
}
bool too_large(const SideCounts& side) {
  return std::max({side.users_seen, side.users_bad, side.users_slow, side.requests, side.failed}) > kMaxCount;
}
bool impossible(const CrashCounts& counts) {
  return !(std::isfinite(counts.instance_seconds) && counts.instance_seconds >= 0) ||
         counts.crashes > kMaxCount;
}

Result<> check_observation(const RolloutPolicy& policy, const State& state, const Observation& now) {
  if (now.step >= policy.steps.size())
    return fail(Code::judge_observation, "step {} does not exist: the rollout has {} steps", now.step,
                policy.steps.size());
  if (now.in_step < 0ms || now.since_canary < 0ms)
    return fail(Code::judge_observation,
                "step {}: a duration is negative ({} ms in the step, {} ms since the first canary user)",
                now.step, now.in_step.count(), now.since_canary.count());
  if (too_large(now.canary) || too_large(now.stable))
    return fail(Code::judge_observation, "step {}: a counter is larger than {}", now.step, kMaxCount);
  if (impossible(now.canary_crashes) || impossible(now.stable_crashes))
    return fail(Code::judge_observation, "step {}: instance seconds or crashes are not possible numbers",
                now.step);
  if (!state.started) return {};
  if (now.step < state.step)
    return fail(Code::judge_observation, "the step fell from {} to {}", state.step, now.step);
  if (falls(state.last.canary_crashes, now.canary_crashes) ||
      falls(state.last.stable_crashes, now.stable_crashes))
    return fail(Code::judge_observation, "step {}: a count of crashes or instance seconds went backwards",
                now.step);
  if (now.since_canary < state.last.since_canary)
    return fail(Code::judge_observation, "step {}: the time since the first canary user went backwards",
                now.step);
  if (now.step != state.step) return {};
  if (falls(state.last.canary, now.canary) || falls(state.last.stable, now.stable) ||
      now.in_step < state.last.in_step)
    return fail(Code::judge_observation, "step {}: a counter or the time in the step went backwards",
                now.step);
  return {};
}

Result<> check_metric(const MetricState& metric, const Observation& last, Metric which) {
  const MetricCounts counts = metric_counts(last, which);
  if (!metric.log_ratios.empty() && metric.log_ratios.size() != odds_grid().size())
    return fail(Code::judge_state, "{}: {} likelihood ratios where this version keeps {}", metric_name(which),
                metric.log_ratios.size(), odds_grid().size());
  for (const double ratio : metric.log_ratios)
    if (!std::isfinite(ratio))
      return fail(Code::judge_state, "{}: a likelihood ratio is not a number", metric_name(which));
  if (!std::isfinite(metric.max_log_m) || metric.bad_canary > counts.bad_canary ||
      metric.bad_stable > counts.bad_stable)
    return fail(Code::judge_state, "{}: the evidence does not belong to the last observation",
                metric_name(which));
  return {};
}

Result<> check_state(const State& state) {
  if (state.version != 1)
    return fail(Code::judge_state, "version {} where this Naru reads version 1", state.version);
  if (state.started && state.last.step != state.step)
    return fail(Code::judge_state, "step {} with an observation of step {}", state.step, state.last.step);
  TRY(check_metric(state.errors, state.last, Metric::errors));
  return check_metric(state.latency, state.last, Metric::latency);
}

// The k-th crash of the canary is tested once, given all crashes and how long each side ran; equally good
// releases crash in proportion to that. One crash alone never rolls back: there is no telling what else
// happened.
void observe_crashes(const RolloutPolicy& policy, State& state, const Observation& now) {
  const std::uint64_t crashes = now.canary_crashes.crashes;
  if (crashes <= state.crashes_judged) return;
  state.crashes_judged = crashes;
  if (crashes < 2 || now.stable_crashes.instance_seconds <= 0) return;
  const double canary = now.canary_crashes.instance_seconds * null_odds(policy, Metric::crashes);
  const double share = canary / (canary + now.stable_crashes.instance_seconds);
  const double k = static_cast<double>(crashes);
  state.crash_p = binomial_upper_tail(crashes + now.stable_crashes.crashes, crashes, share);
  state.crash_limit = metric_alpha(policy, Metric::crashes, now.step) / (k * (k - 1));
  if (state.crash_p <= state.crash_limit) state.crash_failed = true;
}

}  // namespace

Result<> check(const RolloutPolicy& policy) {
  if (policy.steps.size() > kMaxSteps)
    return fail(Code::invalid_argument, "rollout: {} steps; at most {}", policy.steps.size(), kMaxSteps);
  if (!(policy.alpha > 0 && policy.alpha <= 0.5))
    return fail(Code::invalid_argument, "rollout: alpha {} is not above 0 and at most 0.5", policy.alpha);
  if (!(policy.error_objective >= 0 && policy.error_objective < 1))
    return fail(Code::invalid_argument, "rollout: error_objective {} is not a rate below 1",
                policy.error_objective);
  for (const double margin : {policy.error_margin, policy.latency_margin})
    if (!(margin > 0 && margin <= 100))
      return fail(Code::invalid_argument, "rollout: a margin of {} is not above 0 and at most 100", margin);
  for (std::size_t i = 0; i < policy.steps.size(); ++i) {
    const CanaryStep& step = policy.steps[i];
    if (step.weight.value == 0 || step.weight > kEverybody)
      return fail(Code::invalid_argument, "rollout: step {} has a weight of {} basis points, not 1 to 10000",
                  i + 1, step.weight.value);
    if (i > 0 && step.weight < policy.steps[i - 1].weight)
      return fail(Code::invalid_argument,
                  "rollout: step {} gives the canary fewer users than the one before it", i + 1);
    if (step.min_duration < 0ms)
      return fail(Code::invalid_argument, "rollout: step {} has a negative duration", i + 1);
  }
  return {};
}

Result<State> load_state(std::string_view bytes) {
  constexpr std::size_t kMaxBytes = 65'536;
  if (bytes.size() > kMaxBytes)
    return fail(Code::judge_state, "{} bytes; at most {}", bytes.size(), kMaxBytes);
  const auto parsed = parse_json(bytes, "the judge's state");
  if (!parsed) return fail(Code::judge_state, "{}", parsed.error().context);
  State state;
  try {
    parsed->get_to(state);
  } catch (const Json::exception& wrong) {  // a field of another type
    return fail(Code::judge_state, "{}", wrong.what());
  }
  TRY(check_state(state));
  return state;
}

Result<Verdict> step(const RolloutPolicy& policy, State& state, const Observation& observation,
                     std::string_view target) {
  TRY(check(policy));
  TRY(check_state(state));
  TRY(check_observation(policy, state, observation));
  if (!state.started || observation.step != state.step) {
    // A step has fresh users' bitmaps and its own part of alpha: evidence is not carried over (docs/judge.md
    // says why).
    state.errors = {};
    state.latency = {};
    state.last.canary = state.last.stable = {};
  }
  const double share =
      canary_share(policy.steps[observation.step].weight, state.last.canary, state.last.stable);
  std::vector<Evidence> evidence;
  for (const Metric metric : {Metric::errors, Metric::latency}) {
    MetricState& kept = metric == Metric::errors ? state.errors : state.latency;
    const double alpha = metric_alpha(policy, metric, observation.step);
    observe(kept, metric_counts(observation, metric), share, null_odds(policy, metric), alpha);
    evidence.push_back(describe(kept, observation, metric, share, alpha));
  }
  observe_crashes(policy, state, observation);
  state.started = true;
  state.step = observation.step;
  state.last = observation;
  return decide(policy, state, std::move(evidence), target);
}

NARU_JSON_FIELDS(SideCounts, users_seen, users_bad, users_slow, requests, failed)
NARU_JSON_FIELDS(CrashCounts, crashes, instance_seconds)
NARU_JSON_FIELDS(Observation, step, in_step, since_canary, canary, stable, canary_crashes, stable_crashes)
NARU_JSON_FIELDS(MetricState, bad_canary, bad_stable, log_ratios, max_log_m, looks, next_look, exact_p,
                 exact_limit, failed)
NARU_JSON_FIELDS(State, version, step, started, last, errors, latency, crashes_judged, crash_p, crash_limit,
                 crash_failed)
NARU_JSON_NAMES(VerdictKind, {{VerdictKind::hold, "hold"},
                              {VerdictKind::promote, "promote"},
                              {VerdictKind::roll_back, "roll-back"},
                              {VerdictKind::inconclusive, "inconclusive"}})
NARU_JSON_FIELDS(Evidence, metric, canary, stable, bad_canary, bad_stable, share, odds_ratio, odds_low,
                 odds_high, rate_high, m, threshold, exact_p, exact_limit)
NARU_JSON_FIELDS(Verdict, kind, metric, reason, evidence)
}  // namespace naru::judge
