#include "os/sockets.h"

#include <netinet/in.h>

#include <cstdlib>
#include <fstream>

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

}  // namespace naru::os
