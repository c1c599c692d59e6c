// The judge: observations of a canary step in, a verdict with its evidence out. Pure: no I/O, no clock, no
// global state; the same state and observations give the same verdicts (docs/judge.md has the mathematics).
//
// Use, ten times a second while a rollout runs:
//   State state;                                        // stored (JSON) once a second, survives restarts
//   Verdict verdict = TRY(judge::step(policy, state, observation));
// An error leaves the state as it was: hold, log it, and go on with the next observation.
//
// The unit of evidence is the user: within a step a user counts at most once as seen and at most once as bad
// (and once as slow), and the rollout's salt makes his side random with the step's weight. That alone makes
// the false alarm bound hold: users who retry, bots and outages of both sides do not weaken it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/json.h"
#include "model/service_spec.h"

namespace naru::judge {

// Cumulative within the current step; zero again when `Observation::step` changes. Read `users_bad`,
// `users_slow` and `failed` before `users_seen` and `requests`, so that a part never exceeds its whole; an
// excess is left to a later tick.
struct SideCounts {
  std::uint64_t users_seen = 0;
  std::uint64_t users_bad = 0;   // 5xx or connection failure, on the side that the request was assigned to
  std::uint64_t users_slow = 0;  // slower than Split::slow_us, or gave up; leave 0 while warming up
  std::uint64_t requests = 0;    // shown to people; not evidence
  std::uint64_t failed = 0;
  bool operator==(const SideCounts&) const = default;
};
NARU_JSON(SideCounts)

// Crashes (and restarts after a failed health check) of instances that had been ready, cumulative over the
// whole rollout; an instance that never becomes ready is the rollout's to decide. The stable side may reach
// back before the rollout, as long as its release has run: the longer its quiet past, the sooner crashes are
// told from chance.
struct CrashCounts {
  std::uint64_t crashes = 0;
  double instance_seconds = 0;  // sum over instances of the time they ran
  bool operator==(const CrashCounts&) const = default;
};
NARU_JSON(CrashCounts)

struct Observation {
  std::uint32_t step = 0;        // index into policy.steps; never falls
  milliseconds in_step{0};       // since the step's first tick (acknowledged by the gateway)
  milliseconds since_canary{0};  // since the first canary user of the rollout: held against policy.bake
  SideCounts canary, stable;
  CrashCounts canary_crashes, stable_crashes;
  bool operator==(const Observation&) const = default;
};
NARU_JSON(Observation)

// Log likelihood ratios of one user metric in the current step, one per odds ratio of the mixture's grid.
struct MetricState {
  std::uint64_t bad_canary = 0, bad_stable = 0;  // consumed so far
  std::vector<double> log_ratios;
  double max_log_m = 0;         // natural logarithm of the largest mixture so far
  std::uint32_t looks = 0;      // exact tests spent
  std::uint64_t next_look = 0;  // bad users of both sides at which the next exact test is due
  double exact_p = 1;           // of the last exact test
  double exact_limit = 0;
  bool failed = false;  // once rejected it stays rejected for the step
};
NARU_JSON(MetricState)

struct State {
  std::uint32_t version = 1;
  std::uint32_t step = 0;
  bool started = false;
  Observation last;  // the newest one accepted
  MetricState errors, latency;
  std::uint64_t crashes_judged = 0;
  double crash_p = 1, crash_limit = 0;
  bool crash_failed = false;
};
NARU_JSON(State)

enum class VerdictKind { hold, promote, roll_back, inconclusive };
NARU_JSON(VerdictKind)

// What one metric knows. Rates and ratios are for people; `m` against `threshold` and `exact_p` against
// `exact_limit` decide: reaching either rolls back.
struct Evidence {
  std::string metric;  // "errors", "latency", "crashes"
  SideCounts canary, stable;
  std::uint64_t bad_canary = 0, bad_stable = 0;  // users bad or slow, or crashes
  double share = 0;       // rho: the chance that an equally good canary's next bad user is its own
  double odds_ratio = 1;  // estimate, canary to stable
  double odds_low = 0, odds_high = 0;  // 95% at any time; odds_high 0 = no bound yet
  double rate_high = 1;                // 95% at any time: upper bound of the canary's rate of bad users
  double m = 1, threshold = 0;  // betting evidence against "not worse than the margin" (capped at 1e300)
  double exact_p = 1, exact_limit = 0;
};
NARU_JSON(Evidence)

//   promote       this step has passed; the rollout may go to the next, or to everybody after the last
//   hold          not yet
//   roll_back     the canary is worse than the margin allows; wrong with probability <= policy.alpha per
//   rollout inconclusive  hold, and waiting longer has not helped: a person should look
struct Verdict {
  VerdictKind kind = VerdictKind::hold;
  std::string metric;  // that decided; empty for duration, traffic and promote
  std::string reason;  // one sentence for people, with what to do when they can do something
  std::vector<Evidence> evidence;
};
NARU_JSON(Verdict)

// Errors: invalid_argument (a policy outside its bounds), judge_observation (counters that go backwards,
// steps that fall or do not exist, not a number), judge_state (a stored state that this version cannot read).
// `target` is named in the remedy of a reason ("naru promote shop/staging").
Result<Verdict> step(const RolloutPolicy& policy, State& state, const Observation& observation,
                     std::string_view target);

// A stored state (JSON of State), checked; judge_state when it is damaged.
Result<State> load_state(std::string_view bytes);

// The errors that `step` would return for the policy, for a compose file's check.
Result<> check(const RolloutPolicy& policy);

// One bucket of a latency histogram: requests with `low_us` <= latency < the next bucket's.
struct LatencyBucket {
  std::int64_t low_us = 0;
  std::uint64_t count = 0;
};

// The threshold for Split::slow_us, from the stable side before the step: the upper edge of the bucket that
// holds the quantile, and half of it again, at least 20 ms. 0 (not yet) with fewer than `min_requests`, or
// when it lies in the last, open bucket. Errors: judge_observation (buckets out of order, quantile outside
// (0, 1)).
Result<std::int64_t> pick_slow_threshold(std::span<const LatencyBucket> buckets, double quantile = 0.99,
                                         std::uint64_t min_requests = 200);

}  // namespace naru::judge
