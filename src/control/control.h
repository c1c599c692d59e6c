// The control process: state, decisions, pipelines, the API, git over HTTP and the console. Runs as user
// `naru`; whatever needs root it asks of the launcher. It may be killed at any instant: containers and
// gateway go on without it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace naru::control {

struct ControlOptions {
  std::string data;         // the data folder (ipc/data_folder.h), absolute
  int supervisor_fd = -1;   // stream socket (ipc/supervisor_protocol.h); -1: none, `down` is refused
  int unix_listen_fd = -1;  // listening, run/control.sock: whoever may open it is trusted
  int tcp_listen_fd = -1;   // listening, 127.0.0.1:7433: a token is needed
  int tcp6_listen_fd = -1;  // listening, the same on [::1], if there is IPv6
  int tls_listen_fd = -1;   // listening, for other machines, TLS only; -1: none
  int tls_channel_fd = -1;  // its certificate (ipc/supervisor_protocol.h)
  int telemetry_fd = -1;    // ipc/telemetry.h
  std::uint16_t gateway_port =
      8080;                     // where the gateway's edge listens, for the addresses that people are shown
  std::string gateway_address;  // "" = every address
  std::string executable;       // the naru program, which git's hooks run; "" = this one
  std::uint64_t max_push_bytes = 256ULL << 20;  // of one pack; git refuses what is larger
  std::vector<std::string> allowed_registries;  // of this machine, to pulls of pushes: control/push_reach.h
  int stop_fd = -1;                             // readable: stop, as SIGTERM does
};

// Runs until SIGTERM or SIGINT (then 0). Takes the descriptors over. Non-zero: it could not start, and has
// said why on standard error.
int run(const ControlOptions& options);

}  // namespace naru::control
