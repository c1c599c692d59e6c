#include "container/spawn.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "os/process.h"

namespace naru::container {

namespace {

constexpr std::size_t kStackBytes = 128 << 10;

class Stack {
 public:
  Stack() : bytes_(kStackBytes) {}
  void* top() {
    char* const end = bytes_.data() + bytes_.size();
    return end - reinterpret_cast<std::uintptr_t>(end) % 64;
  }

 private:
  std::vector<char> bytes_;
};

// A handler must never run in the child: it would work on this process's memory.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &old_);
  }
  ~BlockedSignals() { ::pthread_sigmask(SIG_SETMASK, &old_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t old_{};
};

std::unexpected<Error> explain(const Failure& failure, const char* program, std::string_view what) {
  Code code = Code::system;
  if (std::string_view(failure.step) == "execute") {
    code = failure.error == ENOENT ? Code::command_not_found : Code::command_not_executable;
    if (failure.error == ENOENT)
      return std::unexpected(
          Error{code,
                fmt::format("container {}: '{}' does not exist in the image, or its interpreter does not",
                            what, program),
                failure.error,
                {}});
    if (failure.error == EWOULDBLOCK || failure.error == EINTR)
      return std::unexpected(Error{
          code,
          fmt::format("container {}: '{}' or its interpreter is held back by a lease (fcntl F_SETLEASE) "
                      "of a process of the same image or volume",
                      what, program),
          failure.error, "end the process that took the lease, or do not take one on programs"});
  }
  return std::unexpected(
      Error{code, fmt::format("container {}: {} {}", what, failure.step, failure.object), failure.error, {}});
}

void reap(pid_t pid) {
  while (::waitpid(pid, nullptr, __WALL) < 0 && errno == EINTR) {
  }
}

// The thread that clones is suspended until the child executes or ends, so another one looks at the clock.
class Watchdog {
 public:
  Watchdog(milliseconds patience, std::function<void()> kill)
      : thread_([this, patience, kill = std::move(kill)] {
          std::unique_lock lock(mutex_);
          auto wait = patience;
          while (!changed_.wait_for(lock, wait, [this] { return over_; })) {
            fired_ = true;
            kill();  // again and again: what it starts may have started just then
            wait = milliseconds(100);
          }
        }) {}
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  ~Watchdog() { stop(); }
  // True when it had to kill. Afterwards it kills nobody.
  bool stop() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
    return fired_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false, fired_ = false;
  std::thread thread_;  // last: it uses the others
};

// Written by the kernel before the child runs.
int written(int& value) {
  return std::atomic_ref(value).load();
}

void kill_by(int& pidfd) {
  const int fd = written(pidfd);
  if (fd < 0) return;
  [[maybe_unused]] const auto ended_meanwhile = os::pidfd_send_signal(fd, SIGKILL);
}

std::unexpected<Error> too_slow(std::string_view what, milliseconds patience) {
  return std::unexpected(
      Error{Code::system,
            fmt::format("container {}: its program had not begun after {}; it was killed", what,
                        humanize(patience)),
            0, "see what this machine waits for: its disks, a network file system below the data folder"});
}

}  // namespace

Result<Spawned> spawn(StartPlan& plan, std::string_view what, milliseconds patience) {
  Stack stack;
  int pidfd = -1, pid = -1, saved = 0;
  Watchdog watchdog(patience, [&pidfd] { kill_by(pidfd); });
  {
    const BlockedSignals blocked;
    const int network = plan.netns < 0 ? CLONE_NEWNET : 0;
    constexpr int kFlags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC |
                           CLONE_NEWUTS | SIGCHLD;
    pid = ::clone(start_child, stack.top(), kFlags | network, &plan, &pidfd);
    saved = errno;
  }
  const bool killed = watchdog.stop();
  errno = saved;
  if (pid < 0) return fail_errno(Code::system, "container {}: clone", what);
  Spawned spawned{pid, Fd(pidfd)};
  if (plan.failure.step == nullptr && !killed) return spawned;
  reap(pid);
  if (killed) return too_slow(what, patience);
  return explain(plan.failure, plan.finish.argv[0], what);
}

Result<Spawned> spawn(EnterPlan& plan, std::string_view what, milliseconds patience) {
  Stack stack, inner;
  plan.stack = inner.top();
  int pidfd = -1, pid = -1, saved = 0;
  // The inner one first: it works on our memory, and the outer one ends by itself when it has ended. Neither
  // is reaped before the watchdog has stopped, so the numbers are theirs.
  Watchdog watchdog(patience, [&] {
    if (const int program = written(plan.pid); program > 0)
      ::kill(program, SIGKILL);
    else
      kill_by(pidfd);
  });
  {
    const BlockedSignals blocked;
    pid = ::clone(enter_child, stack.top(), CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &plan, &pidfd);
    saved = errno;
  }
  const bool killed = watchdog.stop();
  errno = saved;
  if (pid < 0) return fail_errno(Code::system, "container {}: clone", what);
  const Fd outer(pidfd);
  reap(pid);
  if (plan.failure.step != nullptr || killed) {
    if (plan.pid > 0) ::kill(plan.pid, SIGKILL);
    if (plan.pid > 0) reap(plan.pid);
    if (killed) return too_slow(what, patience);
    return explain(plan.failure, plan.finish.argv[0], what);
  }
  if (plan.pid <= 0) return fail(Code::conflict, "container {} ended while it was being entered", what);
  // Not reaped yet, so the number is still its own.
  return Spawned{plan.pid, TRY(os::pidfd_open(plan.pid))};
}

}  // namespace naru::container
