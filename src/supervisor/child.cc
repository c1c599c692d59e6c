#include "supervisor/child.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace naru::supervisor {

namespace {

// Between fork and exec only what is async-signal-safe.
[[noreturn]] void become(const ChildSpec& spec, char* const* argv, int log, pid_t supervisor) {
  sigset_t held;
  sigemptyset(&held);
  for (const int signal : spec.held_signals) sigaddset(&held, signal);
  ::pthread_sigmask(SIG_SETMASK, &held, nullptr);
  ::setsid();
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  for (const int fd : spec.fds) ::fcntl(fd, F_SETFD, 0);
  if (spec.user) {
    const gid_t group = spec.user->gid;
    if (::setgroups(1, &group) != 0 || ::setresgid(group, group, group) != 0 ||
        ::setresuid(spec.user->uid, spec.user->uid, spec.user->uid) != 0)
      ::_exit(125);
    // No set-uid file gives the user `naru` more than it has.
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) ::_exit(125);
  }
  // After setuid, which clears it. The supervisor may be gone already.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != supervisor) ::_exit(125);
  if (spec.program_fd < 0)
    ::execv("/proc/self/exe", argv);
  else
    ::syscall(SYS_execveat, spec.program_fd, "", argv, environ, AT_EMPTY_PATH);
  ::_exit(126);
}

}  // namespace

Result<pid_t> start_child(const ChildSpec& spec) {
  std::vector<std::string> arguments{"naru", spec.name};
  arguments.insert(arguments.end(), spec.arguments.begin(), spec.arguments.end());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const Fd log(::open(spec.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
  if (!log) return fail_errno(Code::system, "{}: open", spec.log_path);
  const pid_t supervisor = ::getpid();
  // The child is born with all signals held: one may come before it says which ones it holds.
  sigset_t every, before;
  sigfillset(&every);
  ::pthread_sigmask(SIG_SETMASK, &every, &before);
  const pid_t pid = ::fork();
  if (pid == 0) become(spec, argv.data(), log.get(), supervisor);
  const int error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  if (pid < 0) return fail_errno(Code::system, "{}: fork", spec.name);
  return pid;
}

}  // namespace naru::supervisor
