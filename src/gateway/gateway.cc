#include "gateway/gateway.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include "base/log.h"
#include "gateway/steering.h"

namespace naru::gateway {

namespace {

// Two descriptors a request; the soft limit's 1,024 would be a low bound for no reason.
void use_all_descriptors() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
    log_event(Level::warn, "gateway.few_descriptors", {{"limit", limit.rlim_cur}});
}

}  // namespace

int run(const GatewayOptions& options) {
  use_all_descriptors();
  // Blocked before any thread starts, so that all of them leave the signals to the first.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const Fd stop(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!stop) {
    log_event(Level::error, "gateway.cannot_start", {{"error", "signalfd"}});
    return 1;
  }
  auto steering = Steering::start(options);
  if (!steering) {
    log_event(Level::error, "gateway.cannot_start", {{"error", steering.error().message()}});
    return 1;
  }
  (*steering)->run(stop.get());
  return 0;
}

}  // namespace naru::gateway
