// Where a socket is: IPv4, IPv6 or Unix.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/reactor.h"

namespace naru::io {

class Address {
 public:
  Address() = default;
  // "127.0.0.1:80", "[::1]:80", ":80" (every address, IPv6 with IPv4), "unix:/run/x.sock", "unix:@abstract".
  // invalid_argument
  static Result<Address> parse(std::string_view text);
  // Numeric host only; "" is every address (IPv6 dual-stack wildcard).
  static Result<Address> of_ip(std::string_view ip, std::uint16_t port);
  static Result<Address> of_unix(std::string_view path);
  static Address from(const sockaddr* raw, socklen_t length);

  int family() const { return storage_.base.sa_family; }
  const sockaddr* raw() const { return &storage_.base; }
  socklen_t length() const { return length_; }
  std::uint16_t port() const;  // 0 for Unix
  void set_port(std::uint16_t port);
  std::string ip() const;    // "127.0.0.1", "::1" (IPv4-mapped IPv6 as IPv4); "" for Unix
  std::string text() const;  // as `parse` reads it
  bool is_loopback() const;

 private:
  union {
    sockaddr base;
    sockaddr_in v4;
    sockaddr_in6 v6;
    sockaddr_un local;
  } storage_{};
  socklen_t length_ = 0;
};

// The address that a host is in itself, in every form that a look-up takes ("127.1", "0x7f000001"); a name is
// none.
std::optional<Address> numeric_address(const std::string& host, std::uint16_t port);

// Host name or numeric address to addresses, IPv6 and IPv4 as getaddrinfo(3) orders them; "localhost" and
// "*.localhost" are the loopback addresses (RFC 6761). The look-up runs on a thread of its own (at most 32 at
// once: busy). unreachable, timeout
Task<Result<std::vector<Address>>> resolve(Reactor& reactor, std::string host, std::uint16_t port,
                                           Deadline deadline);

}  // namespace naru::io
