#include "launcher/operations.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include "base/log.h"
#include "ipc/launcher_client.h"
#include "launcher/checks.h"
#include "launcher/volumes.h"
#include "network/firewalls.h"
#include "os/disk_use.h"
#include "os/file.h"
#include "os/nftables.h"
#include "os/process.h"

namespace naru::launcher {

namespace {

Result<std::string> container_field(const Json& request) {
  std::string id = TRY(field<std::string>(request, "container"));
  TRY(check_id(id, "container"));
  if (id.starts_with(kBuildPrefix)) return fail(Code::forbidden, "{} is the builder's", id);
  return id;
}

Result<std::string> network_field(const Json& request) {
  std::string id = TRY(field<std::string>(request, "network"));
  TRY(check_id(id, "network"));
  if (id == kBuildNetwork) return fail(Code::forbidden, "the network {} is the builder's", id);
  return id;
}

Result<Reply> hello(Operations& operations, const Json&, std::uint64_t) {
  Json hello = operations.hello;
  // Control cannot see them: chains are root's to list.
  if (const auto drops = network::find_forward_drops()) hello["forward_drops"] = *drops;
  return Reply{.result = std::move(hello), .fds = {}, .watches = {}};
}

Result<Reply> network_ensure(Operations& operations, const Json& request, std::uint64_t) {
  return Reply{
      .result = TRY(operations.networks.ensure(TRY(network_field(request)))), .fds = {}, .watches = {}};
}

Result<Reply> network_remove(Operations& operations, const Json& request, std::uint64_t) {
  TRY(operations.networks.remove(TRY(network_field(request))));
  return Reply{};
}

Result<Reply> network_udp(Operations& operations, const Json& request, std::uint64_t) {
  const std::string network = TRY(network_field(request));
  const auto routes = TRY(field<UdpRoutes>(request, "routes"));
  TRY(operations.networks.set_udp_routes(network, routes));
  return Reply{};
}

// What the operator allowed of it goes into the options, which borrow the folders that are returned.
Result<std::vector<OpenedFolder>> open_granted(Operations& operations, const ContainerSpec& spec,
                                               container::StartOptions& options) {
  const std::vector<Grant> needs = needs_of(spec, operations.engine.paths().checkouts.string());
  TRY(operations.grants.check(spec.app, needs));
  std::vector<OpenedFolder> folders;
  for (const Grant& need : needs) {
    if (need.kind == GrantKind::capability) {
      options.granted_capabilities.push_back(need.name);
      continue;
    }
    const OpenedFolder& folder = folders.emplace_back(TRY(operations.grants.open_folder(need)));
    options.granted_binds.push_back({need.name, folder.fd.get(), S_ISDIR(folder.info.st_mode)});
  }
  return folders;
}

// It waits for the folders' disks, of which one may be away: no other start has to.
Lane lane_of_start(const Operations& operations, const Json& request) {
  const auto spec = field<ContainerSpec>(request, "spec");
  const bool waits =
      spec && std::ranges::any_of(needs_of(*spec, operations.engine.paths().checkouts.string()),
                                  [](const Grant& need) { return need.kind == GrantKind::bind; });
  return waits ? Lane::folder : Lane::quick;
}

Result<Reply> container_start(Operations& operations, const Json& request, std::uint64_t) {
  const auto spec = TRY(field<ContainerSpec>(request, "spec"));
  TRY(check_spec(spec, operations.engine.paths().checkouts.string()));
  // Not of one that runs: a grant that was taken back ends nothing.
  if (auto known = operations.engine.status(spec.id); known && known->state != ContainerState::created)
    return Reply{.result = *known, .fds = {}, .watches = {}};
  container::StartOptions options;
  // Before any lock is taken: a disk that is away holds up no more than this start.
  const std::vector<OpenedFolder> folders = TRY(open_granted(operations, spec, options));
  const std::scoped_lock lock(operations.lock_of(spec.id));
  if (auto known = operations.engine.status(spec.id))
    return Reply{.result = *known, .fds = {}, .watches = {}};
  const auto volumes = operations.lock_volumes(volumes_of(spec));
  TRY(check_writers(operations.engine, spec));
  const auto held = operations.layers.hold();
  network::Attachment attachment;
  if (!spec.network.empty()) {
    attachment = TRY(operations.networks.attach(spec.network, spec.id,
                                                {.segments = spec.segments, .internal = spec.internal}));
    options.network = {attachment.netns.get(), attachment.address, attachment.gateway, {}};
  }
  auto started = operations.engine.start(spec, options);
  if (!started) {
    if (auto released = operations.networks.release(spec.id); !released)
      log_event(Level::warn, "launcher.release_failed",
                {{"container", spec.id}, {"error", released.error().message()}});
    return std::unexpected(std::move(started).error());
  }
  Reply reply{.result = started->status, .fds = {}, .watches = {}};
  reply.watches.push_back({.kind = WatchKind::container,
                           .id = spec.id,
                           .pidfd = std::move(started->pidfd),
                           .client = 0,
                           .deadline = {},
                           .timed_out = false});
  return reply;
}

Result<Reply> container_stop(Operations& operations, const Json& request, std::uint64_t) {
  const std::string id = TRY(container_field(request));
  std::optional<milliseconds> grace;
  if (request.contains("grace_ms") && !request["grace_ms"].is_null()) {
    grace = milliseconds(TRY(field<std::int64_t>(request, "grace_ms")));
    TRY(check_duration(*grace, kMaxStopGrace, "grace_ms"));
  }
  return Reply{.result = TRY(operations.engine.stop(id, grace)), .fds = {}, .watches = {}};
}

Result<Reply> container_remove(Operations& operations, const Json& request, std::uint64_t) {
  const std::string id = TRY(container_field(request));
  const std::scoped_lock lock(operations.lock_of(id));
  TRY(operations.engine.remove(id));
  TRY(operations.networks.release(id));
  return Reply{};
}

Result<Reply> container_list(Operations& operations, const Json&, std::uint64_t) {
  Json containers = Json::array();
  for (const ContainerStatus& status : operations.engine.list())
    if (!status.id.starts_with(kBuildPrefix)) containers.push_back(status);
  return Reply{.result = {{"containers", std::move(containers)}}, .fds = {}, .watches = {}};
}

Result<Reply> container_sizes(Operations& operations, const Json&, std::uint64_t) {
  std::vector<ipc::VolumeInfo> sizes;
  for (const ContainerStatus& status : operations.engine.list())
    sizes.push_back({status.id, os::bytes_below(operations.engine.paths().containers / status.id / "upper")});
  return Reply{.result = {{"containers", sizes}}, .fds = {}, .watches = {}};
}

Result<Reply> container_exec(Operations& operations, const Json& request, std::uint64_t client) {
  const std::string id = TRY(container_field(request));
  container::ExecSpec spec;
  spec.argv = TRY(field<std::vector<std::string>>(request, "argv"));
  spec.env = TRY(field_or<std::vector<std::string>>(request, "env", {}));
  TRY(check_argv(spec.argv, spec.env));
  spec.user = TRY(field_or<std::string>(request, "user", ""));
  spec.cwd = TRY(field_or<std::string>(request, "cwd", ""));
  spec.tty = TRY(field_or<bool>(request, "tty", false));
  spec.rows = TRY(field_or<std::uint16_t>(request, "rows", 24));
  spec.cols = TRY(field_or<std::uint16_t>(request, "cols", 80));
  const milliseconds timeout(TRY(field_or<std::int64_t>(request, "timeout_ms", 0)));
  TRY(check_duration(timeout, kMaxExec, "timeout_ms"));
  container::StartedExec started = TRY(operations.engine.exec(id, spec));
  Reply reply{.result = {{"exec", started.id}}, .fds = {}, .watches = {}};
  if (spec.tty) {
    reply.fds.push_back(std::move(started.pty));
  } else {
    for (Fd* fd : {&started.in, &started.out, &started.err}) reply.fds.push_back(std::move(*fd));
  }
  Watch watch{.kind = WatchKind::exec,
              .id = started.id,
              .pidfd = std::move(started.pidfd),
              .client = client,
              .deadline = {},
              .timed_out = false};
  if (timeout > 0ms) watch.deadline = std::chrono::steady_clock::now() + timeout;
  reply.watches.push_back(std::move(watch));
  return reply;
}

Result<Reply> exec_kill(Operations& operations, const Json& request, std::uint64_t) {
  TRY(operations.engine.kill_exec(TRY(field<std::string>(request, "exec")), SIGKILL));
  return Reply{};
}

// Reads both outputs until the process ended or the deadline passed. True: it ended.
Result<bool> gather(const container::StartedExec& exec, MonoTime deadline, std::string& output) {
  constexpr std::size_t kKept = 4096;
  std::array<pollfd, 3> entries{
      {{exec.pidfd.get(), POLLIN, 0}, {exec.out.get(), POLLIN, 0}, {exec.err.get(), POLLIN, 0}}};
  while (true) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0) return false;
    if (::poll(entries.data(), entries.size(), static_cast<int>(left)) < 0 && errno != EINTR)
      return fail_errno(Code::system, "poll of a probe");
    bool read_something = false;
    for (std::size_t i = 1; i < entries.size(); ++i) {
      if (entries[i].fd < 0 || (entries[i].revents & (POLLIN | POLLHUP)) == 0) continue;
      std::array<char, 4096> buffer{};
      const ssize_t got = ::read(entries[i].fd, buffer.data(), buffer.size());
      if (got <= 0) {
        entries[i].fd = -1;
        continue;
      }
      read_something = true;
      output.append(buffer.data(),
                    std::min(static_cast<std::size_t>(got), kKept - std::min(kKept, output.size())));
    }
    // A grandchild may hold the pipes: the end of the process is the end of the probe.
    if ((entries[0].revents & POLLIN) != 0 && !read_something) return true;
  }
}

