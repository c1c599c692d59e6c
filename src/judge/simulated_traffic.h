// Traffic for tests and measurements of the judge: users, requests and faults from a seed, counted the way
// the gateway counts. Not part of the product.
#pragma once

#include <cmath>
#include <unordered_map>

#include "base/rng.h"
#include "judge/judge.h"

namespace naru::judge {

struct Traffic {
  double requests_per_second = 100;
  std::uint32_t users = 0;    // 0: every request is a new user
  double canary_failure = 0;  // chance that a request fails on the side
  double stable_failure = 0;
  double canary_slow = 0.01, stable_slow = 0.01;
  std::uint32_t retries = 0;  // a request that fails is sent again at once, so often, with the same outcome
  std::uint32_t bots = 0;     // users whose every request fails, twenty in a row, every two seconds
  double outages_per_minute = 0;  // of both sides: two seconds in which 60% of all requests fail or are slow
  double canary_crashes_per_minute = 0, stable_crashes_per_minute = 0;
};

class SimulatedTraffic {
 public:
  SimulatedTraffic(Traffic traffic, std::uint64_t seed) : traffic_(traffic), rng_(seed), salt_(rng_.next()) {
    now_.stable_crashes = {poisson(traffic_.stable_crashes_per_minute * 10), 600};  // ten minutes of past
  }

  // The next tick of `length` with the canary at `weight`; a new step begins with zeroed counts.
  const Observation& tick(std::uint32_t step, BasisPoints weight, milliseconds length = milliseconds{100}) {
    if (step != now_.step) {
      now_.step = step;
      now_.in_step = milliseconds{0};
      now_.canary = now_.stable = {};
      marks_.clear();
    }
    weight_ = weight;
    clock_ += length;
    now_.in_step += length;
    now_.since_canary += length;
    const double span = static_cast<double>(length.count()) / 1000;
    now_.canary_crashes.instance_seconds += span;
    now_.stable_crashes.instance_seconds += span;
    now_.canary_crashes.crashes += poisson(traffic_.canary_crashes_per_minute * span / 60);
    now_.stable_crashes.crashes += poisson(traffic_.stable_crashes_per_minute * span / 60);
    if (rng_.chance(traffic_.outages_per_minute * span / 60)) outage_until_ = clock_ + milliseconds{2000};
    for (std::uint64_t i = poisson(traffic_.requests_per_second * span); i > 0; --i) request();
    for (std::uint32_t bot = 0; bot < traffic_.bots; ++bot)
      if ((clock_.count() / length.count() + 7 * bot) % std::max<std::int64_t>(1, 2000 / length.count()) == 0)
        for (int i = 0; i < 20; ++i) count(kBots + bot, true, false);
    return now_;
  }

  const Observation& now() const { return now_; }

 private:
  static constexpr std::uint64_t kBots = 1ULL << 62;

  void request() {
    const std::uint64_t user = traffic_.users == 0 ? next_user_++ : rng_.below(traffic_.users);
    const bool outage = clock_ < outage_until_ && rng_.chance(0.6);
    const bool canary = on_canary(user);
    const bool bad = outage || rng_.chance(canary ? traffic_.canary_failure : traffic_.stable_failure);
    const bool slow = outage || rng_.chance(canary ? traffic_.canary_slow : traffic_.stable_slow);
    for (std::uint32_t sent = 0; sent <= (bad ? traffic_.retries : 0); ++sent) count(user, bad, slow);
  }

  // Monotone in the weight: who is in at 5% is in at 25%.
  bool on_canary(std::uint64_t user) const {
    return Rng(salt_ ^ (user * 0x9e3779b97f4a7c15ULL)).below(10'000) < weight_.value;
  }

  void count(std::uint64_t user, bool bad, bool slow) {
    SideCounts& side = on_canary(user) ? now_.canary : now_.stable;
    unsigned char& marks = marks_[user];
    const unsigned char fresh = static_cast<unsigned char>((1 | (bad ? 2 : 0) | (slow ? 4 : 0)) & ~marks);
    marks |= fresh;
    side.users_seen += (fresh & 1) != 0;
    side.users_bad += (fresh & 2) != 0;
    side.users_slow += (fresh & 4) != 0;
    ++side.requests;
    side.failed += bad;
  }

  // Knuth's product of uniforms, in parts so that exp does not underflow.
  std::uint64_t poisson(double mean) {
    std::uint64_t total = 0;
    for (; mean > 0; mean -= 30) {
      const double limit = std::exp(-std::min(mean, 30.0));
      for (double product = rng_.uniform(); product > limit; product *= rng_.uniform()) ++total;
    }
    return total;
  }

  Traffic traffic_;
  Rng rng_;
  std::uint64_t salt_;
  BasisPoints weight_{};
  Observation now_;
  milliseconds clock_{0}, outage_until_{0};
  std::uint64_t next_user_ = 0;
  std::unordered_map<std::uint64_t, unsigned char> marks_;
};

// A whole rollout under `traffic`: from step to step as the judge says, at most `most` in a step.
struct RolloutResult {
  Verdict verdict;  // the last one
  Observation last;
  std::uint64_t failed = 0;  // canary requests, over all steps
  bool rolled_back() const { return verdict.kind == VerdictKind::roll_back; }
};
inline RolloutResult run_rollout(const RolloutPolicy& policy, const Traffic& traffic, std::uint64_t seed,
                                 milliseconds tick = milliseconds{100},
                                 milliseconds most = milliseconds{60'000}) {
  SimulatedTraffic simulated(traffic, seed);
  State state;
  RolloutResult result;
  for (std::uint32_t step = 0; step < policy.steps.size(); ++step) {
    for (milliseconds spent{0}; spent < most; spent += tick) {
      const Observation& now = simulated.tick(step, policy.steps[step].weight, tick);
      result.verdict = judge::step(policy, state, now, "app").value();
      if (result.verdict.kind == VerdictKind::promote || result.rolled_back()) break;
    }
    result.last = simulated.now();
    result.failed += result.last.canary.failed;
    if (result.rolled_back()) break;
  }
  return result;
}

}  // namespace naru::judge
