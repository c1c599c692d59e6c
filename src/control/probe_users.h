// Users that Naru plays while a canary's step runs (x-naru.rollout.probe), so that a release without traffic
// can be judged: GET requests through the gateway's edge, each of a user who was never seen before. They are
// assigned, counted and judged as everybody's are; nothing else knows of them.
#pragma once

#include <atomic>
#include <map>
#include <stop_token>
#include <thread>

#include "control/core.h"
#include "io/http_client.h"
#include "io/offload.h"

namespace naru::control {

// What is asked for one rollout.
struct ProbeTarget {
  RolloutId rollout = 0;
  std::string host;                      // "web.production.shop.localhost"
  ProbeSpec probe;                       // with its service
  std::string user_cookie, user_header;  // how the application tells users apart; one of them is ""
};
// Of each rollout whose step is live and whose policy has a probe.
std::vector<ProbeTarget> probe_targets(const State& state);
// `user`: a name of route/user_ids.h, new for each request. `gateway`: "127.0.0.1:8080".
io::FetchRequest probe_request(const ProbeTarget& target, const std::string& gateway,
                               const std::string& user);

class ProbeUsers {
 public:
  // `gateway_address` as given to `naru up --listen`: "" or any = asked on loopback.
  ProbeUsers(Core& core, const Clock& clock, const std::string& gateway_address, std::uint16_t gateway_port);
  ~ProbeUsers();
  void start();

 private:
  static constexpr std::size_t kThreads = 8;
  static constexpr std::uint32_t kWaiting = 32;  // requests of one rollout on their way; more are left out
  struct Progress {
    MonoTime next{};
    std::shared_ptr<std::atomic<std::uint32_t>> waiting = std::make_shared<std::atomic<std::uint32_t>>(0);
  };
  void run(const std::stop_token& stop);
  void look();

  Core& core_;
  const Clock& clock_;
  std::string gateway_;
  std::map<RolloutId, Progress> progress_;
  std::unique_ptr<io::WorkerPool> pool_;
  std::jthread thread_;
};

}  // namespace naru::control
