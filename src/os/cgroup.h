// Cgroups v1, hybrid and v2 behind one face (cgroups(7)). Layout: <our own cgroup>/<name>/{apps,builds}/<id>.
//
// Hybrid uses the v1 controllers. A process joins by itself, single-threaded, writing "0" to every join file:
// in v1 to `tasks`, since a move through `cgroup.procs` waits for an RCU grace period (5 to 13 ms).
// Thread-safe: no state besides paths.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace naru::os {

struct CgroupLimits {
  std::uint64_t memory_bytes = 0;  // 0 = none
  std::uint32_t cpu_millis = 0;    // 1,000 = one CPU; 0 = none
  std::uint32_t pids = 0;          // 0 = none
};

// How this machine's memory is shared out, so that neither all applications together nor all builds together
// take what the host and Naru itself need: applications get all but a reserve, builds half of that, one step
// of a build three quarters of a build's share.
struct MemoryShares {
  std::uint64_t apps = 0, builds = 0, build_step = 0;  // 0 = no ceiling: the machine's memory is unknown
};
MemoryShares memory_shares(std::uint64_t total_bytes);

// The same for the numbers of processes and threads, of which the kernel has few (kernel.pid_max: 32,768 is
// usual): applications get half of them, builds a quarter, and the host keeps the rest.
struct ProcessShares {
  std::uint32_t apps = 0, builds = 0;  // 0 = no ceiling: it is unknown how many there are
};
ProcessShares process_shares(std::uint64_t total);

struct Shares {
  MemoryShares memory;
  ProcessShares processes;
};

struct CgroupUsage {
  std::uint64_t memory_bytes = 0, memory_limit = 0, cpu_usec = 0, pids = 0, oom_kills = 0;
};

// One mounted hierarchy and what of it is of use.
struct CgroupHierarchy {
  bool v2 = false;
  bool memory = false, cpu = false, cpuacct = false, pids = false;
  bool devices = false;  // v1 only: in v2 a filter is a program, not a file
  std::string base{};    // the folder of our own cgroup in it
};

// From /proc/self/mountinfo and /proc/self/cgroup; pure. malformed when a line is not as proc(5) says.
struct CgroupLayout {
  std::string mode;  // "v1", "hybrid", "v2", "none"
  std::vector<CgroupHierarchy> hierarchies;
};
Result<CgroupLayout> cgroup_layout(std::string_view mountinfo, std::string_view self_cgroup);

// The least of the machine's memory and of what our own group may use. 0: unknown.
std::uint64_t usable_memory(const CgroupLayout& layout);

// The least of kernel.pid_max and kernel.threads-max (below `sysctl`, a test's folder or /proc/sys) and of
// what our own group may use. 0: unknown.
std::uint64_t usable_processes(const CgroupLayout& layout, const std::string& sysctl = "/proc/sys");

// One container's group: its folder in every hierarchy. Kept in the container's state, so that it is found
// again when a later launcher runs in another group itself.
class Cgroup {
 public:
  Cgroup() = default;
  explicit Cgroup(std::vector<CgroupHierarchy> folders) : folders_(std::move(folders)) {}
  const std::vector<CgroupHierarchy>& folders() const { return folders_; }

  // Opened for writing; the child writes "0" to each.
  Result<std::vector<Fd>> join_files() const;
  CgroupUsage usage() const;
  // SIGKILL to every process in it; true when none was left.
  bool kill() const;
  // Kills what is left and removes the folders; waits up to a second for processes to end.
  Result<void> remove() const;

 private:
  std::vector<CgroupHierarchy> folders_;
};

class Cgroups {
 public:
  // Makes <base>/<name>/{apps,builds}; builds weigh a fifth of apps, and each has its ceilings.
  // `plain_files`: a test's folder instead of a kernel's. What is missing becomes a notice, not an error.
  static Result<Cgroups> open(const CgroupLayout& layout, const std::string& name, const Shares& shares = {},
                              bool plain_files = false);

  const std::string& mode() const { return mode_; }
  const std::vector<std::string>& notices() const { return notices_; }
  // `parent`: "apps" or "builds". An old group of this id is emptied first. Notices name limits that cannot
  // be held.
  Result<Cgroup> create(std::string_view parent, const std::string& id, const CgroupLimits& limits,
                        std::vector<std::string>& notices) const;
  Cgroup at(std::string_view parent, const std::string& id) const;
  std::vector<std::string> ids(std::string_view parent) const;
  // Only when no group is left in them; for tests and `naru down --all`.
  void remove_parents() const;

 private:
  std::string mode_;
  std::vector<CgroupHierarchy> parents_;  // base is <own>/<name>
  std::vector<std::string> notices_;
  bool plain_files_ = false;
};

}  // namespace naru::os
