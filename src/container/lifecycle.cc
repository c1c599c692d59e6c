// How a container ends: settle, stop, signal, remove; and what is told of it meanwhile.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include <ranges>
#include <thread>

#include "base/log.h"
#include "base/signal_name.h"
#include "container/engine_state.h"
#include "os/file.h"
#include "os/process.h"

namespace naru::container {

namespace {
constexpr milliseconds kDrain = 200ms;       // for the last lines of the log
constexpr milliseconds kKillPatience = 10s;  // for the kernel to end a killed container

// Mount points that we had to make are not the build's. Only what is empty still and a plain name goes.
void take_away_mount_points(const BundleState& state) {
  if (state.overlay.empty()) return;
  const auto upper = os::open_folder(std::filesystem::path(state.overlay) / "upper");
  if (!upper) return;
  for (const std::string& path : std::views::reverse(state.created)) {
    const auto slash = path.rfind('/');
    const std::string parent = slash == 0 ? "." : path.substr(1, slash - 1), name = path.substr(slash + 1);
    const auto folder = os::open_beneath(upper->get(), parent, O_PATH | O_DIRECTORY);
    if (!folder) continue;
    struct stat info{};
    if (::fstatat(folder->get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (S_ISDIR(info.st_mode))
      ::unlinkat(folder->get(), name.c_str(), AT_REMOVEDIR);
    else if (S_ISREG(info.st_mode) && info.st_size == 0)
      ::unlinkat(folder->get(), name.c_str(), 0);
  }
}
}  // namespace

std::optional<int> Engine::State::wait_status(const Container& container) const {
  if (container.pidfd) {
    const auto reaped = os::pidfd_reap(container.pidfd.get());
    if (reaped && *reaped) return *reaped;
  }
  if (const auto recorded = bundle(container.id).read<BundleWait>(kWaitFile)) return recorded->wait_status;
  if (container.pidfd) return os::pidfd_exit_status(container.pidfd.get());
  return std::nullopt;
}

Result<void> Engine::State::finish(Container& container, std::optional<int> status) {
  const os::Cgroup group(container.state.cgroup);
  ContainerStatus& now = container.status;
  now.out_of_memory = group.usage().oom_kills > 0;
  now.state = status ? ContainerState::exited : ContainerState::lost;
  if (status) now.exit_code = os::exit_code_of(*status);
  const auto recorded = bundle(container.id).read<BundleWait>(kWaitFile);
  now.finished = recorded ? recorded->finished : clock.wall();
  now.pid = 0;
  container.pidfd.reset();
  TRY(bundle(container.id)
          .write(kExitFile, BundleExit{now.state, now.exit_code, now.out_of_memory, now.finished}));
  if (logs) logs->drain(container.id, kDrain);
  take_away_mount_points(container.state);
  return group.remove();
}

Result<ContainerStatus> Engine::State::settle(Container& container, bool give_up) {
  if (container.status.state != ContainerState::running) return container.status;
  reap_execs(container.id);
  const std::optional<int> status = wait_status(container);
  const auto start_time = os::process_start_time(container.state.pid);
  const bool exists = container.pidfd && start_time && *start_time == container.state.start_time;
  if (!status && exists && (!give_up || !os::process_ended(container.state.pid, container.state.start_time)))
    return container.status;
  // Reaped by another, and its word is not here yet: it comes soon or never.
  if (!status && !give_up) return container.status;
  if (auto finished = finish(container, status); !finished)
    log_event(Level::warn, "container.cleanup_failed",
              {{"container", container.id}, {"error", finished.error().message()}});
  container.show();
  return container.status;
}

Result<ContainerStatus> Engine::settle(const std::string& id, bool give_up) {
  const auto container = TRY(state_->find(id));
  const std::lock_guard guard(container->mutex);
  return state_->settle(*container, give_up);
}

void Engine::State::reap_execs(const std::string& container) {
  std::vector<std::shared_ptr<Exec>> mine;
  {
    const std::lock_guard guard(mutex);
    for (const auto& [id, exec] : execs)
      if (exec->container == container) mine.push_back(exec);
  }
  for (const auto& exec : mine) {
    const std::lock_guard guard(exec->mutex);
    if (exec->exit_code) continue;
    const auto reaped = os::pidfd_reap(exec->pidfd.get());
    if (reaped && *reaped) exec->exit_code = os::exit_code_of(**reaped);
  }
}

Result<void> Engine::signal(const std::string& id, int signal) {
  const auto container = TRY(state_->find(id));
  const std::lock_guard guard(container->mutex);
  if (!container->pidfd) return fail(Code::conflict, "container {} is not running", id);
  auto sent = os::pidfd_send_signal(container->pidfd.get(), signal);
  if (!sent && sent.error().code == Code::not_found) return {};  // it ended just now
  return sent;
}

// On disk as well: who adopts it tells what ended by itself from what was stopped. A disk that is full keeps
// nothing from being stopped.
void Engine::State::note_stop(Container& container) {
  const auto ended = os::pidfd_wait(container.pidfd.get(), 0ms);
  if (container.status.stop_asked || !ended || *ended) return;
  container.status.stop_asked = true;
  container.show();
  if (auto written = bundle(container.id).write(kStopFile, BundleStop{clock.wall()}); !written)
    log_event(Level::warn, "container.stop_not_noted",
              {{"container", container.id}, {"error", written.error().message()}});
}

Result<ContainerStatus> Engine::stop(const std::string& id, std::optional<milliseconds> grace) {
  const auto container = TRY(state_->find(id));
  Fd pidfd;
  int first = SIGTERM;
  milliseconds patience{};
  {
    const std::lock_guard guard(container->mutex);
    if (container->status.state != ContainerState::running) return container->status;
    pidfd = running(*container).pidfd;
    first = TRY(parse_signal(container->spec.stop_signal));
    patience = grace.value_or(container->spec.stop_grace);
    state_->note_stop(*container);
  }
  // The lock is not held while waiting, so that the exit may be settled by whoever sees it first.
  const auto ends_within = [&](milliseconds timeout) -> Result<bool> {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (true) {
      state_->reap_execs(id);
      const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
      if (TRY(os::pidfd_wait(pidfd.get(), std::clamp(left, 0ms, 50ms)))) return true;
      if (left <= 0ms) return false;
    }
  };
  bool ended = false;
  if (patience > 0ms) {
    [[maybe_unused]] const auto asked = os::pidfd_send_signal(pidfd.get(), first);
    ended = TRY(ends_within(patience));
  }
  if (!ended) {
    [[maybe_unused]] const auto killed = os::pidfd_send_signal(pidfd.get(), SIGKILL);
    ended = TRY(ends_within(kKillPatience));
  }
  if (!ended)
    return fail(Code::timeout, "container {} did not end within {} of SIGKILL", id, humanize(kKillPatience));
  // An adopted one is reaped by its parent, which then records its status: give it a moment.
  const auto deadline = std::chrono::steady_clock::now() + 1s;
  while (true) {
    const bool late = std::chrono::steady_clock::now() > deadline;
    ContainerStatus status = TRY(settle(id, late));
    if (status.state != ContainerState::running || late) return status;
    std::this_thread::sleep_for(5ms);
  }
}

Result<void> Engine::remove(const std::string& id) {
  const auto container = state_->find(id);
  if (!container) return {};
  const std::lock_guard guard((*container)->mutex);
  if ((*container)->status.state == ContainerState::running)
    return fail(Code::conflict, "container {} is running: stop it first", id);
  if (state_->logs) state_->logs->remove(id);
  TRY(os::Cgroup((*container)->state.cgroup).remove());
  TRY(os::remove_tree(state_->bundle(id).folder()));
  TRY(os::remove_tree(state_->paths.logs / id));
  state_->reap_execs(id);
  const std::lock_guard map_guard(state_->mutex);
  std::erase_if(state_->execs, [&](const auto& entry) { return entry.second->container == id; });
  state_->containers.erase(id);
  return {};
}

Result<ContainerStatus> Engine::status(const std::string& id) const {
  const auto container = TRY(state_->find(id));
  const std::lock_guard guard(container->mutex);
  return container->status;
}

std::vector<ContainerStatus> Engine::list() const {
  std::vector<ContainerStatus> all;
  for (const auto& container : state_->all()) {
    ContainerStatus status = container->shown();
    if (status.state != ContainerState::created) all.push_back(std::move(status));
  }
  return all;
}

Result<ContainerSpec> Engine::spec(const std::string& id) const {
  return TRY(state_->find(id))->spec;
}

bool write_alike(const ContainerMount& a, const ContainerMount& b) {
  if (a.read_only || b.read_only || a.kind != b.kind) return false;
  if (a.kind == MountKind::bind) return folders_meet(a.source, b.source);
  return a.kind == MountKind::volume && a.source == b.source;
}

std::vector<std::string> Engine::writers_of(const ContainerMount& where) const {
  std::vector<std::string> ids;
  for (const auto& container : state_->all()) {
    if (!std::ranges::any_of(container->spec.mounts,
                             [&](const ContainerMount& mount) { return write_alike(mount, where); }))
      continue;
    if (container->shown().state == ContainerState::running) ids.push_back(container->id);
  }
  return ids;
}

std::set<Digest> Engine::layers_in_use() const {
  std::set<Digest> layers;
  for (const auto& container : state_->all())
    layers.insert(container->spec.layers.begin(), container->spec.layers.end());
  return layers;
}

void Engine::remove_groups() const {
  state_->cgroups.remove_parents();
}

Result<Stats> Engine::stats(const std::string& id) const {
  const auto container = TRY(state_->find(id));
  const std::lock_guard guard(container->mutex);
  if (!container->pidfd) return fail(Code::conflict, "container {} is not running", id);
  const os::CgroupUsage usage = os::Cgroup(container->state.cgroup).usage();
  return Stats{usage.memory_bytes, usage.memory_limit, usage.cpu_usec, usage.pids,
               state_->logs ? state_->logs->dropped(id) : 0};
}

}  // namespace naru::container
