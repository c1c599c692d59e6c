// The route table that a state asks for. Pure; control publishes it and the gateway compiles it
// (route/snapshot.h).
#pragma once

#include "model/changes.h"
#include "model/route_table.h"

namespace naru::route {

// revision is left 0. Names telemetry slots only where reconcile() has assigned them.
RouteTable table_of(const State& state);

// The sockets that the gateway needs for it: "inner:<network>", "dns-udp:<network>", "dns-tcp:<network>",
// "host:<port>", without the edge (the supervisor's own).
std::vector<ListenerSpec> listeners_of(const State& state);

// Assigns and frees telemetry slots, and when the table has changed: a new revision and its publication. Run
// last in a pass, so that what the other deciders emitted is in the table.
void reconcile(Changes& changes);

}  // namespace naru::route
