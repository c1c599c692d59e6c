// The rules that separate containers inside a network, as text. Pure.
//
// Who is attached has segments (the networks of a compose file) and reaches only those with one of its own.
// For each set of segments that somebody has there is a chain that lets through to the members of each; every
// other way out of it is a drop. A network whose members all reach each other has no rules.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace naru::network {

// A set or map of nftables. `type`: of an element, or "typeof" and expressions.
std::string set_of(std::string_view kind, std::string_view name, std::string_view type,
                   const std::vector<std::string>& elements, bool interval);

struct RuledMember {
  std::string address, port;  // "10.88.0.2", "nabcdevxxxxxxxx"
  std::set<std::string> segments;
  bool internal = false;
};

// Whether some of them share no segment.
bool is_separated(const std::vector<RuledMember>& members);

struct Separation {
  std::string sets;    // `segment_N` of members, and the map `groups` from a member to its chain
  std::string chains;  // `group_N`
};
// By address (`ip saddr`, `ip daddr`) or by port (`iifname`, `oifname`); of each network its members.
Separation render_separation(const std::vector<std::vector<RuledMember>>& networks, bool by_port);

}  // namespace naru::network
