// A small typed rtnetlink (rtnetlink(7)) over libmnl. A socket belongs to the network namespace of the thread
// that opened it, whichever thread uses it later. One thread at a time. Errors: already_exists, not_found,
// timeout, system; each names the operation and the link.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

struct nlmsghdr;

namespace naru::os {

// An IPv4 block; `address` in host byte order, with its host bits kept.
struct Ipv4Prefix {
  std::uint32_t address = 0;
  std::uint8_t length = 32;

  static Result<Ipv4Prefix> parse(
      std::string_view text);  // "10.88.0.0/13"; without a slash /32. invalid_argument
  std::string text() const;    // "10.88.0.1/23"
  std::uint32_t mask() const { return length == 0 ? 0 : ~std::uint32_t{0} << (32 - length); }
  std::uint32_t first() const { return address & mask(); }
  std::uint32_t last() const { return first() | ~mask(); }
  bool overlaps(const Ipv4Prefix& other) const { return first() <= other.last() && other.first() <= last(); }
};
std::string ipv4_text(std::uint32_t host_order);
Result<std::uint32_t> parse_ipv4(std::string_view text);  // invalid_argument

struct Link {
  int index = 0;
  std::string name;
  int master = 0;  // index of its bridge, or 0
  bool up = false;
};

class Netlink {
 public:
  static Result<Netlink> open();
  Netlink(Netlink&&) noexcept;
  Netlink& operator=(Netlink&&) noexcept;
  ~Netlink();

  Result<Link> link(const std::string& name);  // not_found
  Result<std::vector<Link>> links();
  Result<void> create_bridge(const std::string& name, std::uint64_t mac);  // the low 48 bits
  // `name` here, `peer` in the namespace behind `peer_netns`; `name` becomes a port of the bridge with index
  // `master` (0: none). `peer_mac`: the low 48 bits; 0: the kernel chooses.
  Result<void> create_veth(const std::string& name, const std::string& peer, int peer_netns, int master,
                           std::uint64_t peer_mac = 0);
  // A bridge's port that reaches the bridge and no other isolated port.
  Result<void> isolate_port(const std::string& name);
  Result<void> remove_link(const std::string& name);  // not_found
  Result<void> set_up(const std::string& name);
  Result<void> add_address(const std::string& link, const Ipv4Prefix& address);  // already_exists
  Result<std::vector<Ipv4Prefix>> addresses(const std::string& link = "");  // of all links without a name
  Result<void> add_default_route(std::uint32_t gateway);
  // Destinations of every IPv4 route of every table but the default route.
  Result<std::vector<Ipv4Prefix>> routes();

 private:
  struct State;
  explicit Netlink(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// A new network namespace with lo up, and a socket inside it.
struct NetworkNamespace {
  Fd fd;
  Netlink inside;
};
Result<NetworkNamespace> create_network_namespace();

}  // namespace naru::os
