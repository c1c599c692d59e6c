// The launcher and what really runs. It outlives control; its truth is what the invariants are held against.
#pragma once

#include <map>
#include <string>

#include "model/state.h"
#include "sim/developers.h"
#include "sim/timeline.h"

namespace naru::sim {

struct Container {
  enum class State { creating, running, stopping, exited };
  std::string id, instance, service;
  EnvKey environment;
  ReleaseId release = 0;
  Digest revision;
  std::vector<std::string> volumes;  // that nobody else may hold
  bool oneshot = false;
  Behaviour behaviour = Behaviour::good;
  State state = State::creating;
  std::string address;
  std::int32_t pid = 0;
  std::optional<std::int32_t> exit_code;
  WallTime started{}, healthy_at{}, unhealthy_until{};
  bool was_healthy = false;
  bool stop_asked = false;  // before it ended
  bool faulty = false;      // died or was unhealthy by itself

  bool alive() const { return state != State::exited; }
  bool healthy(WallTime now) const {
    return state == State::running && behaviour != Behaviour::never_healthy && now >= healthy_at &&
           now >= unhealthy_until;
  }
};

class Launcher {
 public:
  enum class Outcome { running, exited, failed, unavailable, gone };
  struct Answer {
    Outcome outcome = Outcome::unavailable;
    std::string address;
    std::int32_t pid = 0;
    std::optional<std::int32_t> exit_code;
  };
  using Done = std::function<void(const Answer&)>;

  Launcher(Timeline& timeline, Rng& rng, const Faults& faults)
      : timeline_(timeline), rng_(rng), faults_(faults) {}

  // Each answers later, once; with `unavailable` when the launcher went away meanwhile. Idempotent by the id.
  void start(Container wanted, Done done);
  void stop(const std::string& id, Done done);
  void remove(const std::string& id, Done done);
  // They hold over a restart, also of the machine.
  void set_udp_routes(const EnvKey& environment, UdpRoutes routes, Done done);

  std::vector<ContainerStatus> list() const;
  const std::map<std::string, Container>& containers() const { return containers_; }
  Container* find(const std::string& id);
  const std::map<EnvKey, UdpRoutes>& udp_routes() const { return udp_routes_; }

  // ---- what happens to it
  void go_away(milliseconds how_long);  // containers live on
  void reboot();                        // nothing lives on
  void kill_one();
  void upset_one();  // unhealthy for a while
  bool available() const { return available_; }
  std::uint64_t connection() const { return connection_; }

  std::function<void(const Container&)> on_exit, on_stop_asked, on_creating, on_upset;
  std::function<void()> on_connected;

 private:
  milliseconds duration(std::int64_t usual_ms);
  Done guarded(Done done);
  void finish_start(const std::string& id);
  void live(Container& container);
  void exit_in(const std::string& id, milliseconds delay, std::int32_t code);
  void exit(Container& container, std::optional<std::int32_t> code, bool by_itself);
  std::vector<std::string> running() const;

  Timeline& timeline_;
  Rng& rng_;
  const Faults& faults_;
  std::map<std::string, Container> containers_;
  std::map<EnvKey, UdpRoutes> udp_routes_;
  std::map<std::string, std::vector<Done>> starters_, stoppers_;
  bool available_ = true;
  std::uint64_t connection_ = 1, boot_ = 1;
  std::int32_t next_pid_ = 100;
};

}  // namespace naru::sim
