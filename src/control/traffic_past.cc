#include "control/traffic_past.h"

namespace naru::control {

void TrafficPast::add(WallTime at, const EnvKey& key, const std::string& app, std::string text) {
  // A clock that was set back begins a new past: the old one would lie in the future.
  if (!samples_.empty() && at < samples_.back().at) {
    samples_.clear();
    bytes_ = 0;
  }
  bytes_ += text.size();
  samples_.push_back({at, key, app, std::move(text)});
  while (bytes_ > max_bytes_ || at - samples_.front().at > kKept) {
    bytes_ -= samples_.front().text.size();
    samples_.pop_front();
    if (samples_.empty()) return;
  }
}

std::map<EnvKey, std::string> TrafficPast::since(WallTime since, const std::string& app,
                                                 std::size_t most) const {
  auto first = samples_.end();
  for (std::size_t bytes = 0; first != samples_.begin() && std::prev(first)->at > since; --first) {
    const Sample& sample = *std::prev(first);
    if (!app.empty() && sample.app != app) continue;
    bytes += sample.text.size();
    if (bytes > most) break;
  }
  std::map<EnvKey, std::string> lists;
  for (; first != samples_.end(); ++first) {
    if (!app.empty() && first->app != app) continue;
    std::string& list = lists[first->key];
    list += (list.empty() ? "[" : ",") + first->text;
  }
  for (auto& [key, list] : lists) list += "]";
  return lists;
}

}  // namespace naru::control
