#include "gateway/gateway.h"

#include <signal.h>
#include <sys/signalfd.h>

#include "base/log.h"
#include "gateway/steering.h"

namespace naru::gateway {

int run(const GatewayOptions& options) {
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
