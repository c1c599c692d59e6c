#include "sim/gateway.h"

namespace naru::sim {

void Gateway::publish(RouteTable table, std::function<void(bool)> done) {
  const milliseconds there = rng_.chance(faults_.slow) ? between(rng_, 1, 4'000) : between(rng_, 1, 20);
  timeline_.in(there, [this, table = std::move(table), done = std::move(done)]() mutable {
    if (!available_) return timeline_.in(100ms, [done] { done(false); });
    if (table.revision >= applied_.revision) {
      const RouteTable before = std::exchange(applied_, std::move(table));
      on_applied(before, applied_);
    }
    if (rng_.chance(faults_.lost_ack)) return timeline_.in(5s, [done] { done(false); });
    const milliseconds back = rng_.chance(faults_.slow) ? between(rng_, 1, 4'000) : between(rng_, 1, 20);
    timeline_.in(back, [done] { done(true); });
  });
}

void Gateway::go_away(milliseconds how_long) {
  if (!available_) return;
  available_ = false;
  timeline_.in(how_long, [this] { available_ = true; });  // with the last table, from its disk
}

const EnvironmentRoute* Gateway::environment(const std::string& app, const std::string& name) const {
  for (const EnvironmentRoute& route : applied_.environments)
    if (route.app == app && route.environment == name) return &route;
  return nullptr;
}

}  // namespace naru::sim