Result<Reply> container_probe(Operations& operations, const Json& request, std::uint64_t) {
  const std::string id = TRY(container_field(request));
  container::ExecSpec spec;
  spec.argv = TRY(field<std::vector<std::string>>(request, "argv"));
  TRY(check_argv(spec.argv, {}));
  const milliseconds timeout(TRY(field<std::int64_t>(request, "timeout_ms")));
  TRY(check_duration(timeout, kMaxProbe, "timeout_ms"));
  ipc::ProbeResult result;
  const MonoTime deadline = std::chrono::steady_clock::now() + timeout;
  auto made = operations.engine.exec(id, spec);
  if (!made) {
    // A probe whose program is missing has failed; it is no fault of the launcher.
    const auto exit_code = container::exit_code_for(made.error());
    if (!exit_code) return std::unexpected(std::move(made).error());
    result.exit_code = *exit_code;
    result.output = made.error().message();
    return Reply{.result = result, .fds = {}, .watches = {}};
  }
  container::StartedExec started = std::move(*made);
  started.in.reset();
  const bool ended = TRY(gather(started, deadline, result.output));
  if (!ended) {
    result.timed_out = true;
    TRY(operations.engine.kill_exec(started.id, SIGKILL));
    TRY(os::pidfd_wait(started.pidfd.get(), 5s));
  }
  result.exit_code = TRY(operations.engine.finish_exec(started.id)).value_or(137);
  return Reply{.result = result, .fds = {}, .watches = {}};
}

