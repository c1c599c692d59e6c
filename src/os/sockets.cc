#include "os/sockets.h"

#include <ifaddrs.h>
#include <netinet/in.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>

namespace naru::os {

namespace {

constexpr std::string_view kTcpListen = "0A", kUdpUnconnected = "07";

// Lines as "  0: 0100007F:0035 00000000:0000 0A ...": a number, the local address, the remote one, the state.
void add_bound(const std::string& path, std::string_view state, std::set<std::uint32_t>& found) {
  std::ifstream file(path);
  std::string line, number, local, remote, its_state;
  std::getline(file, line);  // the heading
  while (file >> number >> local >> remote >> its_state && std::getline(file, line)) {
    if (its_state != state || local.size() < 8) continue;
    const auto address = static_cast<std::uint32_t>(std::strtoul(local.substr(0, 8).c_str(), nullptr, 16));
    if (address != INADDR_ANY) found.insert(ntohl(address));
  }
}

}  // namespace

std::set<std::uint32_t> bound_addresses() {
  std::set<std::uint32_t> found;
  add_bound("/proc/thread-self/net/tcp", kTcpListen, found);
  add_bound("/proc/thread-self/net/udp", kUdpUnconnected, found);
  return found;
}

namespace {

// IPv4 in IPv6's mapped form, so that there is one form to compare.
std::optional<in6_addr> bytes_of(const sockaddr* address) {
  in6_addr bytes{};
  if (address != nullptr && address->sa_family == AF_INET6) {
    std::memcpy(&bytes, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, sizeof bytes);
  } else if (address != nullptr && address->sa_family == AF_INET) {
    bytes.s6_addr[10] = bytes.s6_addr[11] = 0xff;
    std::memcpy(bytes.s6_addr + 12, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, 4);
  } else {
    return std::nullopt;
  }
  return bytes;
}

bool never_leaves(const in6_addr& bytes) {
  if (!IN6_IS_ADDR_V4MAPPED(&bytes))
    return IN6_IS_ADDR_LOOPBACK(&bytes) || IN6_IS_ADDR_UNSPECIFIED(&bytes) || IN6_IS_ADDR_LINKLOCAL(&bytes);
  const std::uint8_t* v4 = bytes.s6_addr + 12;
  return v4[0] == 127 || v4[0] == 0 || (v4[0] == 169 && v4[1] == 254);
}

}  // namespace

bool leads_to_this_machine(const sockaddr* address) {
  const auto bytes = bytes_of(address);
  if (!bytes || never_leaves(*bytes)) return true;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return true;
  bool ours = false;
  for (const ifaddrs* at = list; at != nullptr; at = at->ifa_next)
    if (const auto own = bytes_of(at->ifa_addr)) ours = ours || std::memcmp(&*own, &*bytes, sizeof *own) == 0;
  ::freeifaddrs(list);
  return ours;
}

}  // namespace naru::os
