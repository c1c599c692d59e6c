#include "container/engine.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <set>

#include "base/log.h"
#include "container/engine_state.h"
#include "container/plan.h"
#include "container/seccomp_profile.h"
#include "container/spawn.h"
#include "os/file.h"
#include "os/process.h"

namespace naru::container {

namespace {
constexpr std::uint32_t kDefaultPids = 4096;
constexpr std::size_t kMaxProcText = 1 << 20;
constexpr std::size_t kMaxVariables = 4 << 20;

Result<void> make_folders(const Paths& paths) {
  if (!paths.data.is_absolute())
    return fail(Code::invalid_argument, "the data folder '{}' is not absolute", paths.data.native());
  for (const auto& path : {paths.data, paths.checkouts, paths.logs}) TRY(os::make_dirs(path));
  // Root file systems hold set-uid files of root: nobody else may reach them from outside.
  for (const auto& path : {paths.containers, paths.layers, paths.volumes}) {
    TRY(os::make_dirs(path, 0700));
    if (::chmod(path.c_str(), 0700) != 0) return fail_errno(Code::system, "chmod {}", path.native());
  }
  return {};
}

Result<Fd> take_lock(const Paths& paths) {
  const auto path = paths.containers / ".lock";
  Fd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return fail_errno(Code::system, "open {}", path.native());
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(Code::conflict, "another engine works on {}", paths.data.native());
  return lock;
}
}  // namespace

Engine::Engine(std::unique_ptr<State> state) : state_(std::move(state)) {}
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::open(Paths paths, EngineOptions options) {
  auto state = std::make_unique<State>();
  state->paths = std::move(paths);
  state->options = std::move(options);
  TRY(make_folders(state->paths));
  state->lock = TRY(take_lock(state->paths));
  state->boot_id = TRY(os::boot_id());
  const auto layout = TRY(os::cgroup_layout(TRY(os::read_file(state->options.mountinfo, kMaxProcText)),
                                            TRY(os::read_file(state->options.self_cgroup, kMaxProcText))));
  const std::string name = "naru-" + Digest::of_sha256(state->paths.data.native()).short_hex();
  state->shares = os::memory_shares(state->options.total_memory != 0 ? state->options.total_memory
                                                                     : os::usable_memory(layout));
  const auto processes = os::process_shares(os::usable_processes(layout));
  state->cgroups = TRY(os::Cgroups::open(layout, name, {state->shares, processes}));
  state->cipher = TRY(store::Cipher::open(state->paths.containers / ".key"));
  state->seccomp = TRY(os::compile_seccomp(default_seccomp_profile()));
  state->notices = state->cgroups.notices();
  state->notices.emplace_back(
      "containers run without a user namespace: root inside is the host's root, held by capabilities, "
      "seccomp and namespaces");
  if (state->options.write_logs) state->logs = TRY(LogWriter::start());
  return std::unique_ptr<Engine>(new Engine(std::move(state)));
}

const Paths& Engine::paths() const {
  return state_->paths;
}
std::string_view Engine::cgroup_mode() const {
  return state_->cgroups.mode();
}
const std::vector<std::string>& Engine::notices() const {
  return state_->notices;
}

Result<std::shared_ptr<Container>> Engine::State::find(const std::string& id) const {
  const std::lock_guard guard(mutex);
  const auto found = containers.find(id);
  if (found == containers.end()) return fail(Code::not_found, "there is no container {}", id.substr(0, 80));
  return found->second;
}

std::vector<std::shared_ptr<Container>> Engine::State::all() const {
  const std::lock_guard guard(mutex);
  std::vector<std::shared_ptr<Container>> every;
  for (const auto& [id, container] : containers) every.push_back(container);
  return every;
}

RunningContainer running(const Container& container) {
  RunningContainer result{container.status, Fd()};
  if (container.pidfd) result.pidfd.reset(::fcntl(container.pidfd.get(), F_DUPFD_CLOEXEC, 3));
  return result;
}

Result<void> Engine::State::watch_logs(const Container& container) {
  if (!logs || !container.state.logged) return {};
  Fd ends[2];
  for (const auto& [index, name] : {std::pair{0, "stdout"}, {1, "stderr"}}) {
    const auto path = bundle(container.id).file(name);
    ends[index].reset(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
    if (!ends[index]) return fail_errno(Code::system, "open {}", path.native());
  }
  return logs->add(container.id, std::move(ends[0]), std::move(ends[1]), paths.logs / container.id,
                   {container.spec.log_file_bytes, container.spec.log_files});
}

Result<void> Engine::State::write_spec(const ContainerSpec& spec) const {
  const Bundle folder = bundle(spec.id);
  std::string variables;
  for (const std::string& entry : spec.env) variables.append(entry).push_back('\0');
  TRY(os::write_file_atomically(folder.file(kVariablesFile), cipher->seal(variables)));
  ContainerSpec plain = spec;
  plain.env.clear();
  return folder.write(kSpecFile, plain);
}

// One whose variables cannot be read is adopted all the same: it runs, and only what is executed in it later
// lacks them. Bundles of older Narus have them in the specification.
Result<ContainerSpec> Engine::State::read_spec(const std::string& id) const {
  auto spec = TRY(bundle(id).read<ContainerSpec>(kSpecFile));
  const auto read = [&]() -> Result<std::vector<std::string>> {
    const std::string sealed = TRY(os::read_file(bundle(id).file(kVariablesFile), kMaxVariables));
    const std::string text = TRY(cipher->unseal(sealed));
    std::vector<std::string> variables;
    for (std::size_t at = 0, end = 0; (end = text.find('\0', at)) != std::string::npos; at = end + 1)
      variables.push_back(text.substr(at, end - at));
    return variables;
  };
  if (auto variables = read())
    spec.env = std::move(*variables);
  else if (variables.error().code != Code::not_found)
    log_event(Level::error, "container.variables_lost",
              {{"container", id}, {"error", variables.error().message()}});
  return spec;
}

namespace {

// The container's ends are opened for both directions, so that a missing reader is not a broken pipe. They
// belong to the container's user, since programs open /dev/stdout again.
Result<Fd> make_fifo(const std::filesystem::path& path, const Identity& identity) {
  if (::mkfifo(path.c_str(), 0600) != 0) return fail_errno(Code::system, "mkfifo {}", path.native());
  Fd fifo(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fifo) return fail_errno(Code::system, "open {}", path.native());
  if (::fchown(fifo.get(), identity.uid, identity.gid) != 0)
    return fail_errno(Code::system, "chown {}", path.native());
  return fifo;
}

}  // namespace

Result<RunningContainer> Engine::State::launch(Container& container, const StartOptions& start) {
  const ContainerSpec& spec = container.spec;
  const Bundle folder = bundle(spec.id);
  TRY(os::remove_tree(folder.folder()));
  TRY(os::make_dirs(folder.folder(), 0700));
  TRY(write_spec(spec));
  auto prepared = TRY(prepare_start(paths, folder.folder(), spec, start, seccomp, cgroups.mode() == "v2"));

  const std::uint32_t pids = spec.resources.pids == 0 ? kDefaultPids : spec.resources.pids;
  const std::uint64_t memory = spec.resources.memory_bytes == 0 && spec.parent_cgroup == "builds"
                                   ? shares.build_step
                                   : spec.resources.memory_bytes;
  BundleState& state = container.state;
  const os::Cgroup group = TRY(
      cgroups.create(spec.parent_cgroup, spec.id, {memory, spec.resources.cpu_millis, pids}, state.notices));
  state.cgroup = group.folders();
  for (Fd& file : TRY(group.join_files()))
    prepared->join.push_back(prepared->held.emplace_back(std::move(file)).get());
  prepared->plan.join = prepared->join.data();
  prepared->plan.join_count = prepared->join.size();

  state.logged = start.output_fd < 0;
  Finish& finish = prepared->plan.finish;
  finish.stdio[1] = finish.stdio[2] = start.output_fd;
  for (const auto& [index, name] : {std::pair{1, "stdout"}, {2, "stderr"}})
    if (state.logged)
      finish.stdio[index] =
          prepared->held.emplace_back(TRY(make_fifo(folder.file(name), prepared->identity))).get();
  TRY(watch_logs(container));

  Spawned spawned = TRY(spawn(prepared->plan, spec.id, options.spawn_patience));
  container.pidfd = std::move(spawned.pidfd);
  state.pid = spawned.pid;
  state.start_time = TRY(os::process_start_time(spawned.pid));
  state.boot_id = boot_id;
  state.started = clock.wall();
  state.address = start.network.address;
  state.overlay = start.overlay;
  for (const Attachment* fixed : {&prepared->plan.proc, &prepared->plan.sys, &prepared->plan.dev})
    if (fixed->created_from >= 0) state.created.emplace_back(fixed->prefixes[fixed->created_from]);
  for (const Attachment& mount : prepared->mounts)
    for (int i = std::max(mount.created_from, 0); mount.created_from >= 0 && mount.prefixes[i] != nullptr;
         ++i)
      state.created.emplace_back(mount.prefixes[i]);
  TRY(folder.write(kStateFile, state));

  ContainerStatus& status = container.status;
  status.state = ContainerState::running;
  status.pid = state.pid;
  status.address = state.address;
  status.started = state.started;
  status.notices = state.notices;
  container.show();
  return running(container);
}

void Engine::State::discard(const Container& container) {
  if (container.pidfd) {
    [[maybe_unused]] const auto killed = os::pidfd_send_signal(container.pidfd.get(), SIGKILL);
    [[maybe_unused]] const auto ended = os::pidfd_wait(container.pidfd.get(), 1000ms);
    [[maybe_unused]] const auto reaped = os::pidfd_reap(container.pidfd.get());
  }
  if (logs) logs->remove(container.id);
  const os::Cgroup group = container.state.cgroup.empty()
                               ? cgroups.at(container.spec.parent_cgroup, container.id)
                               : os::Cgroup(container.state.cgroup);
  for (const auto& result : {group.remove(), os::remove_tree(paths.containers / container.id),
                             os::remove_tree(paths.logs / container.id)})
    if (!result)
      log_event(Level::warn, "container.discard_failed",
                {{"container", container.id}, {"error", result.error().message()}});
}

Result<RunningContainer> Engine::start(const ContainerSpec& spec, const StartOptions& options) {
  TRY(validate(spec, options.granted_capabilities));
  std::shared_ptr<Container> container;
  bool fresh = false;
  {
    const std::lock_guard guard(state_->mutex);
    auto& place = state_->containers[spec.id];
    fresh = place == nullptr;
    if (fresh) {
      place = std::make_shared<Container>();
      place->id = place->status.id = spec.id;
      place->spec = spec;
      place->status.labels = spec.labels;
      place->mutex.lock();  // nobody else has it yet
    }
    container = place;
  }
  if (!fresh) {
    const std::lock_guard guard(container->mutex);
    if (container->status.state == ContainerState::created)
      return fail(Code::conflict, "container {} failed to start just now", spec.id);
    return running(*container);
  }
  const std::lock_guard guard(container->mutex, std::adopt_lock);
  auto result = state_->launch(*container, options);
  if (result) return result;
  state_->discard(*container);
  const std::lock_guard map_guard(state_->mutex);
  state_->containers.erase(spec.id);
  return result;
}

Result<std::unique_ptr<RunningContainer>> Engine::State::adopt_one(const std::string& id) {
  auto container = std::make_shared<Container>();
  const Bundle folder = bundle(id);
  container->id = container->status.id = id;
  auto spec = read_spec(id);
  auto state = folder.read<BundleState>(kStateFile);
  if (spec) container->spec = std::move(*spec);
  if (!spec || !state) {  // a start that was cut short: what runs, if anything, is in the cgroup
    discard(*container);
    return std::unique_ptr<RunningContainer>();
  }
  container->state = std::move(*state);
  ContainerStatus& status = container->status;
  status.labels = container->spec.labels;
  status.address = container->state.address;
  status.started = container->state.started;
  status.notices = container->state.notices;
  status.stop_asked = folder.read<BundleStop>(kStopFile).has_value();
  const std::lock_guard guard(container->mutex);
  if (const auto exit = folder.read<BundleExit>(kExitFile)) {
    status.state = exit->state;
    status.exit_code = exit->exit_code;
    status.out_of_memory = exit->out_of_memory;
    status.finished = exit->finished;
  } else {
    if (container->state.boot_id == boot_id) {
      if (auto pidfd = os::pidfd_open(container->state.pid)) container->pidfd = std::move(*pidfd);
      const auto start_time = os::process_start_time(container->state.pid);
      if (!start_time || *start_time != container->state.start_time) container->pidfd.reset();
    }
    status.state = ContainerState::running;
    status.pid = container->state.pid;
    if (!container->pidfd) {
      TRY(settle(*container, true));
    } else if (auto watched = watch_logs(*container);
               !watched) {  // running without a log is better than unknown
      log_event(Level::error, "container.log_lost",
                {{"container", id}, {"error", watched.error().message()}});
    }
  }
  container->show();
  const std::lock_guard map_guard(mutex);
  containers[id] = container;
  if (status.state != ContainerState::running) return std::unique_ptr<RunningContainer>();
  return std::make_unique<RunningContainer>(running(*container));
}

Result<std::vector<RunningContainer>> Engine::adopt() {
  std::set<std::string> ids;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(state_->paths.containers, error))
    if (entry.is_directory(error)) ids.insert(entry.path().filename());
  if (error) return fail(Code::system, "list {}: {}", state_->paths.containers.native(), error.message());
  std::vector<RunningContainer> found;
  for (const std::string& id : std::set<std::string>(ids)) {
    if (state_->find(id)) continue;
    auto adopted = state_->adopt_one(id);
    if (!adopted)
      log_event(Level::error, "container.adopt_failed",
                {{"container", id}, {"error", adopted.error().message()}});
    else if (*adopted)
      found.push_back(std::move(**adopted));
    else if (!state_->find(id))
      ids.erase(id);  // half-made and cleaned away: its cgroup is a stray
  }
  // Of a removal that was cut short: the bundle goes before the logs.
  for (const auto& entry : std::filesystem::directory_iterator(state_->paths.logs, error))
    if (!state_->find(entry.path().filename()))
      if (auto removed = os::remove_tree(entry.path()); !removed)
        log_event(Level::warn, "container.stray_log", {{"error", removed.error().message()}});
  for (const std::string_view parent : {"apps", "builds"})
    for (const std::string& id : state_->cgroups.ids(parent)) {
      if (ids.contains(id) || state_->find(id)) continue;
      if (auto removed = state_->cgroups.at(parent, id).remove(); !removed)
        log_event(Level::warn, "container.stray_cgroup",
                  {{"cgroup", id}, {"error", removed.error().message()}});
    }
  return found;
}

}  // namespace naru::container
