// Control's (and a test's) side of ipc/launcher_protocol.h. Thread-safe: several workers share one
// connection, a reader thread dispatches answers and events. The connection is made again by itself (every
// 100 ms to 2 s); calls in flight when it breaks, and calls made while it is down (after waiting for it up to
// 2 s), fail with unavailable; every operation is idempotent by its ids, so that a caller may repeat it.
// Errors: unavailable, timeout, and whatever the launcher answered.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "model/container.h"
#include "model/grant.h"

namespace naru::ipc {

struct ExecRequest {
  std::string container;
  std::vector<std::string> argv;
  std::vector<std::string> env;  // added to the container's own
  std::string user, cwd;         // "" = the container's
  bool tty = false;
  std::uint16_t rows = 24, cols = 80;
  milliseconds timeout{0};  // 0 = none
};
NARU_JSON(ExecRequest)

// A running exec. With tty: fds = {pty master}; else {stdin, stdout, stderr}. Ends with the event
// "exec_exited".
struct ExecSession {
  std::string exec;  // id
  std::vector<Fd> fds;
};

struct ProbeResult {
  std::int32_t exit_code = 0;
  std::string output;  // first 4 KiB of stdout and stderr
  bool timed_out = false;
};
NARU_JSON(ProbeResult)

struct ContainerStats {
  std::uint64_t memory_bytes = 0, cpu_usec = 0, pids = 0;
};
NARU_JSON(ContainerStats)

struct VolumeInfo {
  std::string name;
  std::uint64_t bytes = 0;
};
NARU_JSON(VolumeInfo)

struct LauncherHello {
  std::string version, boot_id, cgroup;
  std::vector<std::string> notices;
  // Chains of other firewalls that stop what is forwarded; none: it could not be found out.
  std::optional<std::vector<std::string>> forward_drops{};
};
NARU_JSON(LauncherHello)

// How an exec ended.
struct ExecExit {
  std::int32_t exit_code = 0;  // 128 + signal when killed
  bool timed_out = false;
};
NARU_JSON(ExecExit)

// What layer.remove took away (or would, with dry_run).
struct LayerRemoval {
  std::vector<Digest> removed, in_use;
};
NARU_JSON(LayerRemoval)

class LauncherClient {
 public:
  struct Options {
    std::string socket_path;  // run/launcher.sock
    // Called on the reader thread: {"event": "container_exited", "status": ...} and the like, and {"event":
    // "connected"} / {"event": "disconnected"} of the connection itself (after "connected" list again: events
    // in between were missed). Must not call back into the client.
    std::function<void(const Json&)> on_event;
  };
  // Never fails for want of a launcher: connects in the background.
  static std::unique_ptr<LauncherClient> open(Options options);
  ~LauncherClient();  // fails what is in flight, joins the reader
  // Fails what is in flight and what comes after with `unavailable`, so that those who wait for an answer can
  // end.
  void stop();
  LauncherClient(const LauncherClient&) = delete;
  LauncherClient& operator=(const LauncherClient&) = delete;

  Result<LauncherHello> hello();
  Result<NetworkInfo> ensure_network(const std::string& id);
  Result<void> remove_network(const std::string& id);
  // Instead of all that the network had. unsupported: the kernel cannot.
  Result<void> set_udp_routes(const std::string& network, const UdpRoutes& routes);
  Result<ContainerStatus> start(const ContainerSpec& spec);
  Result<ContainerStatus> stop(const std::string& container, std::optional<milliseconds> grace = {});
  Result<void> remove(const std::string& container);
  Result<std::vector<ContainerStatus>> list();
  Result<ExecSession> exec(const ExecRequest& request);
  // Numbers the connections: what was asked on an older one is not told of on this.
  std::uint64_t connection() const;
  // Waits for the end of an exec of this connection (also one that ended before the call). timeout;
  // unavailable.
  Result<ExecExit> wait_exec(const std::string& exec, milliseconds timeout);
  Result<void> kill_exec(const std::string& exec);
  Result<ProbeResult> probe(const std::string& container, const std::vector<std::string>& argv,
                            milliseconds timeout);
  Result<ContainerStats> stats(const std::string& container);
  Result<void> ensure_volume(const std::string& name);
  Result<void> remove_volume(const std::string& name);
  Result<std::vector<VolumeInfo>> list_volumes();
  // What each container wrote into its own files, by its id.
  Result<std::vector<VolumeInfo>> container_sizes();
  Result<void> unpack_layer(const Digest& blob, const Digest& diff_id, const std::string& media_type);
  // What the operator allows each application. The first two are refused unless this process is root's.
  Result<AppGrants> allow(const std::string& app, const std::vector<std::string>& grants,
                          const std::string& by);
  Result<AppGrants> disallow(const std::string& app, const std::vector<std::string>& grants,
                             const std::string& by);
  Result<std::vector<AppGrants>> list_grants();
  Result<void> drop_grants(const std::string& app);
  Result<std::vector<Digest>> list_layers();
  // Quick: they are set aside, and deleted by sweep_layers(). 256 at most; busy.
  Result<LayerRemoval> remove_layers(const std::vector<Digest>& layers, bool dry_run);
  Result<std::uint64_t> sweep_layers();                                      // the bytes that went
  Result<std::uint64_t> bytes_of_layers(const std::vector<Digest>& layers);  // 256 at most
  // Builds: arguments and results are the structs of build/workbench.h as JSON (this layer does not know
  // them).
  Result<void> build_begin(Json request);
  // Blocks until the command ended, handing on its output in pieces as it comes, on this thread; a stop
  // request kills the command (build.kill) and waits for its end. The result is a RunResult.
  Result<Json> build_run(Json request, const std::function<void(std::string_view)>& output,
                         std::stop_token stop = {});
  Result<void> build_copy(Json request);
  Result<Json> build_commit(const std::string& build);
  Result<void> build_discard(const std::string& build);

  // Any operation of the protocol; received descriptors go to `fds` (else they are closed).
  Result<Json> call(std::string_view op, Json arguments, milliseconds timeout,
                    std::vector<Fd>* fds = nullptr);

 private:
  struct State;
  explicit LauncherClient(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace naru::ipc
