#include "container/child.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

// The wrappers of libc used below only enter the kernel. Those that do more in a process with threads (setuid
// and its family signal every thread, sigaction and sigprocmask filter) are called raw.
namespace naru::container {

namespace {

bool failed(Failure& failure, const char* step, const char* object = "") {
  if (failure.step == nullptr) failure = {step, object, errno};
  return false;
}

int resolve(int from, const char* path, std::uint64_t flags, std::uint64_t how_to) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = how_to;
  long fd = -1;
  for (int attempt = 0; attempt < 64 && fd < 0; ++attempt) {
    fd = ::syscall(SYS_openat2, from, path, &how, sizeof how);
    if (fd < 0 && errno != EAGAIN && errno != EINTR) break;
  }
  return static_cast<int>(fd);
}

// After the pivot "/" is the container's, so links cannot lead out; magic links are refused since /proc is
// mounted.
int open_inside(const char* path, std::uint64_t flags) {
  return resolve(AT_FDCWD, path, flags, RESOLVE_NO_MAGICLINKS);
}

// Opens the last prefix, making what is missing. A missing last one becomes a file when not `directory`.
int open_or_make(const char* const* prefixes, bool directory, int* created_from) {
  int parent = open_inside("/", O_PATH | O_DIRECTORY);
  for (int i = 0; prefixes[i] != nullptr && parent >= 0; ++i) {
    int next = open_inside(prefixes[i], O_PATH);
    if (next < 0 && errno == ENOENT) {
      const char* name = std::strrchr(prefixes[i], '/') + 1;
      const bool last = prefixes[i + 1] == nullptr;
      int made = 0;
      if (directory || !last)
        made = ::mkdirat(parent, name, 0755);
      else
        made = ::mknodat(parent, name, S_IFREG | 0644, 0);
      if (made == 0 && created_from != nullptr && *created_from < 0) *created_from = i;
      if (made == 0) next = open_inside(prefixes[i], O_PATH);
    }
    const int saved = errno;
    ::close(parent);
    errno = saved;
    parent = next;
  }
  return parent;
}

const char* last_of(const char* const* prefixes) {
  const char* last = "/";
  for (; *prefixes != nullptr; ++prefixes) last = *prefixes;
  return last;
}

bool attach(Failure& failure, Attachment& what) {
  const int target = open_or_make(what.prefixes, what.directory, &what.created_from);
  if (target < 0) return failed(failure, "open mount target", last_of(what.prefixes));
  const int moved =
      ::move_mount(what.mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
  if (moved != 0) failed(failure, "mount on", last_of(what.prefixes));
  ::close(target);
  ::close(what.mount);
  return moved == 0;
}

// The kernel's own file systems must lie at their real place: a link in the image could show a fake one
// (CVE-2019-19921).
bool attach_new(Failure& failure, Attachment& what, const char* type, std::uint64_t attributes) {
  const char* place = last_of(what.prefixes);
  const int context = ::fsopen(type, FSOPEN_CLOEXEC);
  if (context < 0) return failed(failure, "make file system for", place);
  if (::fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return failed(failure, "create file system for", place);
  what.mount = ::fsmount(context, FSMOUNT_CLOEXEC, static_cast<unsigned>(attributes));
  ::close(context);
  if (what.mount < 0) return failed(failure, "mount file system for", place);
  if (!attach(failure, what)) return false;
  const int link_free = resolve(AT_FDCWD, place, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
  if (link_free < 0) return failed(failure, "refuse the image's symbolic link at", place);
  ::close(link_free);
  return true;
}

bool join_groups(Failure& failure, const int* files, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    if (::write(files[i], "0", 1) != 1) return failed(failure, "join cgroup");
  return true;
}

// While /proc is still the host's. A child of vfork has a value of its own although it shares the launcher's
// memory. Where the launcher could not be protected, lowering may be refused, and nothing is lost.
bool set_oom_score(Failure& failure, const char* score) {
  const int file = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  const bool written = file >= 0 && (::write(file, score, std::strlen(score)) > 0 || errno == EACCES);
  if (!written) failed(failure, "write", "/proc/self/oom_score_adj");
  if (file >= 0) ::close(file);
  return written;
}

bool loopback_up(Failure& failure) {
  const int link = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  request.ifr_name[0] = 'l';
  request.ifr_name[1] = 'o';
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  const bool up = link >= 0 && ::ioctl(link, SIOCSIFFLAGS, &request) == 0;
  if (!up) failed(failure, "set the loopback link up");
  if (link >= 0) ::close(link);
  return up;
}

bool join_network(StartPlan& plan) {
  if (plan.netns < 0) return loopback_up(plan.failure);
  return ::setns(plan.netns, CLONE_NEWNET) == 0 || failed(plan.failure, "join the network namespace");
}

bool change_root(StartPlan& plan) {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return failed(plan.failure, "make mounts private");
  if (::move_mount(plan.root, "", AT_FDCWD, plan.root_place, MOVE_MOUNT_F_EMPTY_PATH) != 0)
    return failed(plan.failure, "attach the root file system");
  if (::fchdir(plan.root) != 0) return failed(plan.failure, "enter the root file system");
  // With both names "." the old root ends on top of the new one and is taken off: pivot_root(2).
  if (::syscall(SYS_pivot_root, ".", ".") != 0) return failed(plan.failure, "pivot_root");
  if (::umount2(".", MNT_DETACH) != 0) return failed(plan.failure, "detach the host's root");
  return ::chdir("/") == 0 || failed(plan.failure, "chdir to the new root");
}

// Each node becomes a mount of its own, then /dev gets `nodev`: the nodes work, and one made by mknod does
// not.
bool pin_devices(StartPlan& plan, int dev) {
  for (const char* const* node = plan.device_nodes; *node != nullptr; ++node) {
    const int copy = ::open_tree(dev, *node, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (copy < 0) return failed(plan.failure, "copy device", *node);
    const int moved = ::move_mount(copy, "", dev, *node, MOVE_MOUNT_F_EMPTY_PATH);
    ::close(copy);
    if (moved != 0) return failed(plan.failure, "mount device", *node);
  }
  mount_attr nodev{};
  nodev.attr_set = MOUNT_ATTR_NODEV;
  return ::mount_setattr(dev, "", AT_EMPTY_PATH, &nodev, sizeof nodev) == 0 ||
         failed(plan.failure, "set nodev on", "/dev");
}

bool kernel_mounts(StartPlan& plan) {
  constexpr std::uint64_t kClosed = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  Failure& failure = plan.failure;
  if (!attach_new(failure, plan.proc, "proc", kClosed)) return false;
  if (!attach_new(failure, plan.sys, "sysfs", kClosed | MOUNT_ATTR_RDONLY)) return false;
  if (plan.cgroup.prefixes != nullptr &&
      !attach_new(failure, plan.cgroup, "cgroup2", kClosed | MOUNT_ATTR_RDONLY))
    return false;
  const int dev = ::dup(plan.dev.mount);
  if (!attach(failure, plan.dev) || !attach(failure, plan.pts) || !attach(failure, plan.shm)) return false;
  if (!attach_new(failure, plan.mqueue, "mqueue", kClosed)) return false;
  const bool pinned = pin_devices(plan, dev);
  ::close(dev);
  return pinned;
}

bool cover(Failure& failure, int target, const char* path) {
  struct stat info{};
  if (::fstat(target, &info) != 0) return failed(failure, "stat", path);
  int lid = -1;
  if (S_ISDIR(info.st_mode)) {
    const int context = ::fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (context < 0 || ::fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
      return failed(failure, "make the mask of", path);
    lid = ::fsmount(context, FSMOUNT_CLOEXEC,
                    MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    ::close(context);
  } else {
    lid = ::open_tree(AT_FDCWD, "/dev/null", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
  }
  const bool covered =
      lid >= 0 && ::move_mount(lid, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0;
  if (lid >= 0) ::close(lid);
  return covered || failed(failure, "mask", path);
}

bool freeze(Failure& failure, int target, const char* path) {
  const int copy =
      ::open_tree(target, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
  mount_attr change{};
  change.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  const bool frozen =
      copy >= 0 && ::mount_setattr(copy, "", AT_EMPTY_PATH | AT_RECURSIVE, &change, sizeof change) == 0 &&
      ::move_mount(copy, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0;
  if (copy >= 0) ::close(copy);
  return frozen || failed(failure, "make read-only", path);
}

// Paths that this kernel does not have are skipped.
bool each_path(Failure& failure, const char* const* paths, bool (*change)(Failure&, int, const char*)) {
  for (; *paths != nullptr; ++paths) {
    const int target = resolve(AT_FDCWD, *paths, O_PATH, RESOLVE_NO_SYMLINKS);
    if (target < 0 && errno == ENOENT) continue;
    if (target < 0) return failed(failure, "open", *paths);
    const bool done = change(failure, target, *paths);
    ::close(target);
    if (!done) return false;
  }
  return true;
}

// Only what is attached in this namespace can be copied (open_tree(2)).
bool mounts(StartPlan& plan) {
  const int etc = plan.etc.mount < 0 ? -1 : ::dup(plan.etc.mount);
  if (etc >= 0 && !attach(plan.failure, plan.etc)) return false;
  for (std::size_t i = 0; i < plan.mount_count; ++i) {
    Attachment& mount = plan.mounts[i];
    if (mount.etc != nullptr) mount.mount = ::open_tree(etc, mount.etc, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (mount.mount < 0) return failed(plan.failure, "make a mount of", mount.etc);
    if (!attach(plan.failure, mount)) return false;
  }
  if (etc < 0) return true;
  ::close(etc);
  const char* place = last_of(plan.etc.prefixes);
  return (::umount2(place, MNT_DETACH) == 0 && ::rmdir(place) == 0) ||
         failed(plan.failure, "take away", place);
}

bool file_systems(StartPlan& plan) {
  if (!kernel_mounts(plan) || !mounts(plan)) return false;
  if (!each_path(plan.failure, plan.masked, cover) || !each_path(plan.failure, plan.read_only, freeze))
    return false;
  if (plan.finish.cwd != nullptr) {
    const int cwd = open_or_make(plan.finish.cwd, true, nullptr);
    if (cwd < 0) return failed(plan.failure, "make the working directory", last_of(plan.finish.cwd));
    ::close(cwd);
  }
  if (!plan.read_only_root) return true;
  mount_attr change{};
  change.attr_set = MOUNT_ATTR_RDONLY;
  return ::mount_setattr(plan.root, "", AT_EMPTY_PATH, &change, sizeof change) == 0 ||
         failed(plan.failure, "make read-only", "/");
}

void default_signals() {
  struct {  // the kernel's sigaction, not libc's
    void* handler;
    unsigned long flags;
    void* restorer;
    std::uint64_t mask;
  } action{};
  for (int signal = 1; signal <= 64; ++signal) ::syscall(SYS_rt_sigaction, signal, &action, nullptr, 8);
}

void unblock_signals() {
  const std::uint64_t none = 0;
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, 8);
}

bool stdio(Failure& failure, const Finish& finish) {
  int null = -1;
  for (int i = 0; i < 3; ++i) {
    int source = finish.terminal >= 0 ? finish.terminal : finish.stdio[i];
    if (source < 0) source = null >= 0 ? null : (null = open_inside("/dev/null", O_RDWR));
    // A source below 3 would be overwritten by an earlier dup2: the launcher keeps 0 to 2 open, so there is
    // none.
    if (source < 3 || ::dup2(source, i) < 0) return failed(failure, "set up standard streams");
  }
  if (finish.terminal >= 0 && ::ioctl(0, TIOCSCTTY, 0) != 0) return failed(failure, "take the terminal");
  return true;
}

bool credentials(Failure& failure, const Finish& finish) {
  // Shared memory with the launcher until exec: nobody in the container may look into this process
  // (ptrace(2), dumpable).
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  for (int capability = 0; capability <= finish.last_capability; ++capability)
    if ((finish.capabilities >> capability & 1) == 0 && ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0)
      return failed(failure, "drop from the bounding set");
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (::syscall(SYS_setgroups, finish.group_count, finish.groups) != 0) return failed(failure, "set groups");
  if (::syscall(SYS_setresgid, finish.gid, finish.gid, finish.gid) != 0)
    return failed(failure, "set the group");
  if (::syscall(SYS_setresuid, finish.uid, finish.uid, finish.uid) != 0)
    return failed(failure, "set the user");
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2]{};
  if (finish.uid == 0) {
    for (int i = 0; i < 2; ++i)
      sets[i].permitted = sets[i].effective = static_cast<std::uint32_t>(finish.capabilities >> (32 * i));
  }
  if (::syscall(SYS_capset, &header, sets) != 0) return failed(failure, "set capabilities");
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 || failed(failure, "set no_new_privs");
}

// Whoever holds a lease on a file (fcntl(2) F_SETLEASE) delays everybody who opens it by up to 45 s, and
// execve(2) knows no O_NONBLOCK. A timer that ends with a successful exec (timer_create(2)) interrupts such a
// wait; for the disk nobody is interrupted. A handler and not SIGKILL: the first process of a pid namespace
// would not notice that.
void interrupted(int) {}

bool bound_waiting(Failure& failure) {
  struct sigaction action{};
  action.sa_handler = interrupted;  // without SA_RESTART
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGALRM;
  int timer = 0;
  itimerspec when{};
  when.it_value.tv_sec = 1;
  when.it_interval.tv_nsec = 100'000'000;  // one may come just before the wait that it is to end
  const bool armed = ::sigaction(SIGALRM, &action, nullptr) == 0 &&
                     ::syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) == 0 &&
                     ::syscall(SYS_timer_settime, timer, 0, &when, nullptr) == 0;
  return armed || failed(failure, "set a timer");
}

// A program or script interpreter named through /proc/self/exe would be the launcher's own file, then
// writable from the inside (CVE-2019-5736): magic links are refused along the chain of "#!" lines, which the
// kernel follows five deep. 0, or the error: a file under a lease of somebody's is EWOULDBLOCK at once.
int check_chain(const char* program) {
  char line[256];
  char path[256];
  for (int depth = 0; depth < 6; ++depth) {
    const int file = open_inside(program, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    // What cannot be read could still be executed: only what is not there is harmless.
    if (file < 0) return errno == ENOENT || errno == ENOTDIR ? 0 : errno;
    const ssize_t got = ::read(file, line, sizeof line - 1);
    ::close(file);
    if (got < 3 || line[0] != '#' || line[1] != '!') return 0;
    line[got] = '\0';
    const char* begin = line + 2;
    while (*begin == ' ' || *begin == '\t') ++begin;
    std::size_t length = 0;
    while (begin[length] != '\0' && std::strchr(" \t\n", begin[length]) == nullptr) ++length;
    std::memcpy(path, begin, length);
    path[length] = '\0';
    program = path;
  }
  return 0;
}

bool execute(Failure& failure, const Finish& finish) {
  int worst = ENOENT;
  const char* at = finish.argv[0];
  for (const char* const* program = finish.programs; *program != nullptr; ++program) {
    if (const int error = check_chain(*program); error != 0) {
      errno = error;
      return failed(failure, "execute", *program);
    }
    ::execve(*program, const_cast<char* const*>(finish.argv), const_cast<char* const*>(finish.env));
    if (errno == ENOENT || errno == ENOTDIR) continue;
    worst = errno;
    at = *program;
    if (worst != EACCES) break;
  }
  errno = worst;
  return failed(failure, "execute", at);
}

bool enter_cwd(Failure& failure, const Finish& finish) {
  if (finish.cwd == nullptr) return ::chdir("/") == 0 || failed(failure, "chdir");
  const int cwd = open_inside(last_of(finish.cwd), O_PATH | O_DIRECTORY);
  const bool entered = cwd >= 0 && ::fchdir(cwd) == 0;
  if (cwd >= 0) ::close(cwd);
  return entered || failed(failure, "enter the working directory", last_of(finish.cwd));
}

// Does not return when it succeeds.
void become_program(Failure& failure, const Finish& finish) {
  ::umask(022);
  if (!enter_cwd(failure, finish) || ::setsid() < 0 || !stdio(failure, finish)) return;
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = finish.open_files < files.rlim_max ? finish.open_files : files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  if (::syscall(SYS_close_range, 3U, ~0U, 0U) != 0 && !failed(failure, "close descriptors")) return;
  if (!credentials(failure, finish) || !bound_waiting(failure)) return;
  unblock_signals();
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &finish.filter) != 0 &&
      !failed(failure, "set the system call filter"))
    return;
  execute(failure, finish);
}

void setup_and_run(StartPlan& plan) {
  if (!join_groups(plan.failure, plan.join, plan.join_count)) return;
  if (!set_oom_score(plan.failure, plan.finish.oom_score)) return;
  if (::unshare(CLONE_NEWCGROUP) != 0 && !failed(plan.failure, "make a cgroup namespace")) return;
  if (!join_network(plan) || !change_root(plan) || !file_systems(plan)) return;
  if (::sethostname(plan.hostname, plan.hostname_length) != 0 && !failed(plan.failure, "set the hostname"))
    return;
  become_program(plan.failure, plan.finish);
}

int run_in_container(void* argument) {
  auto& plan = *static_cast<EnterPlan*>(argument);
  become_program(plan.failure, plan.finish);
  ::syscall(SYS_exit_group, 127);
  return 127;
}

void enter_and_run(EnterPlan& plan) {
  if (!join_groups(plan.failure, plan.join, plan.join_count)) return;
  if (!set_oom_score(plan.failure, plan.finish.oom_score)) return;
  constexpr int kAll =
      CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
  if (::setns(plan.pidfd, kAll) != 0 && !failed(plan.failure, "join the container's namespaces")) return;
  // Joining a pid namespace counts for children only, hence a second process; CLONE_PARENT makes it the
  // launcher's.
  // The kernel writes its number before it runs: who waits too long for it can end it.
  constexpr int kFlags = CLONE_VM | CLONE_VFORK | CLONE_PARENT | CLONE_PARENT_SETTID;
  if (::clone(run_in_container, plan.stack, kFlags, &plan, &plan.pid) < 0)
    failed(plan.failure, "clone into the container");
}

}  // namespace

int start_child(void* argument) {
  default_signals();
  setup_and_run(*static_cast<StartPlan*>(argument));
  ::syscall(SYS_exit_group, 127);
  return 127;
}

int enter_child(void* argument) {
  default_signals();
  enter_and_run(*static_cast<EnterPlan*>(argument));
  ::syscall(SYS_exit_group, 0);
  return 0;
}

}  // namespace naru::container
