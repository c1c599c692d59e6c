// Entering a running container: all its namespaces, its cgroup, its filter and capabilities.
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <termios.h>

#include "base/rng.h"
#include "container/engine_state.h"
#include "container/plan.h"
#include "container/spawn.h"
#include "os/file.h"
#include "os/process.h"

namespace naru::container {

namespace {

constexpr std::size_t kMaxExecs = 256;  // running at once, per engine

Result<void> check(const ExecSpec& spec) {
  ContainerSpec as_container;
  as_container.id = "exec";
  as_container.argv = spec.argv;
  as_container.env = spec.env;
  if (!spec.cwd.empty()) as_container.cwd = spec.cwd;
  return validate(as_container);
}

// The master of a pty of the container's own devpts. The container may have put anything at that name.
Result<Fd> open_pty(int root, const ExecSpec& spec) {
  Fd master = TRY(os::open_in_root(root, "/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK));
  struct statfs kind{};
  struct stat info{};
  if (::fstatfs(master.get(), &kind) != 0 || ::fstat(master.get(), &info) != 0)
    return fail_errno(Code::system, "stat the container's ptmx");
  if (kind.f_type != DEVPTS_SUPER_MAGIC || info.st_rdev != ::makedev(5, 2))
    return fail(Code::forbidden, "the container's /dev/pts/ptmx is not a terminal multiplexer");
  const int unlock = 0;
  const winsize size{spec.rows, spec.cols, 0, 0};
  if (::ioctl(master.get(), TIOCSPTLCK, &unlock) != 0 || ::ioctl(master.get(), TIOCSWINSZ, &size) != 0)
    return fail_errno(Code::system, "set up the pty");
  ::fcntl(master.get(), F_SETFL, ::fcntl(master.get(), F_GETFL) & ~O_NONBLOCK);
  return master;
}

struct Ends {
  Fd ours, theirs;
};

Result<Ends> make_pipe(bool they_read) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return fail_errno(Code::system, "pipe");
  Fd reader(fds[0]), writer(fds[1]);
  return they_read ? Ends{std::move(writer), std::move(reader)} : Ends{std::move(reader), std::move(writer)};
}

Result<void> connect(const ExecSpec& spec, int root, const Identity& identity, PreparedEnter& prepared,
                     StartedExec& started) {
  Finish& finish = prepared.plan.finish;
  if (spec.tty) {
    started.pty = TRY(open_pty(root, spec));
    Fd slave(::ioctl(started.pty.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!slave) return fail_errno(Code::system, "open the pty's other end");
    if (::fchown(slave.get(), identity.uid, 5) != 0) return fail_errno(Code::system, "chown the pty");
    finish.terminal = prepared.held.emplace_back(std::move(slave)).get();
    return {};
  }
  Fd* ours[3] = {&started.in, &started.out, &started.err};
  for (int i = 0; i < 3; ++i) {
    Ends ends = TRY(make_pipe(i == 0));
    *ours[i] = std::move(ends.ours);
    // Programs that run as another user open /dev/stdout again.
    if (::fchown(ends.theirs.get(), identity.uid, identity.gid) != 0)
      return fail_errno(Code::system, "chown a pipe");
    finish.stdio[i] = prepared.held.emplace_back(std::move(ends.theirs)).get();
  }
  return {};
}

}  // namespace

Result<StartedExec> Engine::exec(const std::string& id, const ExecSpec& spec) {
  TRY(check(spec));
  const auto container = TRY(state_->find(id));
  const std::lock_guard guard(container->mutex);
  if (!container->pidfd) return fail(Code::conflict, "container {} is not running", id);
  {
    const std::lock_guard map_guard(state_->mutex);
    if (state_->execs.size() >= kMaxExecs)
      return fail(Code::too_large, "{} commands are being executed in containers already", kMaxExecs);
  }
  const Fd root = TRY(os::open_folder(fmt::format("/proc/{}/root", container->state.pid)));
  // If it lives still, the number was its own when the folder was opened.
  if (TRY(os::pidfd_wait(container->pidfd.get(), 0ms)))
    return fail(Code::conflict, "container {} has ended", id);

  PreparedEnter prepared;
  StartedExec started;
  started.id = fmt::format("{}.{}", id, secure_random_hex(6));
  prepared.identity = TRY(resolve_user_in(spec.user.empty() ? container->spec.user : spec.user, root.get()));
  std::vector<std::string> env = environment_of(container->spec, prepared.identity, spec.env);
  if (spec.tty &&
      std::ranges::none_of(env, [](const std::string& entry) { return entry.starts_with("TERM="); }))
    env.emplace_back("TERM=xterm");
  EnterPlan& plan = prepared.plan;
  fill_finish(plan.finish, prepared.arena,
              {spec.argv, env, spec.cwd.empty() ? container->spec.cwd : spec.cwd, prepared.identity,
               // It was started with what it has.
               TRY(capabilities_of(container->spec, container->spec.cap_add)), state_->seccomp,
               container->spec.parent_cgroup == "builds"});
  TRY(connect(spec, root.get(), prepared.identity, prepared, started));
  for (Fd& file : TRY(os::Cgroup(container->state.cgroup).join_files()))
    prepared.join.push_back(prepared.held.emplace_back(std::move(file)).get());
  plan.join = prepared.join.data();
  plan.join_count = prepared.join.size();
  plan.pidfd = container->pidfd.get();

  Spawned spawned = TRY(spawn(plan, id, state_->options.spawn_patience));
  auto exec = std::make_shared<Exec>();
  exec->container = id;
  started.pidfd.reset(::fcntl(spawned.pidfd.get(), F_DUPFD_CLOEXEC, 3));
  exec->pidfd = std::move(spawned.pidfd);
  const std::lock_guard map_guard(state_->mutex);
  state_->execs[started.id] = exec;
  return started;
}

namespace {
std::unexpected<Error> unknown_exec(const std::string& id) {
  return fail(Code::not_found, "there is no exec {}", id.substr(0, 100));
}
}  // namespace

Result<std::optional<int>> Engine::finish_exec(const std::string& id) {
  std::shared_ptr<Exec> exec;
  {
    const std::lock_guard guard(state_->mutex);
    const auto found = state_->execs.find(id);
    if (found == state_->execs.end()) return unknown_exec(id);
    exec = found->second;
  }
  const std::lock_guard guard(exec->mutex);
  if (!exec->exit_code) {
    const auto reaped = TRY(os::pidfd_reap(exec->pidfd.get()));
    if (!reaped) return std::optional<int>{};
    exec->exit_code = os::exit_code_of(*reaped);
  }
  const std::lock_guard map_guard(state_->mutex);
  state_->execs.erase(id);
  return exec->exit_code;
}

Result<void> Engine::kill_exec(const std::string& id, int signal) {
  std::shared_ptr<Exec> exec;
  {
    const std::lock_guard guard(state_->mutex);
    const auto found = state_->execs.find(id);
    if (found == state_->execs.end()) return unknown_exec(id);
    exec = found->second;
  }
  const std::lock_guard guard(exec->mutex);
  if (exec->exit_code) return {};
  auto sent = os::pidfd_send_signal(exec->pidfd.get(), signal);
  if (!sent && sent.error().code == Code::not_found) return {};
  return sent;
}

}  // namespace naru::container
