#include <algorithm>

#include "rollout/rollout.h"

namespace naru::rollout {

namespace {

void keep_newest(std::vector<FailedExample>& examples, std::size_t most) {
  std::ranges::stable_sort(examples, {}, &FailedExample::time);
  if (examples.size() > most)
    examples.erase(examples.begin(), examples.end() - static_cast<std::ptrdiff_t>(most));
}

}  // namespace

std::vector<FailedExample> kept_examples(const std::vector<FailedExample>& kept,
                                         const std::vector<FailedExample>& seen) {
  std::vector<FailedExample> canary, stable;
  for (const auto* examples : {&kept, &seen})
    for (const FailedExample& one : *examples) {
      auto& side = one.side == "canary" ? canary : stable;
      if (std::ranges::find(side, one) == side.end()) side.push_back(one);
    }
  keep_newest(canary, kMaxExamples);
  keep_newest(stable, kMaxExamples - canary.size());
  std::ranges::move(stable, std::back_inserter(canary));
  return canary;
}

}  // namespace naru::rollout
