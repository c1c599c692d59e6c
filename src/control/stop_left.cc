#include "control/stop_left.h"

#include <atomic>
#include <thread>

#include "base/log.h"

namespace naru::control {

namespace {

constexpr std::size_t kAtOnce = 16;

Result<std::vector<std::string>> running(const ContainerStops& launcher) {
  std::vector<std::string> names;
  for (const ContainerStatus& status : TRY(launcher.list()))
    if (status.state == ContainerState::running) names.push_back(status.id);
  return names;
}

}  // namespace

Result<std::vector<std::string>> stop_what_is_left(const ContainerStops& launcher) {
  std::vector<std::string> left = TRY(running(launcher));
  if (left.empty()) return left;
  std::atomic<std::size_t> next = 0;
  const auto stop_some = [&] {
    for (std::size_t i = next++; i < left.size(); i = next++)
      if (auto stopped = launcher.stop(left[i]); !stopped)
        log_event(Level::error, "control.down_stop",
                  {{"container", left[i]}, {"error", stopped.error().message()}});
  };
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < std::min(kAtOnce, left.size()); ++i) threads.emplace_back(stop_some);
  }
  return running(launcher);
}

}  // namespace naru::control
