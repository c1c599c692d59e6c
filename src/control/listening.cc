#include "control/listening.h"

#include "base/log.h"

namespace naru::control {

Result<void> Listening::ask() {
  const auto errors = TRY(supervisor_.set_listeners(wanted_));
  std::map<std::string, std::string> now;
  for (const ipc::ListenerError& error : errors) now[error.name] = error.message;
  for (const auto& [name, why] : now)
    if (!errors_.contains(name)) log_event(Level::warn, "control.listener", {{"name", name}, {"error", why}});
  errors_ = std::move(now);
  next_ = clock_.mono() + delay_;
  return {};
}

Result<void> Listening::set(std::vector<ListenerSpec> listeners) {
  const std::lock_guard lock(mutex_);
  wanted_ = std::move(listeners);
  delay_ = kFirstRetry;
  return ask();
}

void Listening::again() {
  const std::lock_guard lock(mutex_);
  if (errors_.empty() || clock_.mono() < next_) return;
  delay_ = std::min(delay_ * 2, kLastRetry);
  next_ = clock_.mono() + delay_;
  if (auto asked = ask(); !asked)
    log_event(Level::warn, "control.listeners", {{"error", asked.error().message()}});
}

std::map<std::string, std::string> Listening::errors() const {
  const std::lock_guard lock(mutex_);
  return errors_;
}

}  // namespace naru::control
