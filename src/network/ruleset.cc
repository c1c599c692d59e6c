#include "network/ruleset.h"

#include "os/netlink.h"

namespace naru::network {

namespace {

std::string sets(const std::vector<RuledNetwork>& networks) {
  std::vector<std::string> gateways, sources, subnets, ranges, virtuals, same, separated, internals;
  for (const RuledNetwork& network : networks) {
    const NetworkInfo& info = network.info;
    gateways.push_back(fmt::format("\"{}\" . {}", info.bridge, info.gateway));
    sources.push_back(fmt::format("\"{}\" . {}", info.bridge, info.subnet));
    ranges.push_back(fmt::format("\"{}\" . {}", info.bridge, info.virtual_range));
    same.push_back(fmt::format("\"{0}\" . \"{0}\"", info.bridge));
    subnets.push_back(info.subnet);
    virtuals.push_back(info.virtual_range);
    if (is_separated(network.members)) separated.push_back(fmt::format("\"{}\"", info.bridge));
    for (const RuledMember& member : network.members)
      if (member.internal) internals.push_back(member.address);
  }
  return set_of("set", "gateways", "ifname . ipv4_addr", gateways, false) +
         set_of("set", "sources", "ifname . ipv4_addr", sources, true) +
         set_of("set", "ranges", "ifname . ipv4_addr", ranges, true) +
         set_of("set", "same_bridge", "ifname . ifname", same, false) +
         set_of("set", "separated", "ifname", separated, false) +
         set_of("set", "internals", "ipv4_addr", internals, false) +
         set_of("set", "subnets", "ipv4_addr", subnets, true) +
         set_of("set", "virtuals", "ipv4_addr", virtuals, true);
}

std::vector<std::vector<RuledMember>> separated_ones(const std::vector<RuledNetwork>& networks) {
  std::vector<std::vector<RuledMember>> out;
  for (const RuledNetwork& network : networks)
    if (is_separated(network.members)) out.push_back(network.members);
  return out;
}

// Of an instance, no other of its network has it: a client's datagrams to one virtual address are a new
// connection to the kernel as soon as another instance gets them, not more of the one that it has translated
// so far.
int zone_of(const std::string& address) {
  const auto parsed = os::parse_ipv4(address);
  return parsed ? static_cast<int>(*parsed & 0xffff) : 0;
}

std::string udp_sets(const std::vector<RuledNetwork>& networks, UdpSupport support) {
  std::vector<std::string> targets, canary, zones, canary_zones, callers, exceptions;
  const auto add = [](const std::vector<UdpTarget>& from, std::vector<std::string>& to,
                      std::vector<std::string>& zones_to) {
    for (const UdpTarget& target : from) {
      const std::string key = fmt::format("{} . {}", target.virtual_address, target.port);
      to.push_back(fmt::format("{} : {} . {}", key, target.address, target.port));
      zones_to.push_back(fmt::format("{} : {}", key, zone_of(target.address)));
    }
  };
  for (const RuledNetwork& network : networks) {
    add(network.udp.targets, targets, zones);
    add(network.udp.canary, canary, canary_zones);
    std::ranges::copy(network.udp.canary_callers, std::back_inserter(callers));
    for (const UdpException& exception : network.udp.exceptions)
      exceptions.push_back(fmt::format("{} . {}", exception.caller, exception.virtual_address));
  }
  constexpr std::string_view kTarget = "ipv4_addr . inet_service : ipv4_addr . inet_service";
  constexpr std::string_view kZone = "typeof ip daddr . udp dport : ct zone";
  std::string text = set_of("set", "udp_exceptions", "ipv4_addr . ipv4_addr", exceptions, false);
  if (support == UdpSupport::none) return text;
  text += set_of("set", "canary_callers", "ipv4_addr", callers, false) +
          set_of("map", "udp_targets", kTarget, targets, false) +
          set_of("map", "udp_canary", kTarget, canary, false);
  if (support == UdpSupport::full)
    text += set_of("map", "udp_zones", kZone, zones, false) +
            set_of("map", "udp_canary_zones", kZone, canary_zones, false);
  return text;
}

constexpr std::string_view kUdpChain = R"(
  chain udp_targets_of_services {{
    type nat hook prerouting priority dstnat + 1; policy accept;
    iifname . ip daddr @ranges ip saddr @canary_callers dnat ip to ip daddr . udp dport map @udp_canary
    iifname . ip daddr @ranges meta l4proto udp dnat ip to ip daddr . udp dport map @udp_targets
  }}
)";

// The first zone that is set stays.
constexpr std::string_view kZoneChain = R"(
  chain udp_zones_of_clients {{
    type filter hook prerouting priority raw; policy accept;
    iifname "{0}*" ip saddr @canary_callers ct original zone set ip daddr . udp dport map @udp_canary_zones
    iifname "{0}*" ct original zone set ip daddr . udp dport map @udp_zones
  }}
)";

constexpr std::string_view kExcepted = "0x08000000", kNotExcepted = "0xf7ffffff";  // a bit of the mark

