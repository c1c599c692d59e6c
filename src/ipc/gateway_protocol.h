// What the gateway is told and says, over channel.h (length-prefixed JSON, file descriptors beside it).
//
//   supervisor -> gateway   {"listeners": [ListenerSpec...], "more": false}   + one descriptor a listener,
//   same order
//       Over the inherited stream socket `GatewayOptions::supervisor_fd`. The set is whole: a name that is
//       not in it is no longer listened on. A set above kListenersPerMessage goes in several messages, all
//       but the last with "more": true. A listener that the gateway already holds under the same name and
//       spec may be sent again (the new descriptor is closed). Descriptors are listening stream sockets
//       (http, tcp, inner, dns-tcp) or bound UDP sockets (dns-udp).
//   control -> gateway      {"routes": RouteTable}      over run/gateway.sock (listening socket inherited)
//   gateway -> control      {"acked": revision}         every thread of the gateway routes by it
//                           {"refused": revision, "error": "..."}   the table in use stays
//                           {"stats": GatewayStats}     once a second
// Every table that comes is applied: control is the one who knows, and after a restore its revisions may be
// lower.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/route_table.h"

namespace naru::ipc {

inline constexpr std::size_t kListenersPerMessage = 60;  // below channel.h's kMaxFds
inline constexpr std::size_t kMaxListeners = 4096;

// Of the console. Control gives and reads it; the gateway keeps it from applications, since browsers send a
// cookie to every port of its host.
inline constexpr std::string_view kSessionCookie = "naru_session";

struct ListenersMessage {
  std::vector<ListenerSpec> listeners;
  bool more = false;
};
NARU_JSON(ListenersMessage)

// What is not in the shared memory (telemetry.h): gauges of the process itself.
struct GatewayStats {
  std::uint64_t generation = 0;        // of the process; rises with each start
  std::uint64_t revision = 0;          // table in use
  std::uint64_t connections = 0;       // open, from clients
  std::uint64_t held_requests = 0;     // waiting for an instance
  std::uint64_t retried_requests = 0;  // canary failures answered by stable
  std::uint64_t refused_heads = 0;     // malformed requests
  std::uint64_t refused_calls = 0;     // between services that share no network
};
NARU_JSON(GatewayStats)

}  // namespace naru::ipc
