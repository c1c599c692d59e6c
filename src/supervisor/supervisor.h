// `naru up`: starts launcher, gateway and control, keeps the sockets and the shared memory open for them,
// restarts what dies, and is the parent of containers whose launcher died (child subreaper): their exit
// statuses are written into their bundles. When it ends, the three end with it (PR_SET_PDEATHSIG); containers
// run on.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/result.h"

namespace naru::supervisor {

// A further listener of control, which other machines may reach: TLS and nothing else.
struct TlsListen {
  std::string address;  // "" = every address
  std::uint16_t port = 0;
  std::string certificate_file, key_file;  // PEM, absolute; looked at again when they change, and on SIGHUP
};

struct SupervisorOptions {
  std::string data = "/var/lib/naru";
  std::string control_address = "127.0.0.1";
  std::uint16_t control_port = 7433;
  std::optional<TlsListen> tls;
  std::string gateway_address;  // "" = every address
  std::uint16_t gateway_port = 8080;
  std::uint64_t max_push_bytes = 256ULL << 20;
  std::vector<std::string> allowed_registries;  // handed to control
  std::string user = "naru";         // gateway and control run as it; created when it does not exist
  std::function<void()> on_started;  // all three run for the first time
};

// Runs until SIGTERM, SIGINT or control's request. Errors: forbidden (not root), conflict (the data folder is
// in use), port_taken, system. A certificate that
// cannot be used is none: the TLS listener closes its connections until it can be.
Result<void> run(const SupervisorOptions& options);

}  // namespace naru::supervisor
