#include "control/push_reach.h"

#include <arpa/inet.h>

#include <charconv>

#include "os/sockets.h"

namespace naru::control {

namespace {

bool lies_in(const std::string& ip, const std::string& range) {
  const auto slash = range.find('/');
  in_addr wanted{}, base{};
  unsigned bits = 33;
  if (slash != std::string::npos)
    std::from_chars(range.data() + slash + 1, range.data() + range.size(), bits);
  if (bits > 32 || ::inet_pton(AF_INET, ip.c_str(), &wanted) != 1 ||
      ::inet_pton(AF_INET, range.substr(0, slash).c_str(), &base) != 1)
    return false;
  const std::uint32_t mask = bits == 0 ? 0 : ~std::uint32_t{0} << (32 - bits);
  return ((ntohl(wanted.s_addr) ^ ntohl(base.s_addr)) & mask) == 0;
}

}  // namespace

Result<void> PushReach::check(const io::Url& url, const io::Address& address) const {
  const std::string place = url.authority();
  const std::string with_port = url.origin().substr(url.origin().find("://") + 3);
  for (const std::string& allowed : allowed_)
    if (allowed == place || allowed == with_port) return {};
  const std::string ip = address.ip();
  const bool near = os::leads_to_this_machine(address.raw()) || core_.read([&](const State& state) {
    return std::ranges::any_of(state.environments, [&](const auto& entry) {
      const auto& network = entry.second.network;
      return network && (lies_in(ip, network->subnet) || lies_in(ip, network->virtual_range));
    });
  });
  if (!near) return {};
  return std::unexpected(Error{
      Code::registry_refused,
      fmt::format("{}: a push may not pull from this machine itself, its local links or its containers",
                  place),
      0,
      fmt::format("name a registry elsewhere; or the operator pulls the image once (`naru image pull`), or "
                  "allows this registry to pushes: `naru up --allow-registry {}`",
                  place)});
}

}  // namespace naru::control
