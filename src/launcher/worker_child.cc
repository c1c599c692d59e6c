#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "launcher/worker.h"
#include "os/file.h"
#include "os/mount.h"

namespace naru::launcher {

namespace {

constexpr std::size_t kMaxJobs = 32;
constexpr rlim_t kMaxAddressSpace = 2ULL << 30;
constexpr rlim_t kMaxFileSize = 64ULL << 30;
constexpr milliseconds kAnswer{10'000};

// What unpacking, copying and diffing as root need; SYS_ADMIN because trusted.* attributes (overlayfs) ask
// for it.
constexpr std::array kKept{CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER,
                           CAP_FSETID, CAP_MKNOD,        CAP_SETFCAP,         CAP_SYS_ADMIN};

// With SYS_ADMIN kept these would be ways out; no job needs them.
constexpr std::array kForbidden{"mount",
                                "umount2",
                                "pivot_root",
                                "chroot",
                                "fsopen",
                                "fsconfig",
                                "fsmount",
                                "fspick",
                                "move_mount",
                                "open_tree",
                                "mount_setattr",
                                "unshare",
                                "setns",
                                "fork",
                                "vfork",
                                "execve",
                                "execveat",
                                "ptrace",
                                "process_vm_readv",
                                "process_vm_writev",
                                "bpf",
                                "perf_event_open",
                                "keyctl",
                                "add_key",
                                "request_key",
                                "init_module",
                                "finit_module",
                                "delete_module",
                                "kexec_load",
                                "kexec_file_load",
                                "open_by_handle_at",
                                "name_to_handle_at",
                                "swapon",
                                "swapoff",
                                "reboot",
                                "sethostname",
                                "setdomainname",
                                "quotactl",
                                "socket",
                                "socketpair",
                                "connect",
                                "bind",
                                "io_uring_setup",
                                "userfaultfd",
                                "fanotify_init",
                                "acct",
                                "settimeofday",
                                "clock_settime",
                                "adjtimex",
                                "syslog",
                                "iopl",
                                "ioperm",
                                "personality",
                                "lookup_dcookie",
                                "nfsservctl",
                                "vhangup"};

Result<void> attach(int mount, const std::string& place) {
  const std::string target = "/" + place;
  if (::mkdir(target.c_str(), 0755) != 0 && errno != EEXIST)
    return fail_errno(Code::system, "worker: mkdir {}", target);
  if (::syscall(SYS_move_mount, mount, "", AT_FDCWD, target.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0)
    return fail_errno(Code::system, "worker: attach {}", target);
  return {};
}

Result<Fd> prepare(const WorkerFolder& folder) {
  const std::uint64_t attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
                                   (folder.access == FolderAccess::read_only ? MOUNT_ATTR_RDONLY : 0);
  if (folder.root.empty())
    return os::overlay_mount({.lower = folder.lower, .upper = folder.upper, .work = folder.work}, attributes,
                             "/mnt");
  // Opened here and not by the launcher: a mount can be copied only within its own mount namespace.
  const Fd root = TRY(os::open_folder(folder.root));
  if (folder.path.empty()) return os::bind_mount(root.get(), attributes);
  const Fd below = TRY(os::open_beneath(root.get(), folder.path, O_PATH | O_DIRECTORY | O_CLOEXEC));
  return os::bind_mount(below.get(), attributes);
}

Result<void> enter_root(const std::vector<WorkerFolder>& folders) {
  // Nothing that is mounted here may show up outside.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return fail_errno(Code::system, "worker: private mounts");
  std::vector<Fd> mounts;
  for (const WorkerFolder& folder : folders) mounts.push_back(TRY(prepare(folder)));
  const Fd root =
      TRY(os::tmpfs_mount(1U << 20, "0755", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
  if (::syscall(SYS_move_mount, root.get(), "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) != 0)
    return fail_errno(Code::system, "worker: attach the root");
  // pivot_root(".", "."): the old root lands on top of the new one and is taken away from there
  // (pivot_root(2)).
  if (::chdir("/proc") != 0 || ::syscall(SYS_pivot_root, ".", ".") != 0 || ::umount2(".", MNT_DETACH) != 0 ||
      ::chdir("/") != 0)
    return fail_errno(Code::system, "worker: pivot_root");
  for (std::size_t i = 0; i < folders.size(); ++i) TRY(attach(mounts[i].get(), folders[i].place));
  // Read-only: its sysctls are the host's.
  if (::mkdir("/proc", 0555) != 0 ||
      ::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, nullptr) != 0)
    return fail_errno(Code::system, "worker: mount /proc");
  if (::mkdir("/tmp", 0700) != 0) return fail_errno(Code::system, "worker: mkdir /tmp");
  return {};
}

Result<void> drop_capabilities() {
  std::uint64_t kept = 0;
  for (const int capability : kKept) kept |= std::uint64_t{1} << capability;
  for (int capability = 0; capability <= 63; ++capability)
    if ((kept >> capability & 1) == 0 && ::prctl(PR_CAPBSET_DROP, capability) != 0 && errno != EINVAL)
      return fail_errno(Code::system, "worker: drop capability {} from the bounding set", capability);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data{};
  for (std::size_t i = 0; i < data.size(); ++i) {
    data[i].effective = data[i].permitted = static_cast<std::uint32_t>(kept >> (32 * i));
  }
  if (::syscall(SYS_capset, &header, data.data()) != 0) return fail_errno(Code::system, "worker: capset");
  return {};
}

Result<void> forbid_calls() {
  const std::unique_ptr<void, decltype(&seccomp_release)> filter(seccomp_init(SCMP_ACT_ALLOW),
                                                                 &seccomp_release);
  if (!filter) return fail(Code::system, "worker: seccomp_init");
  for (const char* name : kForbidden) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number < 0) continue;  // not on this machine
    if (const int error = seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EPERM), number, 0); error != 0) {
      errno = -error;
      return fail_errno(Code::system, "worker: seccomp rule for {}", name);
    }
  }
  // Threads are fine (a compressor may use one), processes and new namespaces are not. What clone3 asks for
  // stands in memory, where a filter cannot look: libc falls back to clone.
  if (seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) != 0 ||
      seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                       SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0)) != 0)
    return fail(Code::system, "worker: seccomp rules for new processes");
  for (const unsigned flag : {CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET})
    if (seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                         SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag)) != 0)
      return fail(Code::system, "worker: seccomp rule for clone");
  if (const int error = seccomp_load(filter.get()); error != 0) {
    errno = -error;
    return fail_errno(Code::system, "worker: seccomp_load");
  }
  return {};
}

