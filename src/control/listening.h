// The listeners that routes need, kept open through the supervisor: what could not be opened (a program has
// the port) is tried again until it can be, less and less often. Thread-safe.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "control/links.h"

namespace naru::control {

class Listening {
 public:
  static constexpr milliseconds kFirstRetry{500}, kLastRetry{15'000};

  Listening(SupervisorLink& supervisor, const Clock& clock) : supervisor_(supervisor), clock_(clock) {}

  // The whole set, at once. An error when the supervisor does not answer; ports that are taken are no error.
  Result<void> set(std::vector<ListenerSpec> listeners);
  // Tries again what could not be opened, when its time has come. Call it often.
  void again();
  // Name -> why it is not open.
  std::map<std::string, std::string> errors() const;

 private:
  Result<void> ask();  // with mutex_ held

  SupervisorLink& supervisor_;
  const Clock& clock_;
  mutable std::mutex mutex_;
  std::vector<ListenerSpec> wanted_;
  std::map<std::string, std::string> errors_;
  milliseconds delay_ = kFirstRetry;
  MonoTime next_{};
};

}  // namespace naru::control
