// The nftables rules of this Naru's networks, as text. Pure: the same networks give the same rules.
#pragma once

#include <string>
#include <vector>

#include "model/container.h"
#include "network/networks.h"
#include "network/separation.h"

namespace naru::network {

struct RuledNetwork {
  NetworkInfo info;
  UdpRoutes udp;
  std::vector<RuledMember> members{};  // all that are attached
};

// One transaction that replaces the table `inet <table>`. `bridge_prefix`: how the names of all our bridges
// begin; links that match it and stand in no set can reach nothing, so that there is no moment in which a new
// bridge is open.
std::string render_ruleset(const std::string& table, const std::string& bridge_prefix,
                           std::uint16_t inner_port, const std::vector<RuledNetwork>& networks,
                           UdpSupport support = UdpSupport::full);

// One container's end of a veth pair: what may come out of it.
struct RuledPort {
  std::string port, mac, address;  // "nabcdevxxxxxxxx", "02:00:00:00:00:01", "10.88.0.2"
};

// Replaces the table `bridge <table>`: a frame from a container bears the container's own hardware and IPv4
// address, or goes no further than its port. Anything but IPv4 and ARP is dropped: the bridges have no IPv6.
// In a separated network no frame goes from a port to one that it shares no segment with.
std::string render_port_rules(const std::string& table, const std::string& port_prefix,
                              const std::vector<RuledPort>& ports, const std::vector<RuledNetwork>& networks);
// Into and out of that table's set.
std::string render_port_added(const std::string& table, const RuledPort& port);
std::string render_port_removed(const std::string& table, const RuledPort& port);

}  // namespace naru::network