void limit(__rlimit_resource resource, rlim_t value) {
  rlimit current{};
  if (::getrlimit(resource, &current) != 0) return;
  current.rlim_max = std::min(current.rlim_max, value);
  current.rlim_cur = current.rlim_max;
  ::setrlimit(resource, &current);
}

// A job holds what it was given and nothing of the nursery's: over the nursery's channel it could start jobs
// with folders of its own choice.
void close_all_but(std::vector<int> kept) {
  std::ranges::sort(kept);
  unsigned first = 3;
  for (const int fd : kept) {
    const auto number = static_cast<unsigned>(fd);
    if (number < first) continue;
    if (number > first) ::syscall(SYS_close_range, first, number - 1, 0U);
    first = number + 1;
  }
  ::syscall(SYS_close_range, first, ~0U, 0U);
}

[[noreturn]] void run_job(ipc::Message message, const JobTable& table) {
  std::vector<int> given;
  for (const Fd& fd : message.fds) given.push_back(fd.get());
  close_all_but(std::move(given));
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  sigset_t none;
  sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
  // Not the launcher's protection: what a user's bytes make of memory is the worker's own death.
  [[maybe_unused]] const auto refused_nowhere = os::write_existing("/proc/self/oom_score_adj", "500");
  ipc::Channel answer(std::move(message.fds.front()));
  message.fds.erase(message.fds.begin());
  const auto work = [&]() -> Result<Json> {
    const std::string kind = message.body.value("kind", "");
    const auto function = table.find(kind);
    if (function == table.end()) return fail(Code::internal, "there is no worker '{}'", kind);
    TRY(confine(message.body.value("folders", std::vector<WorkerFolder>{})));
    return function->second(message.body.value("arguments", Json::object()), message.fds);
  };
  Result<Json> result = fail(Code::internal, "the worker did nothing");
  try {
    result = work();
  } catch (const std::bad_alloc&) {
    result = fail(Code::too_large, "the worker needs more memory than {} GiB", kMaxAddressSpace >> 30);
  } catch (const std::exception& problem) {
    result = fail(Code::internal, "the worker ended by {}", problem.what());
  }
  const Json body = result ? Json{{"result", *result}} : Json{{"error", ipc::error_to_json(result.error())}};
  ::_exit(answer.send(body, kAnswer) ? 0 : 1);
}

