#include "judge/passing.h"

#include <algorithm>
#include <cmath>

#include "judge/metric.h"
#include "judge/statistics.h"

namespace naru::judge {
namespace {

// Evidence that is too weak to roll back and too strong to go on.
constexpr double kSuspiciousM = 20;
constexpr double kSuspiciousP = 0.02;
constexpr milliseconds kBeforeAdvice{10'000};  // into a step: users may be on their way
// A step that is held by suspicion for so much longer than planned needs a person.
constexpr int kPatience = 10;
constexpr milliseconds kLeastPatience{300'000};

struct View {
  const RolloutPolicy& policy;
  const CanaryStep& step;
  const State& state;
  const std::vector<Evidence>& evidence;
  std::string_view target;
  const Observation& now() const { return state.last; }
  std::string at() const { return fmt::format("{:g}%", step.weight.value / 100.0); }
};

std::string bad_users(const Evidence& e) {
  const bool latency = e.metric == "latency";
  return fmt::format("{} {} of {} canary users and {} of {} stable users{}",
                     latency ? "slow answers, or none, for" : "errors for", e.bad_canary, e.canary.users_seen,
                     e.bad_stable, e.stable.users_seen, latency ? " (one a second counts)" : "");
}

Evidence crash_evidence(const State& state) {
  const Observation& now = state.last;
  Evidence e;
  e.metric = metric_name(Metric::crashes);
  e.canary = now.canary;
  e.stable = now.stable;
  e.bad_canary = now.canary_crashes.crashes;
  e.bad_stable = now.stable_crashes.crashes;
  const double canary = now.canary_crashes.instance_seconds, stable = now.stable_crashes.instance_seconds;
  if (canary + stable > 0) e.share = canary / (canary + stable);
  if (canary > 0 && stable > 0 && e.bad_canary + e.bad_stable > 0)
    e.odds_ratio = (static_cast<double>(e.bad_canary) + 0.5) / canary * stable /
                   (static_cast<double>(e.bad_stable) + 0.5);
  e.exact_p = state.crash_p;
  e.exact_limit = state.crash_limit;
  return e;
}

std::optional<Verdict> roll_back(const View& view) {
  const auto verdict = [&](Metric metric, const std::string& why) {
    return Verdict{
        VerdictKind::roll_back,
        std::string(metric_name(metric)),
        fmt::format(
            "{}; a good release would come back so in at most 1 of {:.0f} rollouts; see `naru logs {}`", why,
            1 / view.policy.alpha, view.target),
        {}};
  };
  for (const auto& [metric, kept] :
       {std::pair{Metric::errors, &view.state.errors}, std::pair{Metric::latency, &view.state.latency}}) {
    if (!kept->failed) continue;
    const Evidence& e = *std::find_if(view.evidence.begin(), view.evidence.end(),
                                      [&](const Evidence& one) { return one.metric == metric_name(metric); });
    return verdict(metric, fmt::format("{} at {}", bad_users(e), view.at()));
  }
  if (view.state.crash_failed)
    return verdict(
        Metric::crashes,
        fmt::format("at {} the canary crashed {} times in {:.0f} instance seconds, stable {} times in {:.0f}",
                    view.at(), view.now().canary_crashes.crashes, view.now().canary_crashes.instance_seconds,
                    view.now().stable_crashes.crashes, view.now().stable_crashes.instance_seconds));
  return std::nullopt;
}

// The metric that speaks against going on, if any.
const Evidence* suspicious(const View& view) {
  for (const Evidence& e : view.evidence) {
    if (e.metric == metric_name(Metric::crashes) || view.step.weight >= kEverybody) continue;
    const bool latency = e.metric == metric_name(Metric::latency);
    if (!latency && e.rate_high < view.policy.error_objective) continue;  // worse perhaps, yet good enough
    if (e.m >= kSuspiciousM) return &e;
    const double odds = null_odds(view.policy, latency ? Metric::latency : Metric::errors);
    if (e.bad_canary >= 2 && exact_upper_tail(e.canary.users_seen, e.stable.users_seen, e.bad_canary,
                                              e.bad_stable, odds) < kSuspiciousP)
      return &e;
  }
  return nullptr;
}

bool surely_good(const View& view) {
  const Evidence& errors = view.evidence.front();
  const bool inside = errors.odds_high > 0 && errors.odds_high <= 1 + view.policy.error_margin;
  return errors.rate_high < view.policy.error_objective || inside;
}

Verdict hold(std::string reason, std::string metric = {}) {
  return {VerdictKind::hold, std::move(metric), std::move(reason), {}};
}

Verdict suspect(const View& view, const Evidence& e) {
  std::string reason = fmt::format("{} at {}: {}, which is not enough to roll back and too much to go on",
                                   "holding", view.at(), bad_users(e));
  const milliseconds patience = std::max<milliseconds>(kPatience * view.step.min_duration, kLeastPatience);
  if (view.now().in_step < patience) return hold(std::move(reason), e.metric);
  return {VerdictKind::inconclusive,
          e.metric,
          fmt::format("{}, after {}; decide with naru promote {} or naru abort {}", reason,
                      humanize(view.now().in_step), view.target, view.target),
          {}};
}

Verdict pass_or_wait(const View& view) {
  const Observation& now = view.now();
  const std::uint64_t users = now.canary.users_seen;
  const std::uint64_t wanted = std::max<std::uint64_t>(view.step.min_users, 1);  // no traffic is never a pass
  if (users < wanted && now.in_step < kBeforeAdvice)
    return hold(fmt::format("holding at {}: {} of {} users so far", view.at(), users, wanted));
  if (users < wanted)
    return hold(fmt::format("holding at {}: {} of {} users; send traffic, add a probe, or naru promote {}",
                            view.at(), users, wanted, view.target));
  if (const Evidence* e = suspicious(view)) return suspect(view, *e);
  const bool early = now.in_step < view.step.min_duration;
  const bool last = now.step + 1 == view.policy.steps.size();
  const milliseconds bake = last ? view.policy.bake - now.since_canary : milliseconds(0);
  if (early && !surely_good(view))
    return hold(fmt::format("holding at {}: {} users, nothing speaks against it; at most {} to go", view.at(),
                            users, humanize(std::max(view.step.min_duration - now.in_step, bake))));
  if (bake > milliseconds(0))
    return hold(fmt::format("holding at {}: baking, {} to go before everybody; nothing speaks against it",
                            view.at(), humanize(bake)));
  const Evidence& errors = view.evidence.front();
  return {VerdictKind::promote,
          "",
          fmt::format("passed {}{}: {}; at most {:.2g}% of canary users meet errors (95%)", view.at(),
                      early ? " early" : "", bad_users(errors), errors.rate_high * 100),
          {}};
}

}  // namespace

Verdict decide(const RolloutPolicy& policy, const State& state, std::vector<Evidence> evidence,
               std::string_view target) {
  evidence.push_back(crash_evidence(state));
  const View view{policy, policy.steps[state.step], state, evidence, target};
  auto rejected = roll_back(view);
  Verdict verdict = rejected ? std::move(*rejected) : pass_or_wait(view);
  verdict.evidence = std::move(evidence);
  return verdict;
}

}  // namespace naru::judge
