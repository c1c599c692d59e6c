// The route table that a state asks for. Pure; control publishes it and the gateway compiles it
// (route/snapshot.h).
#pragma once

#include "model/changes.h"
#include "model/command.h"
#include "model/route_table.h"

namespace naru::route {

// revision is left 0. Names telemetry slots only where reconcile() has assigned them.
RouteTable table_of(const State& state);

// Of UserIds (route/user_ids.h), from the platform's secret.
std::string user_key_of(const State& state);

// Where an environment's datagrams go: each declared UDP port of a service to its first ready instance of the
// release that everybody meets; in a step, instances that only the new release has reach the new one's. Users
// are not split: a datagram says of no user.
UdpRoutes udp_routes_of(const State& state, const EnvKey& environment);
std::string digest_of(const UdpRoutes& routes);  // "" of none

// The sockets that the gateway needs for it: "inner:<network>", "dns-udp:<network>", "dns-tcp:<network>",
// "host:<port>" or "host:<port>@<address>", without the edge (the supervisor's own).
std::vector<ListenerSpec> listeners_of(const State& state);

// Who answers at the name of a service of the release that everybody meets, where the rollout under way has
// recreated what keeps data: the new release's own, or the one that took its volume over under a new name.
// Null: nobody has.
const ReleaseService* recreated(const State& state, const Environment& environment, const std::string& name);

// The port of a service that its name at the edge leads to: what is said or known to speak HTTP, else the
// first that may. Those that the file names come before those that the image exposes. None: nothing could
// answer.
std::optional<PortSpec> edge_port(const ServiceSpec& service);  // by the file alone
std::optional<PortSpec> edge_port(const ReleaseService& service);

// A TCP port of this machine that leads to a service.
struct PublishedPort {
  std::string service;
  const PortSpec* spec = nullptr;  // borrowed from the release
  std::uint16_t host = 0;
  // One port number may be published on two addresses.
  std::string listener() const;
};
// In production the ports that the compose file names; elsewhere an assigned one for each of those but the
// one that edge_port() names and that surely speaks HTTP, once reconcile() has assigned it.
std::vector<PublishedPort> published_ports(const State& state, const Environment& environment,
                                           const Release& release);

// too_large when what the file publishes in all its environments does not fit beside the other applications'.
Result<void> check_host_ports_fit(const State& state, const std::string& app, const ApplicationSpec& spec);

// An assigned port is somebody else's: takes another one.
void decide(Changes& changes, const command::PortTaken& observation);

void decide(Changes& changes, const command::UdpRoutesSet& result);
void decide(Changes& changes, const command::UdpRoutesRefused& observation);

// Assigns and frees telemetry slots and ports, and when the table has changed: a new revision and its
// publication; the same for the UDP of each environment. Run last in a pass, so that what the other deciders
// emitted is in the table.
void reconcile(Changes& changes);

}  // namespace naru::route