struct Children {
  std::map<std::uint64_t, pid_t> jobs;

  void reap() {
    int status = 0;
    for (pid_t pid = ::waitpid(-1, &status, WNOHANG); pid > 0; pid = ::waitpid(-1, &status, WNOHANG))
      std::erase_if(jobs, [&](const auto& entry) { return entry.second == pid; });
  }
  void kill(std::uint64_t job) const {
    if (const auto found = jobs.find(job); found != jobs.end()) ::kill(found->second, SIGKILL);
  }
};

void start_job(ipc::Message message, const JobTable& table, Children& children) {
  if (message.fds.empty()) return;
  if (children.jobs.size() >= kMaxJobs) {
    ipc::Channel answer(std::move(message.fds.front()));
    const Error busy{Code::unavailable, fmt::format("{} workers run already", kMaxJobs), 0, {}};
    [[maybe_unused]] const auto sent = answer.send({{"error", ipc::error_to_json(busy)}}, 1s);
    return;
  }
  constexpr unsigned long kFlags =
      CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | SIGCHLD;
  // As fork(2), into new namespaces; the nursery has one thread, so no lock can be held by another.
  const long pid = ::syscall(SYS_clone, kFlags, nullptr, nullptr, nullptr, nullptr);
  if (pid == 0) run_job(std::move(message), table);
  if (pid > 0) {
    children.jobs[message.body.value("job", std::uint64_t{0})] = static_cast<pid_t>(pid);
    return;
  }
  ipc::Channel answer(std::move(message.fds.front()));
  const Error failed{Code::system, "clone a worker into its namespaces", errno, {}};
  [[maybe_unused]] const auto sent = answer.send({{"error", ipc::error_to_json(failed)}}, 1s);
}

}  // namespace

Result<void> confine(const std::vector<WorkerFolder>& folders) {
  TRY(enter_root(folders));
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_AS, kMaxAddressSpace);
  limit(RLIMIT_FSIZE, kMaxFileSize);
  limit(RLIMIT_NOFILE, 4096);
  ::umask(022);
  ::setpriority(PRIO_PROCESS, 0, 10);  // below production
  TRY(drop_capabilities());
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_errno(Code::system, "worker: no_new_privs");
  return forbid_calls();
}

void run_nursery(ipc::Channel channel, const JobTable& table) {
  close_all_but({channel.fd()});  // neither sockets nor descriptors of networks
  ::prctl(PR_SET_NAME, "naru-nursery");
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGCHLD);
  sigaddset(&signals, SIGTERM);  // the launcher's to decide: it ends, we end
  sigaddset(&signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t child_only;
  sigemptyset(&child_only);
  sigaddset(&child_only, SIGCHLD);
  const Fd child_signal(::signalfd(-1, &child_only, SFD_CLOEXEC | SFD_NONBLOCK));
  Children children;
  while (true) {
    std::array<pollfd, 2> entries{{{channel.fd(), POLLIN, 0}, {child_signal.get(), POLLIN, 0}}};
    if (::poll(entries.data(), entries.size(), -1) < 0 && errno != EINTR) ::_exit(1);
    signalfd_siginfo info{};
    while (::read(child_signal.get(), &info, sizeof info) > 0) {
    }
    children.reap();
    if (entries[0].revents == 0) continue;
    auto messages = channel.read_available();
    if (!messages) ::_exit(0);  // the launcher is gone; PDEATHSIG ends the jobs
    for (ipc::Message& message : *messages) {
      if (message.body.contains("kill"))
        children.kill(message.body.value("kill", std::uint64_t{0}));
      else
        start_job(std::move(message), table, children);
    }
  }
}

}  // namespace naru::launcher