Result<Reply> container_stats(Operations& operations, const Json& request, std::uint64_t) {
  const container::Stats stats = TRY(operations.engine.stats(TRY(container_field(request))));
  return Reply{.result = {{"memory_bytes", stats.memory_bytes},
                          {"memory_limit", stats.memory_limit},
                          {"cpu_usec", stats.cpu_usec},
                          {"pids", stats.pids},
                          {"dropped_log_lines", stats.dropped_log_lines}},
               .fds = {},
               .watches = {}};
}

Result<Reply> volume_ensure(Operations& operations, const Json& request, std::uint64_t) {
  TRY(ensure_volume(operations.engine, TRY(field<std::string>(request, "volume"))));
  return Reply{};
}
Result<Reply> volume_remove(Operations& operations, const Json& request, std::uint64_t) {
  TRY(remove_volume(operations.engine, operations.layers, TRY(field<std::string>(request, "volume"))));
  return Reply{};
}
Result<Reply> volume_list(Operations& operations, const Json&, std::uint64_t) {
  const auto volumes = TRY(list_volumes(operations.engine));
  return Reply{.result = {{"volumes", volumes}}, .fds = {}, .watches = {}};
}

// Who has what has changed: control asks anew.
Reply changed_grants(Json result) {
  return {.result = std::move(result), .fds = {}, .watches = {}, .tell_all = {{"event", "grants_changed"}}};
}
Result<std::string> app_field(const Json& request) {
  std::string app = TRY(field<std::string>(request, "app"));
  TRY(check_id(app, "application"));
  return app;
}
Result<Reply> grant_allow(Operations& operations, const Json& request, std::uint64_t) {
  return changed_grants(TRY(operations.grants.allow(TRY(app_field(request)),
                                                    TRY(field<std::vector<std::string>>(request, "grants")),
                                                    TRY(field_or<std::string>(request, "by", "root")))));
}
Result<Reply> grant_disallow(Operations& operations, const Json& request, std::uint64_t) {
  return changed_grants(TRY(operations.grants.disallow(
      TRY(app_field(request)), TRY(field<std::vector<std::string>>(request, "grants")),
      TRY(field_or<std::string>(request, "by", "root")))));
}
Result<Reply> grant_list(Operations& operations, const Json&, std::uint64_t) {
  return Reply{.result = {{"apps", operations.grants.list()}}, .fds = {}, .watches = {}};
}
Result<Reply> grant_drop(Operations& operations, const Json& request, std::uint64_t) {
  TRY(operations.grants.drop(TRY(app_field(request))));
  return changed_grants(Json::object());
}

