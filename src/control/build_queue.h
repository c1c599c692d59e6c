// Which build is next, and for how long it may go on. A few builds run side by side; no application has all
// of the places, so that one that waits is never kept out by another's long builds.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "base/clock.h"
#include "model/state.h"

namespace naru::control {

class BuildQueue {
 public:
  static constexpr std::size_t kPlaces = 3, kPlacesOfOneApp = 2;

  void push(Action action, std::string app) { waiting_.push_back({std::move(action), std::move(app)}); }
  // Takes a place for the oldest build of the application that has the fewest; none while no place is free
  // for anybody who waits. The application's name comes back with done().
  struct Build {
    Action action;
    std::string app;
  };
  std::optional<Build> next();
  void done(const std::string& app);
  void clear() { waiting_.clear(); }

 private:
  std::deque<Build> waiting_;
  std::map<std::string, std::size_t> running_;  // by application
};

// All builds of one pipeline together; a step alone may take kDefaultStepTimeout of build/workbench.h.
inline constexpr milliseconds kPipelineBuildTime{3 * 3'600'000};

// When the builds of a pipeline must have ended: kPipelineBuildTime after the first one began, not counting
// what it waited for its place. Not thread-safe.
class BuildDeadlines {
 public:
  MonoTime of(PipelineId pipeline, MonoTime now, milliseconds time = kPipelineBuildTime);

 private:
  static constexpr std::size_t kKept = 256;  // pipelines; numbers rise, so the least is the oldest
  std::map<PipelineId, MonoTime> ends_;
};

// Runs `work` until `deadline`: then the token that it was given is stopped, and whatever it fails with
// becomes a `timeout` that says so. A stop of `stop` is handed on, and the work's own error comes back.
template <class F>
auto within(MonoTime deadline, const Clock& clock, const std::stop_token& stop, F&& work)
    -> decltype(work(std::stop_token())) {
  std::stop_source inner;
  const std::stop_callback hand_on(stop, [&inner] { inner.request_stop(); });
  bool late = false;
  std::jthread watch([&](const std::stop_token& ended) {
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock(mutex);
    const milliseconds left = std::max(0ms, std::chrono::ceil<milliseconds>(deadline - clock.mono()));
    wake.wait_for(lock, ended, left, [] { return false; });
    if (ended.stop_requested()) return;
    late = true;
    inner.request_stop();
  });
  auto result = work(inner.get_token());
  watch.request_stop();
  watch.join();
  if (!result && late && !stop.stop_requested())
    return std::unexpected(
        Error{Code::timeout,
              fmt::format("the builds of this pipeline took longer than {} together and were stopped",
                          humanize(kPipelineBuildTime)),
              0, "push again: it goes on from the steps that were done; make slow steps smaller or fewer"});
  return result;
}

}  // namespace naru::control
