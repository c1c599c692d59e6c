// The gateway's own cookie: a user's name that only Naru can give. Who could invent names could collect those
// that meet the canary, and let requests that always fail be told against it.
//
//   origin   16 hex digits   whom the user counts as in a verdict
//   random   16 hex digits
//   MAC      16 hex digits   SipHash-2-4 of the 32 digits before it
//
// The whole name routes; the origin counts. It is random for a client in a private network. For one in the
// internet it follows from its network (an IPv4 address, the first 56 bits of an IPv6 address) and the hour
// in which it got the name: however many names one address asks for, they are one user an hour.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace naru::route {

// Whose users cannot be told apart from one person with many names; "" for a private, link-local or loopback
// address and for what is none.
std::string public_network(std::string_view ip);

class UserIds {
 public:
  explicit UserIds(std::string_view key);

  std::string make(std::string_view client_ip, WallTime now) const;
  bool made(std::string_view id) const;
  static std::string_view origin(std::string_view id) { return id.substr(0, 16); }

 private:
  std::uint64_t mac(std::string_view text) const;
  std::uint64_t k0_, k1_;
};

}  // namespace naru::route
