// The gateway and the users in front of it: the table that is really applied, and who met what.
#pragma once

#include <array>
#include <unordered_map>

#include "judge/judge.h"
#include "model/route_table.h"
#include "model/state.h"
#include "sim/faults.h"
#include "sim/timeline.h"

namespace naru::sim {

class Gateway {
 public:
  static constexpr std::uint32_t kSlots = 16;
  static constexpr std::uint32_t kUsers = 800;

  struct Evidence {
    judge::SideCounts stable, canary;
    std::unordered_map<std::uint64_t, unsigned char> marks;
    std::vector<FailedExample> failed;
  };

  Gateway(Timeline& timeline, Rng& rng, const Faults& faults)
      : timeline_(timeline), rng_(rng), faults_(faults) {}

  // Applied a little later; acknowledged with true, later still, or false when the answer is lost.
  void publish(RouteTable table, std::function<void(bool acknowledged)> done);
  void go_away(milliseconds how_long);

  const RouteTable& applied() const { return applied_; }
  const EnvironmentRoute* environment(const std::string& app, const std::string& name) const;

  std::array<Evidence, kSlots> evidence;  // shared memory: it outlives control and gateway
  std::function<void(const RouteTable& before, const RouteTable& after)> on_applied;

 private:
  Timeline& timeline_;
  Rng& rng_;
  const Faults& faults_;
  RouteTable applied_;
  bool available_ = true;
};

}  // namespace naru::sim
