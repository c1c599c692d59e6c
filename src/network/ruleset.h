// The nftables rules of this Naru's networks, as text. Pure: the same networks give the same rules.
#pragma once

#include <string>
#include <vector>

#include "model/container.h"
#include "network/networks.h"

namespace naru::network {

struct RuledNetwork {
  NetworkInfo info;
  std::vector<UdpForward> udp;
};

// One transaction that replaces the table `inet <table>`. `bridge_prefix`: how the names of all our bridges
// begin; links that match it and stand in no set can reach nothing, so that there is no moment in which a new
// bridge is open.
std::string render_ruleset(const std::string& table, const std::string& bridge_prefix,
                           std::uint16_t inner_port, const std::vector<RuledNetwork>& networks);

}  // namespace naru::network
