// One user metric of a step: its evidence, taken in tick by tick.
#pragma once

#include "judge/judge.h"

namespace naru::judge {

enum class Metric { errors, latency, crashes };
std::string_view metric_name(Metric metric);

// How a rollout's alpha is shared: 60% to errors, 20% each to latency and crashes; of a user metric's part
// 60% to the first step (most bad releases meet their end there) and 40% to the others together; within a
// step 60% to the martingale and 40% to the exact looks. Crashes have one test over the whole rollout. The
// parts add up to alpha.
double metric_alpha(const RolloutPolicy& policy, Metric metric, std::uint32_t step);
double null_odds(const RolloutPolicy& policy, Metric metric);

struct MetricCounts {
  std::uint64_t seen_canary = 0, seen_stable = 0, bad_canary = 0, bad_stable = 0;
};
// What the metric says of one tick; a bad count above the users seen is cut to them.
MetricCounts metric_counts(const Observation& observation, Metric metric);

// rho: the step's weight, or the canary's share of the users seen until the last tick where that is larger
// beyond chance (users split otherwise than asked). Taking a larger share only ever lowers the evidence.
double canary_share(BasisPoints weight, const SideCounts& canary, const SideCounts& stable);

// Takes in what is new; afterwards `state.failed` says whether the null is rejected.
void observe(MetricState& state, const MetricCounts& counts, double share, double null_odds, double alpha);

// What is known now, for people and for the decision to pass.
Evidence describe(const MetricState& state, const Observation& observation, Metric metric, double share,
                  double alpha);

}  // namespace naru::judge
