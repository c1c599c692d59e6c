#include "judge/metric.h"

#include <algorithm>
#include <cmath>

#include "judge/statistics.h"

namespace naru::judge {
namespace {

constexpr double kIntervalAlpha = 0.05;
constexpr double kErrorsPart = 0.6, kFirstStepPart = 0.6, kMartingalePart = 0.6;
constexpr std::uint64_t kFirstLook = 3;
constexpr double kMaxLog = 690;  // e^690 is the largest M that is written down

double capped_exp(double log_value) {
  return std::exp(std::min(log_value, kMaxLog));
}

}  // namespace

std::string_view metric_name(Metric metric) {
  switch (metric) {
    case Metric::errors:
      return "errors";
    case Metric::latency:
      return "latency";
    case Metric::crashes:
      return "crashes";
  }
  return "";
}

double metric_alpha(const RolloutPolicy& policy, Metric metric, std::uint32_t step) {
  const double part = policy.alpha * (metric == Metric::errors ? kErrorsPart : (1 - kErrorsPart) / 2);
  if (metric == Metric::crashes || policy.steps.size() <= 1) return part;
  return step == 0 ? part * kFirstStepPart
                   : part * (1 - kFirstStepPart) / static_cast<double>(policy.steps.size() - 1);
}

double null_odds(const RolloutPolicy& policy, Metric metric) {
  return 1 + (metric == Metric::latency ? policy.latency_margin : policy.error_margin);
}

MetricCounts metric_counts(const Observation& observation, Metric metric) {
  const auto bad = [&](const SideCounts& side) {
    return std::min(side.users_seen, metric == Metric::latency ? side.users_slow : side.users_bad);
  };
  return {observation.canary.users_seen, observation.stable.users_seen, bad(observation.canary),
          bad(observation.stable)};
}

double canary_share(BasisPoints weight, const SideCounts& canary, const SideCounts& stable) {
  const double asked = weight.fraction();
  const double seen = static_cast<double>(canary.users_seen) + static_cast<double>(stable.users_seen);
  if (seen < 100 || asked >= 1) return asked;
  // Wilson's lower bound at four standard deviations: chance alone hardly ever raises the share.
  const double z2 = 16, share = static_cast<double>(canary.users_seen) / seen;
  const double low =
      (share + z2 / (2 * seen) - std::sqrt(z2 * (share * (1 - share) / seen + z2 / (4 * seen * seen)))) /
      (1 + z2 / seen);
  return low > asked ? std::min(share, 0.9999) : asked;
}

void observe(MetricState& state, const MetricCounts& counts, double share, double null_odds, double alpha) {
  if (state.log_ratios.empty()) state.log_ratios.assign(odds_grid().size(), 0.0);
  if (state.next_look == 0) state.next_look = kFirstLook;
  const auto fresh_canary = static_cast<double>(counts.bad_canary - state.bad_canary);
  const auto fresh_stable = static_cast<double>(counts.bad_stable - state.bad_stable);
  state.bad_canary = counts.bad_canary;
  state.bad_stable = counts.bad_stable;
  if (share >= 1 || fresh_canary + fresh_stable == 0) return;

  for (std::size_t i = 0; i < state.log_ratios.size(); ++i) {
    const LogRatio ratio = log_ratio(share, null_odds * odds_grid()[i].multiple, null_odds);
    state.log_ratios[i] += fresh_canary * ratio.canary + fresh_stable * ratio.stable;
  }
  state.max_log_m = std::max(state.max_log_m, log_mixture(state.log_ratios));
  if (state.max_log_m >= -std::log(alpha * kMartingalePart)) state.failed = true;

  // The exact looks come when the bad users of both sides together reach a number: equally good releases
  // reach it at a moment that has nothing to do with who is on which side.
  const std::uint64_t bad = counts.bad_canary + counts.bad_stable;
  if (bad < state.next_look) return;
  ++state.looks;
  state.next_look = std::max(bad + 1, bad + bad / 4);
  state.exact_limit = alpha * (1 - kMartingalePart) / (state.looks * (state.looks + 1.0));
  state.exact_p = exact_upper_tail(counts.seen_canary, counts.seen_stable, counts.bad_canary,
                                   counts.bad_stable, null_odds);
  if (state.exact_p <= state.exact_limit) state.failed = true;
}

Evidence describe(const MetricState& state, const Observation& observation, Metric metric, double share,
                  double alpha) {
  const MetricCounts counts = metric_counts(observation, metric);
  Evidence evidence;
  evidence.metric = metric_name(metric);
  evidence.canary = observation.canary;
  evidence.stable = observation.stable;
  evidence.bad_canary = counts.bad_canary;
  evidence.bad_stable = counts.bad_stable;
  evidence.share = share;
  evidence.m = state.log_ratios.empty()
                   ? 1
                   : capped_exp(state.failed ? state.max_log_m : log_mixture(state.log_ratios));
  evidence.threshold = 1 / (alpha * kMartingalePart);
  evidence.exact_p = state.exact_p;
  evidence.exact_limit = state.exact_limit;

  const double bad_c = static_cast<double>(counts.bad_canary), bad_s = static_cast<double>(counts.bad_stable);
  const double good_c = static_cast<double>(counts.seen_canary) - bad_c,
               good_s = static_cast<double>(counts.seen_stable) - bad_s;
  // Haldane's correction: a finite estimate from the first user on, 1 before.
  if (bad_c + bad_s > 0 && share < 1)
    evidence.odds_ratio = (bad_c + 0.5) * (good_s + 0.5) / ((bad_s + 0.5) * (good_c + 0.5));
  const Interval label =
      rate_interval(counts.bad_canary, counts.bad_canary + counts.bad_stable, kIntervalAlpha);
  const auto odds_of = [&](double q) { return q * (1 - share) / ((1 - q) * share); };
  evidence.odds_low = label.low < 1 && share < 1 ? odds_of(label.low) : 0;
  evidence.odds_high = label.high < 1 && share < 1 ? odds_of(label.high) : 0;
  evidence.rate_high = rate_interval(counts.bad_canary, counts.seen_canary, kIntervalAlpha).high;
  return evidence;
}

}  // namespace naru::judge
