// The data plane: every request of a user and every call between services, and DNS. A thread per core, each
// with its own reactor; nothing is locked on the request path. It is handed its sockets and survives control.
#pragma once

#include <string>

#include "base/clock.h"
#include "gateway/bounds.h"

namespace naru::gateway {

struct GatewayOptions {
  int supervisor_fd =
      -1;  // stream socket: listeners arrive here (ipc/gateway_protocol.h); end of file = drain
  int control_listen_fd = -1;  // listening Unix socket run/gateway.sock: route tables arrive here
  int telemetry_fd = -1;       // ipc/telemetry.h
  std::string table_path;      // the last route table, "<data>/gateway/routes.json"; "" = not kept
  std::string resolv_conf = "/etc/resolv.conf";
  std::uint16_t resolver_port = 53;  // of those that it names; tests have another
  unsigned threads = 0;              // 0 = one per core
  seconds drain{10};                 // after SIGTERM: how long requests may still run
  Bounds bounds{};
};

// Runs until SIGTERM (drains, then returns 0). Non-zero: it could not start, and has said why on standard
// error.
int run(const GatewayOptions& options);

}  // namespace naru::gateway