// {0}: prefix of our bridges' names, {1}: the inner port, {2}: kExcepted, {3}: kNotExcepted.
constexpr std::string_view kChains = R"(
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname "{0}*" jump from_containers
  }}
  chain from_containers {{
    iifname . ip saddr != @sources drop
    ct state established,related accept
    iifname . ip daddr @gateways udp dport 53 accept
    iifname . ip daddr @gateways tcp dport {{ 53, {1} }} accept
    iifname . ip daddr @gateways icmp type echo-request accept
    meta nfproto ipv4 meta l4proto tcp reject with tcp reset
    drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "{0}*" jump leave
    oifname "{0}*" ct state established,related accept
    oifname "{0}*" drop
  }}
  # Bridged frames of one environment come by here when bridge-nf-call-iptables is 1.
  chain leave {{
    iifname . oifname @same_bridge jump inside
    meta nfproto ipv6 drop
    iifname . ip saddr != @sources drop
    oifname "{0}*" drop
    ip daddr @virtuals reject with icmp type port-unreachable
    ip daddr @subnets drop
    ip saddr @internals reject with icmp type admin-prohibited
    # Where clouds hand out the machine's own credentials (RFC 3927), and names, which builds ask for.
    ip daddr 169.254.0.0/16 meta l4proto {{ tcp, udp }} th dport 53 accept
    ip daddr 169.254.0.0/16 reject with icmp type admin-prohibited
    accept
  }}
  # Frames that the bridge passes on itself are held to the same in the table `bridge`.
  chain inside {{
    meta pkttype {{ broadcast, multicast }} accept
    meta mark & {2} != 0 accept
    ip saddr vmap @groups
    iifname @separated drop
    accept
  }}
  # With bridge-nf-call-iptables the bridge itself passes on what was translated: it is told by a mark. Other
  # programs of this host may use the same bit for what comes in.
  chain marks {{
    type filter hook prerouting priority dstnat + 2; policy accept;
    iifname "{0}*" meta mark set meta mark & {3}
    ct status dnat ct original ip saddr . ct original ip daddr @udp_exceptions meta mark set meta mark | {2}
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname . ip daddr @ranges meta l4proto tcp redirect to :{1}
  }}
  # UDP back into the same bridge must return through us, or its answer comes from an address that nobody asked.
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr @subnets oifname != "{0}*" masquerade
    ip saddr @subnets oifname "{0}*" ct status dnat masquerade
  }}
)";

constexpr std::string_view kPortChain = R"(
  chain from_ports {{
    type filter hook prerouting priority -300; policy accept;
    iifname != "{0}*" accept
    meta mark set meta mark & {2}
    ether type ip iifname . ether saddr . ip saddr @ports accept
    ether type arp iifname . arp saddr ether . arp saddr ip @ports iifname . ether saddr . arp saddr ip @ports accept
    drop
  }}
  # Every port that may send at all (above) and stands in a separated network has its group.
  chain between_ports {{
    type filter hook forward priority -300; policy accept;
    meta mark & {1} != 0 accept
    iifname vmap @groups
  }}
)";

std::string element_of(const RuledPort& port) {
  return fmt::format("\"{}\" . {} . {}", port.port, port.mac, port.address);
}

}  // namespace

std::string render_port_rules(const std::string& table, const std::string& port_prefix,
                              const std::vector<RuledPort>& ports,
                              const std::vector<RuledNetwork>& networks) {
  std::vector<std::string> elements;
  for (const RuledPort& port : ports) elements.push_back(element_of(port));
  const Separation between = render_separation(separated_ones(networks), true);
  return fmt::format("add table bridge {0}\ndelete table bridge {0}\ntable bridge {0} {{\n", table) +
         set_of("set", "ports", "ifname . ether_addr . ipv4_addr", elements, false) + between.sets +
         between.chains + fmt::format(fmt::runtime(kPortChain), port_prefix, kExcepted, kNotExcepted) + "}\n";
}

std::string render_port_added(const std::string& table, const RuledPort& port) {
  return fmt::format("add element bridge {} ports {{ {} }}\n", table, element_of(port));
}

std::string render_port_removed(const std::string& table, const RuledPort& port) {
  // Added first, since what is not there cannot be deleted.
  return render_port_added(table, port) +
         fmt::format("delete element bridge {} ports {{ {} }}\n", table, element_of(port));
}

std::string render_ruleset(const std::string& table, const std::string& bridge_prefix,
                           std::uint16_t inner_port, const std::vector<RuledNetwork>& networks,
                           UdpSupport support) {
  const Separation inside = render_separation(separated_ones(networks), false);
  std::string text = fmt::format("add table inet {0}\ndelete table inet {0}\ntable inet {0} {{\n", table) +
                     sets(networks) + udp_sets(networks, support) + inside.sets + inside.chains +
                     fmt::format(fmt::runtime(kChains), bridge_prefix, inner_port, kExcepted, kNotExcepted);
  if (support != UdpSupport::none) text += fmt::format(fmt::runtime(kUdpChain));
  if (support == UdpSupport::full) text += fmt::format(fmt::runtime(kZoneChain), bridge_prefix);
  return text + "}\n";
}

}  // namespace naru::network
