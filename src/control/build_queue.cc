#include "control/build_queue.h"

namespace naru::control {

std::optional<BuildQueue::Build> BuildQueue::next() {
  std::size_t all = 0;
  for (const auto& [app, count] : running_) all += count;
  if (all >= kPlaces) return std::nullopt;
  const auto places_of = [&](const Build& build) {
    const auto found = running_.find(build.app);
    return found == running_.end() ? std::size_t{0} : found->second;
  };
  const auto best = std::ranges::min_element(waiting_, {}, places_of);  // the first of equals
  if (best == waiting_.end() || places_of(*best) >= kPlacesOfOneApp) return std::nullopt;
  Build build = std::move(*best);
  waiting_.erase(best);
  ++running_[build.app];
  return build;
}

void BuildQueue::done(const std::string& app) {
  const auto found = running_.find(app);
  if (found != running_.end() && --found->second == 0) running_.erase(found);
}

MonoTime BuildDeadlines::of(PipelineId pipeline, MonoTime now, milliseconds time) {
  const MonoTime end = ends_.try_emplace(pipeline, now + time).first->second;
  while (ends_.size() > kKept) ends_.erase(ends_.begin());
  return end;
}

}  // namespace naru::control
