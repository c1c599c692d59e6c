// The last minutes of traffic, so that charts begin filled: each environment's samples as they were sent.
// Bounded in time and in bytes, over all environments together. Not thread-safe.
#pragma once

#include <deque>
#include <map>
#include <string>

#include "model/state.h"

namespace naru::control {

class TrafficPast {
 public:
  static constexpr milliseconds kKept{300'000};
  static constexpr std::size_t kMaxBytes = 32 << 20;
  explicit TrafficPast(std::size_t max_bytes = kMaxBytes) : max_bytes_(max_bytes) {}

  void add(WallTime at, const EnvKey& key, const std::string& app, std::string text);
  // Those after `since`, oldest first, as one JSON list for each environment: of `app`, or of all when it is
  // "". At most `most` bytes, the newest.
  std::map<EnvKey, std::string> since(WallTime since, const std::string& app, std::size_t most) const;

 private:
  struct Sample {
    WallTime at{};
    EnvKey key;
    std::string app, text;
  };
  std::deque<Sample> samples_;  // the oldest first
  std::size_t bytes_ = 0, max_bytes_;
};

}  // namespace naru::control
