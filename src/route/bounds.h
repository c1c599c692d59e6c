// What a route table may hold: control publishes no more, and the gateway leaves out what exceeds it.
#pragma once

#include <cstddef>

namespace naru::route {

inline constexpr std::size_t kMaxEnvironments = 1024;
inline constexpr std::size_t kMaxServices = 512;    // of one environment
inline constexpr std::size_t kMaxEndpoints = 1024;  // of one side
inline constexpr std::size_t kMaxCallers = 65'536;  // of one environment
inline constexpr std::size_t kMaxPorts = 1024;      // of one service
// Of one environment; the launcher takes twice as many. Who comes later waits for the rollout's end.
inline constexpr std::size_t kMaxUdpExceptions = 2048;
// ipc/gateway_protocol.h's kMaxListeners has room for them and for three of each network (512 at most).
inline constexpr std::size_t kMaxHostPorts = 2500;

}  // namespace naru::route
