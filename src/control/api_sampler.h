// Measures once a second what changes without a command: traffic of every service from the shared memory,
// users of the rollouts under way, and what containers use (asked of the launcher). A thread of its own;
// readers take copies.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <stop_token>
#include <thread>

#include "control/core.h"
#include "control/traffic_past.h"
#include "control/views.h"
#include "ipc/launcher_client.h"
#include "ipc/telemetry.h"

namespace naru::control {

class Sampler {
 public:
  Sampler(Core& core, const ipc::Telemetry& telemetry, ipc::LauncherClient& launcher, const Clock& clock);
  ~Sampler();
  void start();

  // Traffic (docs/api.md) of each environment, as of the last sample.
  std::map<EnvKey, Json> traffic() const;
  std::map<EnvKey, std::string> past(WallTime since, const std::string& app, std::size_t most) const;
  std::uint64_t samples() const { return samples_; }  // rises with each
  std::map<std::string, ipc::ContainerStats> usage() const;

 private:
  struct Slot {
    std::string app, environment, service, revision;
    EnvKey key;
    std::string side;
    std::uint64_t version = 0;
    std::uint32_t slot = 0;
    // As in State::slots.
    std::string name() const { return fmt::format("{}/{}/{}", key, service, revision); }
  };
  struct Before {
    MonoTime at{};
    ipc::ServiceCounters counters;
  };
  void run(const std::stop_token& stop);
  void sample();
  Json sample_slot(const Slot& slot, MonoTime now);
  void measure_containers(const std::stop_token& stop);

  Core& core_;
  const ipc::Telemetry& telemetry_;
  ipc::LauncherClient& launcher_;
  const Clock& clock_;
  mutable std::mutex mutex_;
  std::map<EnvKey, Json> traffic_;
  TrafficPast past_;
  std::map<std::string, ipc::ContainerStats> usage_;
  std::atomic<std::uint64_t> samples_{0};
  std::map<std::string, Before> before_;  // by slot key; the sampling thread's
  std::jthread traffic_thread_, usage_thread_;
};

}  // namespace naru::control
