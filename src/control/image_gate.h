// Who uses images and unpacked layers, and who takes them away.
//
// A build, a start, a pull and an import hold the gate together with any number of others: between the moment
// they find a blob or a layer and the moment something names it (a tag, a manifest of a release, a container)
// nothing else in the world says that it is needed. Housekeeping takes the gate alone, and only when it is
// free: it never makes anybody wait for longer than one collection, and never waits in front of others.
// Thread-safe.
#pragma once

#include <mutex>
#include <shared_mutex>
#include <stop_token>
#include <thread>

#include "base/clock.h"

namespace naru::control {

class ImageGate {
 public:
  [[nodiscard]] std::shared_lock<std::shared_mutex> use() { return std::shared_lock(mutex_); }
  // Owns nothing when it was in use all the time.
  [[nodiscard]] std::unique_lock<std::shared_mutex> alone(milliseconds patience,
                                                          const std::stop_token& stop) {
    std::unique_lock lock(mutex_, std::try_to_lock);
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!lock.owns_lock() && !stop.stop_requested() && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(milliseconds(20));
      lock.try_lock();
    }
    return lock;
  }

 private:
  std::shared_mutex mutex_;
};

}  // namespace naru::control
