#include <algorithm>
#include <cmath>

#include "judge/judge.h"

namespace naru::judge {
namespace {

// What nobody notices. The smaller side has colder caches and fewer open connections, which costs it
// milliseconds.
constexpr std::int64_t kLeastSlack = 20'000;

std::int64_t with_slack(std::int64_t quantile_us) {
  return quantile_us + std::max(quantile_us / 2, kLeastSlack);
}

}  // namespace

Result<std::int64_t> pick_slow_threshold(std::span<const LatencyBucket> buckets, double quantile,
                                         std::uint64_t min_requests) {
  if (!(quantile > 0 && quantile < 1))
    return fail(Code::judge_observation, "latency histogram: quantile {} is not between 0 and 1", quantile);
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    if (buckets[i].low_us < 0 || (i > 0 && buckets[i].low_us <= buckets[i - 1].low_us))
      return fail(Code::judge_observation,
                  "latency histogram: bucket {} starts at {} us, not after the one before it", i,
                  buckets[i].low_us);
    if (__builtin_add_overflow(total, buckets[i].count, &total))
      return fail(Code::judge_observation, "latency histogram: its counts add up to more than 64 bits hold");
  }
  if (total == 0 || total < min_requests) return 0;
  const double wanted = quantile * static_cast<double>(total);
  double below = 0;
  for (std::size_t i = 0; i + 1 < buckets.size(); ++i) {
    below += static_cast<double>(buckets[i].count);
    if (below >= wanted) return with_slack(buckets[i + 1].low_us);
  }
  return 0;  // in the open bucket: every latency would be called fast
}

}  // namespace naru::judge