Result<Reply> layer_unpack(Operations& operations, const Json& request, std::uint64_t) {
  TRY(operations.benches.unpack(TRY(whole<build::LayerRef>(request, "layer.unpack"))));
  return Reply{};
}
Result<Reply> layer_list(Operations& operations, const Json&, std::uint64_t) {
  const auto layers = TRY(operations.layers.list());
  return Reply{.result = {{"layers", layers}}, .fds = {}, .watches = {}};
}
Result<std::vector<Digest>> layers_field(const Json& request) {
  auto layers = TRY(field<std::vector<Digest>>(request, "layers"));
  if (layers.size() > Layers::kMaxAtOnce)
    return fail(Code::too_large, "{} layers at once; {} is the most", layers.size(), Layers::kMaxAtOnce);
  for (const Digest& layer : layers) TRY(check_digest(layer, "diff id"));
  return layers;
}
Result<Reply> layer_size(Operations& operations, const Json& request, std::uint64_t) {
  const auto layers = TRY(layers_field(request));
  return Reply{.result = {{"bytes", operations.layers.bytes_of(layers)}}, .fds = {}, .watches = {}};
}
Result<Reply> layer_sweep(Operations& operations, const Json&, std::uint64_t) {
  const auto bytes = TRY(operations.layers.sweep());
  return Reply{.result = {{"bytes", bytes}}, .fds = {}, .watches = {}};
}
Result<Reply> layer_remove(Operations& operations, const Json& request, std::uint64_t) {
  const auto layers = TRY(layers_field(request));
  const LayerRemoval removal =
      TRY(operations.layers.remove(layers, TRY(field_or<bool>(request, "dry_run", false)), [&] {
        std::set<Digest> used = operations.engine.layers_in_use();
        used.merge(operations.benches.layers_in_use());
        return used;
      }));
  return Reply{
      .result = {{"removed", removal.removed}, {"in_use", removal.in_use}}, .fds = {}, .watches = {}};
}
Result<Reply> build_begin(Operations& operations, const Json& request, std::uint64_t client) {
  TRY(operations.benches.begin(TRY(whole<build::BeginRequest>(request, "build.begin")), client));
  return Reply{};
}
Result<Reply> build_run(Operations& operations, const Json& request, std::uint64_t client) {
  const auto run = TRY(whole<build::RunRequest>(request, "build.run"));
  StartedStep step = TRY(operations.benches.run(run));
  Reply reply;
  reply.fds.push_back(std::move(step.output));
  const milliseconds timeout = run.timeout > 0ms ? run.timeout : kMaxBuildStep;
  reply.watches.push_back({.kind = WatchKind::build,
                           .id = run.build,
                           .pidfd = std::move(step.pidfd),
                           .client = client,
                           .deadline = std::chrono::steady_clock::now() + timeout,
                           .timed_out = false});
  return reply;
}
Result<Reply> build_kill(Operations& operations, const Json& request, std::uint64_t) {
  TRY(operations.benches.kill_step(TRY(field<std::string>(request, "build"))));
  return Reply{};
}
Result<Reply> build_copy(Operations& operations, const Json& request, std::uint64_t) {
  TRY(operations.benches.copy(TRY(whole<build::CopyRequest>(request, "build.copy"))));
  return Reply{};
}
Result<Reply> build_commit(Operations& operations, const Json& request, std::uint64_t) {
  return Reply{.result = TRY(operations.benches.commit(TRY(field<std::string>(request, "build")))),
               .fds = {},
               .watches = {}};
}
Result<Reply> build_discard(Operations& operations, const Json& request, std::uint64_t) {
  TRY(operations.benches.discard(TRY(field<std::string>(request, "build"))));
  return Reply{};
}

}  // namespace

