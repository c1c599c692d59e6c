#include "io/address.h"

#include <arpa/inet.h>
#include <netdb.h>

#include <charconv>
#include <cstddef>
#include <cstring>
#include <thread>

#include "io/offload.h"

namespace naru::io {

Result<Address> Address::of_ip(std::string_view ip, std::uint16_t port) {
  Address address;
  const std::string text(ip);
  if (text.empty()) {
    address.storage_.v6.sin6_family = AF_INET6;
    address.storage_.v6.sin6_addr = IN6ADDR_ANY_INIT;
    address.length_ = sizeof(sockaddr_in6);
  } else if (::inet_pton(AF_INET, text.c_str(), &address.storage_.v4.sin_addr) == 1) {
    address.storage_.v4.sin_family = AF_INET;
    address.length_ = sizeof(sockaddr_in);
  } else if (::inet_pton(AF_INET6, text.c_str(), &address.storage_.v6.sin6_addr) == 1) {
    address.storage_.v6.sin6_family = AF_INET6;
    address.length_ = sizeof(sockaddr_in6);
  } else {
    return fail(Code::invalid_argument, "\"{}\" is not an IP address", ip);
  }
  address.set_port(port);
  return address;
}

Result<Address> Address::of_unix(std::string_view path) {
  Address address;
  sockaddr_un& local = address.storage_.local;
  if (path.empty() || path.size() >= sizeof local.sun_path)
    return fail(Code::invalid_argument, "the socket path \"{}\" is empty or longer than {} bytes", path,
                sizeof local.sun_path - 1);
  local.sun_family = AF_UNIX;
  std::memcpy(local.sun_path, path.data(), path.size());
  const bool abstract = path[0] == '@';
  if (abstract) local.sun_path[0] = '\0';
  address.length_ =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1));
  return address;
}

Result<Address> Address::parse(std::string_view text) {
  if (text.starts_with("unix:")) return of_unix(text.substr(5));
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos)
    return fail(Code::invalid_argument, "\"{}\" has no port: write host:port", text);
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  unsigned port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size() || port > 65535)
    return fail(Code::invalid_argument, "\"{}\": the port is not a number up to 65535", text);
  if (host.starts_with('[') && host.ends_with(']'))
    host = host.substr(1, host.size() - 2);
  else if (host.find(':') != std::string_view::npos)
    return fail(Code::invalid_argument, "\"{}\": write an IPv6 address in brackets", text);
  return of_ip(host, static_cast<std::uint16_t>(port));
}

Address Address::from(const sockaddr* raw, socklen_t length) {
  Address address;
  address.length_ = std::min<socklen_t>(length, sizeof address.storage_);
  std::memcpy(&address.storage_, raw, address.length_);
  return address;
}

std::uint16_t Address::port() const {
  if (family() == AF_INET) return ntohs(storage_.v4.sin_port);
  if (family() == AF_INET6) return ntohs(storage_.v6.sin6_port);
  return 0;
}

void Address::set_port(std::uint16_t port) {
  if (family() == AF_INET) storage_.v4.sin_port = htons(port);
  if (family() == AF_INET6) storage_.v6.sin6_port = htons(port);
}

std::string Address::ip() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (family() == AF_INET) ::inet_ntop(AF_INET, &storage_.v4.sin_addr, text, sizeof text);
  if (family() == AF_INET6) {
    const auto& v6 = storage_.v6.sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&v6))
      ::inet_ntop(AF_INET, v6.s6_addr + 12, text, sizeof text);
    else
      ::inet_ntop(AF_INET6, &v6, text, sizeof text);
  }
  return text;
}

std::string Address::text() const {
  if (family() == AF_UNIX) {
    const std::size_t header = offsetof(sockaddr_un, sun_path);
    if (length_ <= header) return "unix:";
    std::string path(storage_.local.sun_path, length_ - header);
    if (path[0] == '\0')
      path[0] = '@';
    else
      path.resize(std::strlen(path.c_str()));
    return "unix:" + path;
  }
  if (length_ == 0) return "(no address)";
  const std::string host = ip();
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port())
                                             : fmt::format("[{}]:{}", host, port());
}

bool Address::is_loopback() const {
  const std::string host = ip();
  return family() == AF_UNIX || host.starts_with("127.") || host == "::1";
}

namespace {

Result<std::vector<Address>> look_up(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (error != 0)
    return fail(Code::unreachable, "the name \"{}\" does not resolve: {}", host, ::gai_strerror(error));
  std::vector<Address> addresses;
  for (addrinfo* at = found; at != nullptr && addresses.size() < 16; at = at->ai_next) {
    addresses.push_back(Address::from(at->ai_addr, at->ai_addrlen));
    addresses.back().set_port(port);
  }
  ::freeaddrinfo(found);
  return addresses;
}

constexpr int kMaxLookups = 32;

}  // namespace

std::optional<Address> numeric_address(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST;
  addrinfo* found = nullptr;
  if (host.empty() || ::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return std::nullopt;
  Address address = Address::from(found->ai_addr, found->ai_addrlen);
  address.set_port(port);
  ::freeaddrinfo(found);
  return address;
}

Task<Result<std::vector<Address>>> resolve(Reactor& reactor, std::string host, std::uint16_t port,
                                           Deadline deadline) {
  using Addresses = Result<std::vector<Address>>;
  std::vector<Address> known;
  if (auto numeric = host.empty() ? fail(Code::invalid_argument, "no host") : Address::of_ip(host, port)) {
    known.push_back(*numeric);
    co_return known;
  }
  if (host.empty() || host.size() > 253)
    co_return fail(Code::invalid_argument, "\"{}\" is not a host name", host);
  if (host == "localhost" || host.ends_with(".localhost")) {
    known.push_back(Address::of_ip("127.0.0.1", port).value());
    known.push_back(Address::of_ip("::1", port).value());
    co_return known;
  }
  if (reactor.lookups_ >= kMaxLookups)
    co_return fail(Code::busy, "{} names are being looked up already", kMaxLookups);
  OneShot<Addresses> answer(reactor);
  try {
    std::thread([promise = answer.promise(), host, port, remote = reactor.remote(),
                 owner = &reactor]() mutable {
      promise.set(look_up(host, port));
      (void)remote.post([owner] { --owner->lookups_; });  // runs only while the reactor lives
    }).detach();
    ++reactor.lookups_;
  } catch (const std::system_error& e) {
    co_return fail(Code::busy, "no thread can be made to look up \"{}\": {}", host, e.what());
  }
  auto result = co_await answer.wait(deadline);
  if (!result && result.error().code == Code::timeout)
    co_return fail(Code::timeout, "looking up the name \"{}\" took too long", host);
  if (!result) co_return std::unexpected(std::move(result).error());
  co_return std::move(*result);
}

}  // namespace naru::io
