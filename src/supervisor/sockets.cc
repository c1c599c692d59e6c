#include "supervisor/sockets.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "base/log.h"

namespace naru::supervisor {

namespace {

constexpr int kBacklog = 4096;

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  int family = AF_INET;
};

Result<SocketAddress> address_of(const ListenerSpec& spec) {
  SocketAddress address;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (!spec.address.empty() && inet_pton(AF_INET, spec.address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(spec.port);
    address.size = sizeof *v4;
    return address;
  }
  if (!spec.address.empty() && inet_pton(AF_INET6, spec.address.c_str(), &v6->sin6_addr) != 1)
    return fail(Code::invalid_argument, "listener {}: '{}' is not an IP address", spec.name, spec.address);
  v6->sin6_family = AF_INET6;  // "" leaves in6addr_any, which takes IPv4, too
  v6->sin6_port = htons(spec.port);
  address.size = sizeof *v6;
  address.family = AF_INET6;
  return address;
}

Result<Fd> open_family(const ListenerSpec& spec, const SocketAddress& address) {
  const bool udp = spec.kind == ListenerKind::dns_udp;
  Fd fd(::socket(address.family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno(Code::system, "listener {}: socket", spec.name);
  const int on = 1, off = 0;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.family == AF_INET6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  ::setsockopt(fd.get(), IPPROTO_IP, IP_FREEBIND, &on, sizeof on);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0) {
    const Code code = errno == EADDRINUSE ? Code::port_taken : Code::system;
    return fail_errno(code, "port {}{}{}", spec.port, spec.address.empty() ? "" : " of ", spec.address);
  }
  if (!udp && ::listen(fd.get(), kBacklog) != 0)
    return fail_errno(Code::port_taken, "port {}: listen", spec.port);
  return fd;
}

}  // namespace

Result<Fd> open_listener(const ListenerSpec& spec) {
  auto opened = open_family(spec, TRY(address_of(spec)));
  if (opened || !spec.address.empty() || opened.error().sys_errno != EAFNOSUPPORT) return opened;
  ListenerSpec v4_only = spec;  // a machine without IPv6
  v4_only.address = "0.0.0.0";
  return open_family(v4_only, TRY(address_of(v4_only)));
}

Result<std::optional<Fd>> open_other_half(const ListenerSpec& spec) {
  if (spec.address != "127.0.0.1" || spec.port == 0) return std::optional<Fd>();
  ListenerSpec half = spec;
  half.address = "::1";
  auto opened = open_listener(half);
  if (opened) return std::optional<Fd>(std::move(*opened));
  if (opened.error().code == Code::port_taken) return std::unexpected(std::move(opened).error());
  log_event(Level::info, "supervisor.no_ipv6",
            {{"listener", spec.name}, {"error", opened.error().message()}});
  return std::optional<Fd>();
}

std::vector<ipc::ListenerError> Listeners::replace(const std::vector<ListenerSpec>& wanted) {
  std::erase_if(open_, [&](const auto& row) {
    const ListenerSpec& spec = row.second.spec;
    if (std::ranges::find(wanted, spec) != wanted.end()) return false;
    // The gateway has it open, too, until it hears of the new one: which could not be bound beside it.
    if (std::ranges::find(wanted, spec.port, &ListenerSpec::port) != wanted.end())
      ::shutdown(row.second.fd.get(), SHUT_RDWR);
    return true;
  });
  std::vector<ipc::ListenerError> errors;
  for (const ListenerSpec& spec : wanted) {
    if (open_.contains(spec.name)) continue;
    if (auto fd = open_listener(spec))
      open_.emplace(spec.name, Open{spec, std::move(*fd)});
    else
      errors.push_back({spec.name, fd.error().message()});
  }
  return errors;
}

}  // namespace naru::supervisor