const Operation* find_operation(std::string_view op) {
  static const std::map<std::string_view, Operation> kOperations{
      {"hello", {Lane::quick, hello}},
      {"network.ensure", {Lane::quick, network_ensure}},
      {"network.remove", {Lane::quick, network_remove}},
      {"network.udp", {Lane::quick, network_udp}},
      {"container.start", {Lane::quick, container_start, false, lane_of_start}},
      {"container.stop", {Lane::stop, container_stop}},
      {"container.remove", {Lane::quick, container_remove}},
      {"container.list", {Lane::quick, container_list}},
      {"container.sizes", {Lane::work, container_sizes}},
      {"container.exec", {Lane::quick, container_exec}},
      {"exec.kill", {Lane::quick, exec_kill}},
      {"container.probe", {Lane::probe, container_probe}},
      {"container.stats", {Lane::quick, container_stats}},
      {"volume.ensure", {Lane::quick, volume_ensure}},
      {"volume.remove", {Lane::work, volume_remove}},
      {"volume.list", {Lane::work, volume_list}},
      {"grant.allow", {Lane::quick, grant_allow, true}},
      {"grant.disallow", {Lane::quick, grant_disallow, true}},
      {"grant.list", {Lane::quick, grant_list}},
      {"grant.drop", {Lane::quick, grant_drop}},
      {"layer.unpack", {Lane::work, layer_unpack}},
      {"layer.list", {Lane::work, layer_list}},
      {"layer.remove", {Lane::work, layer_remove}},
      {"layer.size", {Lane::work, layer_size}},
      {"layer.sweep", {Lane::work, layer_sweep}},
      {"build.begin", {Lane::work, build_begin}},
      {"build.run", {Lane::work, build_run}},
      {"build.kill", {Lane::quick, build_kill}},
      {"build.copy", {Lane::work, build_copy}},
      {"build.commit", {Lane::work, build_commit}},
      {"build.discard", {Lane::work, build_discard}},
  };
  const auto found = kOperations.find(op);
  return found == kOperations.end() ? nullptr : &found->second;
}

}  // namespace naru::launcher
