// What is listened on in this thread's network namespace, by any program.
#pragma once

#include <cstdint>
#include <set>
#include <string>

namespace naru::os {

// IPv4 addresses, in host order, that a TCP socket listens on or a UDP socket is bound to, also where no
// interface has them (IP_FREEBIND). Without 0.0.0.0. Source: proc(5), /proc/net/tcp. Best effort: what
// cannot be read is not in it.
std::set<std::uint32_t> bound_addresses();

}  // namespace naru::os
