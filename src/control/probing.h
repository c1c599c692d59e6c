// Is each instance healthy? Its health check (the service's, else the image's) run inside it through the
// launcher; without one, its first port must accept a connection; without a port, its process must have lived
// for a second. What it finds becomes commands.
#pragma once

#include <map>
#include <set>
#include <stop_token>
#include <thread>

#include "control/core.h"
#include "io/offload.h"
#include "ipc/launcher_client.h"

namespace naru::control {

class Probing {
 public:
  Probing(Core& core, ipc::LauncherClient& launcher, const Clock& clock);
  ~Probing();
  void start();

 private:
  struct Target {
    std::string instance, container, address;
    std::uint32_t attempt = 0;
    bool ready = false;
    WallTime started{};
    HealthSpec health;
    bool has_health = false;
    std::uint16_t port = 0;
  };
  struct Progress {  // one attempt of one instance
    MonoTime next{};
    std::uint32_t failures = 0;
    bool running = false;
  };
  struct Outcome {
    bool healthy = false;
    std::string reason;
  };
  static std::vector<Target> targets_of(const State& state);
  void run(const std::stop_token& stop);
  void look();
  void probe(const Target& target);
  std::optional<Outcome> check(const Target& target);  // none: the launcher could not be asked
  void settle(const Target& target, const Outcome& outcome);

  Core& core_;
  ipc::LauncherClient& launcher_;
  const Clock& clock_;
  std::mutex mutex_;
  std::map<std::string, Progress> progress_;  // by container
  std::unique_ptr<io::WorkerPool> pool_;
  std::jthread thread_;
};

}  // namespace naru::control
