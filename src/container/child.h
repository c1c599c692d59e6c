// What runs between clone and exec. The child shares the launcher's memory (CLONE_VM | CLONE_VFORK: no page
// tables to copy), so it allocates nothing, takes no lock, calls the kernel only, and reports a failure by
// writing into the plan. Everything that could be prepared was prepared by the parent as descriptors; see
// plan.h.
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include <cstdint>

namespace naru::container {

// The step that failed, as the child wrote it. `step` is null when none did.
struct Failure {
  const char* step = nullptr;
  const char* object = "";
  int error = 0;
};

// A detached mount and where it goes. `prefixes` are the target's absolute prefixes, shortest first,
// null-terminated.
struct Attachment {
  int mount = -1;
  const char* const* prefixes = nullptr;
  bool directory = true;
  const char* etc = nullptr;  // instead of `mount`: this file of StartPlan::etc
  int created_from = -1;  // written by the child: index of the first prefix that it had to make; -1 = none
};

// From here to exec, shared by a container's first process and by exec.
struct Finish {
  int stdio[3] = {-1, -1, -1};       // -1: /dev/null of the container
  int terminal = -1;                 // >= 0: the slave of a pty, becomes stdio and controlling terminal
  const char* const* cwd = nullptr;  // prefixes, made when absent; null = "/"
  uid_t uid = 0;
  gid_t gid = 0;
  const gid_t* groups = nullptr;
  std::size_t group_count = 0;
  std::uint64_t capabilities = 0;
  int last_capability = 0;
  std::uint64_t open_files = 0;  // soft limit; the hard one stays
  const char* oom_score = "0";   // oom_score_adj: not the launcher's, which is protected
  sock_fprog filter{};
  const char* const* programs = nullptr;  // candidates for argv[0], in order
  const char* const* argv = nullptr;
  const char* const* env = nullptr;
};

struct StartPlan {
  const int* join = nullptr;  // cgroup files
  std::size_t join_count = 0;
  int netns = -1;  // -1: a new namespace was cloned; loopback is set up
  int root = -1;   // detached mount
  const char* root_place =
      "";  // absolute path: a descriptor of it would belong to the launcher's mount namespace
  const char* hostname = "";
  std::size_t hostname_length = 0;
  // proc, mqueue, sys and cgroup are made by the child: they show its namespaces. cgroup (v2) may have no
  // target.
  Attachment proc, dev, pts, shm, mqueue, sys, cgroup;
  Attachment etc;  // a file system for a moment: of its files mounts are made. mount -1: none
  Attachment* mounts = nullptr;
  std::size_t mount_count = 0;
  const char* const* device_nodes = nullptr;  // below /dev
  const char* const* masked = nullptr;
  const char* const* read_only = nullptr;
  bool read_only_root = false;
  Finish finish;
  Failure failure;
};

struct EnterPlan {
  const int* join = nullptr;
  std::size_t join_count = 0;
  int pidfd = -1;         // of the container's first process: its namespaces are joined
  void* stack = nullptr;  // top of the second process's stack
  Finish finish;
  pid_t pid = 0;  // of the process that runs in the container; a child of the launcher
  Failure failure;
};

// Entry points for clone(2); `plan` is a StartPlan or an EnterPlan.
int start_child(void* plan);
int enter_child(void* plan);

}  // namespace naru::container
