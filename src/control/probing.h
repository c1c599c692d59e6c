// Is each instance healthy? Its health check (the service's, else the image's) run inside it through the
// launcher; without one, its first port must accept a connection; without a port, its process must have lived
// for a second. What it finds becomes commands. An instance that has just started is asked at once and often
// (people wait for it), then ever more slowly up to its interval.
#pragma once

#include <condition_variable>
#include <map>
#include <set>
#include <stop_token>
#include <thread>

#include "control/core.h"
#include "io/offload.h"
#include "ipc/launcher_client.h"

namespace naru::control {

// Probes under way, by application: one whose checks hang cannot keep the probes of another waiting.
class ProbePlaces {
 public:
  static constexpr std::size_t kPlaces = 32, kPlacesOfOneApp = 4;
  bool take(const std::string& app);
  void give_back(const std::string& app);

 private:
  std::map<std::string, std::size_t> taken_;
};

// Of what a failed health check printed: its last line with a letter or digit (a Python program says what was
// wrong after "Traceback", not before). At most 200 bytes.
std::string telling_line(std::string_view output);

// What a person should know of the probes that the image asks for; "" when there is nothing.
std::string probe_notice(const ServiceSpec& service, const ImageInfo& image);

class Probing {
 public:
  Probing(Core& core, ipc::LauncherClient& launcher, const Clock& clock);
  ~Probing();
  void start();

  // How long after the n-th failed probe of an instance that was not ready yet the next one follows.
  static milliseconds pause_after(std::uint32_t failures, milliseconds first, milliseconds most);

 private:
  struct Target {
    std::string app, instance, container, address;
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
  static milliseconds pause_of(const Target& target, bool healthy, std::uint32_t failures);
  void run(const std::stop_token& stop);
  MonoTime look();
  void wake();
  void probe(const Target& target);
  std::optional<Outcome> check(const Target& target);  // none: the launcher could not be asked
  void settle(const Target& target, const Outcome& outcome);

  Core& core_;
  ipc::LauncherClient& launcher_;
  const Clock& clock_;
  std::mutex mutex_;
  std::map<std::string, Progress> progress_;  // by container
  ProbePlaces places_;
  std::condition_variable_any changed_;
  bool news_ = false;
  std::unique_ptr<io::WorkerPool> pool_;
  std::jthread thread_;
};

}  // namespace naru::control
