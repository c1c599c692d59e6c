// What is listened on in this thread's network namespace, by any program.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <set>
#include <string>

namespace naru::os {

// IPv4 addresses, in host order, that a TCP socket listens on or a UDP socket is bound to, also where no
// interface has them (IP_FREEBIND). Without 0.0.0.0. Source: proc(5), /proc/net/tcp. Best effort: what
// cannot be read is not in it.
std::set<std::uint32_t> bound_addresses();

// An address that leads back to this machine or no further than its own link: loopback, unspecified,
// link-local, or of one of its interfaces (getifaddrs(3)); also written as IPv6 (::ffff:127.0.0.1). What is
// neither IPv4 nor IPv6 is, too; and so is everything when the interfaces cannot be listed.
bool leads_to_this_machine(const sockaddr* address);

}  // namespace naru::os
