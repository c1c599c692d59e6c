#include "container/spawn.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

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

}  // namespace

Result<Spawned> spawn(StartPlan& plan, std::string_view what) {
  Stack stack;
  int pidfd = -1, pid = -1, saved = 0;
  {
    const BlockedSignals blocked;
    const int network = plan.netns < 0 ? CLONE_NEWNET : 0;
    constexpr int kFlags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC |
                           CLONE_NEWUTS | SIGCHLD;
    pid = ::clone(start_child, stack.top(), kFlags | network, &plan, &pidfd);
    saved = errno;
  }
  errno = saved;
  if (pid < 0) return fail_errno(Code::system, "container {}: clone", what);
  Spawned spawned{pid, Fd(pidfd)};
  if (plan.failure.step == nullptr) return spawned;
  reap(pid);
  return explain(plan.failure, plan.finish.argv[0], what);
}

Result<Spawned> spawn(EnterPlan& plan, std::string_view what) {
  Stack stack, inner;
  plan.stack = inner.top();
  int pid = -1, saved = 0;
  {
    const BlockedSignals blocked;
    pid = ::clone(enter_child, stack.top(), CLONE_VM | CLONE_VFORK | SIGCHLD, &plan);
    saved = errno;
  }
  errno = saved;
  if (pid < 0) return fail_errno(Code::system, "container {}: clone", what);
  reap(pid);
  if (plan.failure.step != nullptr) {
    if (plan.pid > 0) reap(plan.pid);
    return explain(plan.failure, plan.finish.argv[0], what);
  }
  if (plan.pid <= 0) return fail(Code::conflict, "container {} ended while it was being entered", what);
  // Not reaped yet, so the number is still its own.
  return Spawned{plan.pid, TRY(os::pidfd_open(plan.pid))};
}

}  // namespace naru::container
