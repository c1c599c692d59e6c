#include "os/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <charconv>

#include "os/file.h"

namespace naru::os {

namespace {
// linux/pidfd.h of Linux 6.15; older headers lack it.
struct PidfdInfo {
  std::uint64_t mask, cgroupid;
  std::uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
  std::int32_t exit_code;
};
constexpr std::uint64_t kPidfdInfoExit = 1 << 3;

struct Stat {
  char state = '?';
  std::uint64_t start_time = 0;
};

Result<Stat> read_stat(pid_t pid) {
  auto text = read_file(fmt::format("/proc/{}/stat", pid), 4096);
  if (!text) return fail(Code::not_found, "there is no process {}", pid);
  // The command's name may contain anything, ')' too: fields begin behind the last one.
  const auto end = text->rfind(')');
  if (end == std::string::npos || end + 2 >= text->size())
    return fail(Code::malformed, "/proc/{}/stat has no command name", pid);
  std::string_view rest = std::string_view(*text).substr(end + 2);
  Stat stat{rest[0], 0};
  for (int field = 3; field < 22; ++field) {
    const auto space = rest.find(' ');
    if (space == std::string_view::npos)
      return fail(Code::malformed, "/proc/{}/stat has only {} fields", pid, field);
    rest.remove_prefix(space + 1);
  }
  std::from_chars(rest.data(), rest.data() + rest.size(), stat.start_time);
  return stat;
}
}  // namespace

Result<std::uint64_t> process_start_time(pid_t pid) {
  return TRY(read_stat(pid)).start_time;
}

bool process_ended(pid_t pid, std::uint64_t start_time) {
  const auto stat = read_stat(pid);
  return !stat || stat->start_time != start_time || stat->state == 'Z' || stat->state == 'X';
}

Result<std::string> boot_id() {
  std::string id = TRY(read_file("/proc/sys/kernel/random/boot_id", 128));
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

Result<Fd> pidfd_open(pid_t pid) {
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) return fail_errno(errno == ESRCH ? Code::not_found : Code::system, "pidfd_open {}", pid);
  return fd;
}

Result<void> pidfd_send_signal(int pidfd, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) != 0)
    return fail_errno(errno == ESRCH ? Code::not_found : Code::system, "pidfd_send_signal {}", signal);
  return {};
}

Result<bool> pidfd_wait(int pidfd, milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (true) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd entry{pidfd, POLLIN, 0};
    const int ready = ::poll(&entry, 1, std::max(0, static_cast<int>(left.count())));
    if (ready > 0) return true;
    if (ready == 0) return false;
    if (errno != EINTR) return fail_errno(Code::system, "poll of a pidfd");
  }
}

Result<std::optional<int>> pidfd_reap(int pidfd) {
  siginfo_t info{};
  while (::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG) != 0) {
    if (errno == EINTR) continue;
    return fail_errno(errno == ECHILD ? Code::not_found : Code::system, "waitid");
  }
  if (info.si_pid == 0) return std::optional<int>{};
  if (info.si_code == CLD_EXITED) return std::optional<int>((info.si_status & 0xff) << 8);
  return std::optional<int>((info.si_status & 0x7f) | (info.si_code == CLD_DUMPED ? 0x80 : 0));
}

std::optional<int> pidfd_exit_status(int pidfd) {
  PidfdInfo info{};
  info.mask = kPidfdInfoExit;
  if (::ioctl(pidfd, _IOWR(0xFF, 11, PidfdInfo), &info) != 0 || (info.mask & kPidfdInfoExit) == 0)
    return std::nullopt;
  return info.exit_code;
}

void give_up_first(pid_t pid) {
  [[maybe_unused]] const auto written =
      write_existing(fmt::format("/proc/{}/oom_score_adj", pid), "500");  // proc(5): 1000 is the first of all
}

int exit_code_of(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

}  // namespace naru::os
