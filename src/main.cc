// The only wiring: which process this is, and what it is given.
#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>

#include <charconv>
#include <cstdio>
#include <map>

#include "cli/cli.h"
#include "control/control.h"
#include "control/git_hook.h"
#include "gateway/gateway.h"
#include "ipc/data_folder.h"
#include "launcher/launcher.h"
#include "supervisor/supervisor.h"

namespace naru {
namespace {

// "--name=value" arguments of the processes that the supervisor starts; never typed by a person.
class Inherited {
 public:
  Inherited(int argc, char** argv) {
    for (int i = 2; i < argc; ++i) {
      const std::string_view argument = argv[i];
      const auto equals = argument.find('=');
      if (argument.starts_with("--") && equals != std::string_view::npos)
        values_[std::string(argument.substr(2, equals - 2))] = argument.substr(equals + 1);
    }
  }
  std::string text(const std::string& name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? std::string() : found->second;
  }
  int number(const std::string& name) const {
    int value = -1;
    const std::string written = text(name);
    std::from_chars(written.data(), written.data() + written.size(), value);
    return value;
  }
  // Ours alone from here on: what we start (git, with its hooks) gets none of them.
  int descriptor(const std::string& name) const {
    const int fd = number(name);
    if (fd >= 0) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
  }

 private:
  std::map<std::string, std::string> values_;
};

// Of many threads that mostly sleep: with an arena for each, what one of them once used is never given back.
void share_the_heap() {
  ::mallopt(M_ARENA_MAX, 2);  // NOLINT(concurrency-mt-unsafe): before there are threads
}

int run_launcher(const Inherited& given) {
  share_the_heap();
  launcher::LauncherOptions options;
  options.data = given.text("data");
  options.listen_fd = given.descriptor("listen-fd");
  options.allowed_uid = static_cast<unsigned>(given.number("allowed-uid"));
  return launcher::run(options);
}

int run_gateway(const Inherited& given) {
  gateway::GatewayOptions options;
  options.supervisor_fd = given.descriptor("supervisor-fd");
  options.control_listen_fd = given.descriptor("control-fd");
  options.telemetry_fd = given.descriptor("telemetry-fd");
  options.table_path = ipc::DataFolder{given.text("data")}.gateway_table().string();
  return gateway::run(options);
}

int run_control(const Inherited& given) {
  share_the_heap();
  control::ControlOptions options;
  options.data = given.text("data");
  options.supervisor_fd = given.descriptor("supervisor-fd");
  options.telemetry_fd = given.descriptor("telemetry-fd");
  options.unix_listen_fd = given.descriptor("unix-fd");
  options.tcp_listen_fd = given.descriptor("tcp-fd");
  options.tcp6_listen_fd = given.descriptor("tcp6-fd");
  options.tls_listen_fd = given.descriptor("tls-fd");
  options.tls_channel_fd = given.descriptor("tls-channel-fd");
  options.gateway_address = given.text("gateway-address");
  options.gateway_port = static_cast<std::uint16_t>(given.number("gateway-port"));
  if (const int bytes = given.number("max-push-bytes"); bytes > 0)
    options.max_push_bytes = static_cast<std::uint64_t>(bytes);
  for (std::string rest = given.text("allowed-registries"); !rest.empty();) {
    const auto comma = std::min(rest.find(','), rest.size());
    options.allowed_registries.push_back(rest.substr(0, comma));
    rest.erase(0, comma + 1);
  }
  return control::run(options);
}

Result<void> up(const cli::UpRequest& request, std::function<void()> on_started) {
  supervisor::SupervisorOptions options;
  options.data = request.data;
  options.control_address = request.control_address;
  options.control_port = request.control_port;
  options.gateway_address = request.gateway_address;
  options.gateway_port = request.gateway_port;
  options.max_push_bytes = request.max_push_bytes;
  options.allowed_registries = request.allowed_registries;
  if (request.tls)
    options.tls = supervisor::TlsListen{request.tls->address, request.tls->port,
                                        request.tls->certificate_file, request.tls->key_file};
  options.on_started = std::move(on_started);
  return supervisor::run(options);
}

}  // namespace
}  // namespace naru

int main(int argc, char** argv) {
  const std::string_view process = argc > 1 ? argv[1] : "";
  // The supervisor's processes have inherited descriptors; a person who types their names gets the command
  // line's help.
  if (argc > 2 && std::string_view(argv[2]).starts_with("--data=")) {
    const naru::Inherited given(argc, argv);
    if (process == "launcher") return naru::run_launcher(given);
    if (process == "gateway") return naru::run_gateway(given);
    if (process == "control") return naru::run_control(given);
  }
  if (process == "git-hook" && argc == 3) return naru::control::git_hook(argv[2]);
  return naru::cli::run(argc, argv, {.up = naru::up});
}
