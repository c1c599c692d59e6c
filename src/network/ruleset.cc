#include "network/ruleset.h"

namespace naru::network {

namespace {

std::string set_of(std::string_view kind, std::string_view name, std::string_view type,
                   const std::vector<std::string>& elements, bool interval) {
  std::string text = fmt::format("  {} {} {{\n    type {}\n", kind, name, type);
  if (interval) text += "    flags interval\n";
  if (!elements.empty()) text += fmt::format("    elements = {{ {} }}\n", fmt::join(elements, ", "));
  return text + "  }\n";
}

std::string sets(const std::vector<RuledNetwork>& networks) {
  std::vector<std::string> gateways, sources, subnets, ranges, virtuals, same, udp;
  for (const RuledNetwork& network : networks) {
    const NetworkInfo& info = network.info;
    gateways.push_back(fmt::format("\"{}\" . {}", info.bridge, info.gateway));
    sources.push_back(fmt::format("\"{}\" . {}", info.bridge, info.subnet));
    ranges.push_back(fmt::format("\"{}\" . {}", info.bridge, info.virtual_range));
    same.push_back(fmt::format("\"{0}\" . \"{0}\"", info.bridge));
    subnets.push_back(info.subnet);
    virtuals.push_back(info.virtual_range);
    for (const UdpForward& forward : network.udp)
      udp.push_back(fmt::format("{} . {} : {} . {}", forward.virtual_address, forward.port, forward.address,
                                forward.port));
  }
  return set_of("set", "gateways", "ifname . ipv4_addr", gateways, false) +
         set_of("set", "sources", "ifname . ipv4_addr", sources, true) +
         set_of("set", "ranges", "ifname . ipv4_addr", ranges, true) +
         set_of("set", "same_bridge", "ifname . ifname", same, false) +
         set_of("set", "subnets", "ipv4_addr", subnets, true) +
         set_of("set", "virtuals", "ipv4_addr", virtuals, true) +
         set_of("map", "udp_targets", "ipv4_addr . inet_service : ipv4_addr . inet_service", udp, false);
}

// {0}: prefix of our bridges' names, {1}: the inner port.
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
    iifname . oifname @same_bridge accept
    meta nfproto ipv6 drop
    iifname . ip saddr != @sources drop
    oifname "{0}*" drop
    ip daddr @virtuals reject with icmp type port-unreachable
    ip daddr @subnets drop
    accept
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname . ip daddr @ranges meta l4proto tcp redirect to :{1}
    iifname . ip daddr @ranges meta l4proto udp dnat ip to ip daddr . udp dport map @udp_targets
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
    ether type ip iifname . ether saddr . ip saddr @ports accept
    ether type arp iifname . arp saddr ether . arp saddr ip @ports iifname . ether saddr . arp saddr ip @ports accept
    drop
  }}
)";

std::string element_of(const RuledPort& port) {
  return fmt::format("\"{}\" . {} . {}", port.port, port.mac, port.address);
}

}  // namespace

std::string render_port_rules(const std::string& table, const std::string& port_prefix,
                              const std::vector<RuledPort>& ports) {
  std::vector<std::string> elements;
  for (const RuledPort& port : ports) elements.push_back(element_of(port));
  return fmt::format("add table bridge {0}\ndelete table bridge {0}\ntable bridge {0} {{\n", table) +
         set_of("set", "ports", "ifname . ether_addr . ipv4_addr", elements, false) +
         fmt::format(fmt::runtime(kPortChain), port_prefix) + "}\n";
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
                           std::uint16_t inner_port, const std::vector<RuledNetwork>& networks) {
  return fmt::format("add table inet {0}\ndelete table inet {0}\ntable inet {0} {{\n", table) +
         sets(networks) + fmt::format(fmt::runtime(kChains), bridge_prefix, inner_port) + "}\n";
}

}  // namespace naru::network
