// The command line: every verb is a few requests to control's API (docs/api.md), over its Unix socket or
// HTTP.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/result.h"

namespace naru::cli {

// Where other machines reach control, and what it shows them there.
struct TlsRequest {
  std::string address;  // "" = every address
  std::uint16_t port = 0;
  std::string certificate_file, key_file;  // absolute
};

// What `naru up` was asked for; main.cc knows how.
struct UpRequest {
  std::string data;
  std::string control_address = "127.0.0.1";
  std::uint16_t control_port = 7433;
  std::string gateway_address;
  std::uint16_t gateway_port = 8080;
  std::uint64_t max_push_bytes = 256ULL << 20;  // of one pack
  std::vector<std::string> allowed_registries;  // of this machine, that pushes may name
  std::optional<TlsRequest> tls;
  bool detach = false;  // return when it is up
};

struct Processes {
  // Runs the platform until it is stopped. `on_started` is called once launcher, gateway and control run.
  std::function<Result<void>(const UpRequest&, std::function<void()> on_started)> up;
};

// The exit status: 0 well, 1 an error that was printed, 2 wrong usage.
int run(int argc, char** argv, const Processes& processes);

}  // namespace naru::cli
