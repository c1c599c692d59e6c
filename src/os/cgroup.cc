#include "os/cgroup.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include <charconv>
#include <filesystem>

#include "os/file.h"
#include "os/process.h"

namespace naru::os {

namespace {

constexpr std::string_view kParents[] = {"apps", "builds"};
constexpr std::string_view kV2Leaf = "naru-own";  // v2 forbids processes beside child groups with controllers

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const auto end = std::min(text.find(separator), text.size());
    parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

bool contains(const std::vector<std::string_view>& list, std::string_view item) {
  return std::ranges::find(list, item) != list.end();
}

// The path of our group below a mount that may show only a part of the hierarchy (a container's bind mount).
std::string below_mount(std::string_view path, std::string_view mount_root) {
  if (mount_root != "/" && path.starts_with(mount_root)) path.remove_prefix(mount_root.size());
  while (path.ends_with('/')) path.remove_suffix(1);
  return std::string(path);
}

struct Mount {
  std::string root, point, type;
  std::vector<std::string> options;
};

Result<std::optional<Mount>> cgroup_mount(std::string_view line) {
  const auto fields = split(line, ' ');
  const auto dash = std::ranges::find(fields, "-");
  if (fields.size() < 10 || fields.end() - dash < 4)
    return fail(Code::malformed, "mountinfo: '{}' has too few fields", line.substr(0, 200));
  if (*(dash + 1) != "cgroup" && *(dash + 1) != "cgroup2") return std::optional<Mount>{};
  Mount mount{std::string(fields[3]), std::string(fields[4]), std::string(*(dash + 1)), {}};
  for (const std::string_view option : split(*(dash + 3), ',')) mount.options.emplace_back(option);
  return mount;
}

struct Membership {
  std::vector<std::string_view> controllers;
  std::string_view path;
};

Result<std::vector<Membership>> memberships(std::string_view text) {
  std::vector<Membership> all;
  for (const std::string_view line : split(text, '\n')) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos || !line.substr(second + 1).starts_with('/'))
      return fail(Code::malformed, "cgroup membership '{}' is not id:controllers:path", line.substr(0, 200));
    all.push_back({split(line.substr(first + 1, second - first - 1), ','), line.substr(second + 1)});
  }
  return all;
}

}  // namespace

Result<CgroupLayout> cgroup_layout(std::string_view mountinfo, std::string_view self_cgroup) {
  const auto groups = TRY(memberships(self_cgroup));
  CgroupLayout layout;
  std::optional<CgroupHierarchy> unified;
  for (const std::string_view line : split(mountinfo, '\n')) {
    const auto mount = TRY(cgroup_mount(line));
    if (!mount) continue;
    CgroupHierarchy hierarchy;
    hierarchy.v2 = mount->type == "cgroup2";
    const std::vector<std::string_view> options(mount->options.begin(), mount->options.end());
    for (const Membership& group : groups) {
      const bool ours = hierarchy.v2
                            ? group.controllers.empty()
                            : !group.controllers.empty() && contains(options, group.controllers.front());
      if (ours) hierarchy.base = mount->point + below_mount(group.path, mount->root);
    }
    if (hierarchy.base.empty()) continue;
    if (hierarchy.v2) {
      hierarchy.memory = hierarchy.cpu = hierarchy.cpuacct = hierarchy.pids = true;
      if (!unified) unified = hierarchy;
      continue;
    }
    const auto known = [&](bool CgroupHierarchy::* member) {
      return std::ranges::any_of(layout.hierarchies,
                                 [&](const CgroupHierarchy& other) { return other.*member; });
    };
    hierarchy.memory = contains(options, "memory") && !known(&CgroupHierarchy::memory);
    hierarchy.cpu = contains(options, "cpu") && !known(&CgroupHierarchy::cpu);
    hierarchy.cpuacct = contains(options, "cpuacct") && !known(&CgroupHierarchy::cpuacct);
    hierarchy.pids = contains(options, "pids") && !known(&CgroupHierarchy::pids);
    hierarchy.devices = contains(options, "devices") && !known(&CgroupHierarchy::devices);
    if (hierarchy.memory || hierarchy.cpu || hierarchy.cpuacct || hierarchy.pids || hierarchy.devices)
      layout.hierarchies.push_back(hierarchy);
  }
  layout.mode = layout.hierarchies.empty() ? (unified ? "v2" : "none") : (unified ? "hybrid" : "v1");
  if (layout.mode == "v2") layout.hierarchies.push_back(*unified);
  return layout;
}

namespace {

std::string number_in(const std::string& path) {
  auto text = read_file(path, 65536);
  return text ? *text : std::string();
}

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// "key value" lines.
std::uint64_t keyed(const std::string& text, std::string_view key) {
  for (const std::string_view line : split(text, '\n'))
    if (line.starts_with(key) && line.size() > key.size() && line[key.size()] == ' ')
      return number(line.substr(key.size() + 1));
  return 0;
}

constexpr std::uint32_t kPeriodUsec = 100'000;

struct Setting {
  std::string_view file;
  std::string value;
  bool required;
};

std::vector<Setting> settings(const CgroupHierarchy& hierarchy, const CgroupLimits& limits) {
  std::vector<Setting> wanted;
  const std::uint64_t quota = static_cast<std::uint64_t>(limits.cpu_millis) * kPeriodUsec / 1000;
  if (hierarchy.memory && limits.memory_bytes > 0) {
    const std::string bytes = fmt::format("{}", limits.memory_bytes);
    wanted.push_back({hierarchy.v2 ? "memory.max" : "memory.limit_in_bytes", bytes, true});
    // Without this a limited container swaps instead; the file is absent where swap is not accounted.
    wanted.push_back({hierarchy.v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes",
                      hierarchy.v2 ? "0" : bytes, false});
  }
  if (hierarchy.cpu && quota > 0) {
    if (hierarchy.v2) {
      wanted.push_back(
          {"cpu.max", fmt::format("{} {}", std::max<std::uint64_t>(quota, 1000), kPeriodUsec), true});
    } else {
      wanted.push_back({"cpu.cfs_period_us", fmt::format("{}", kPeriodUsec), true});
      wanted.push_back({"cpu.cfs_quota_us", fmt::format("{}", std::max<std::uint64_t>(quota, 1000)), true});
    }
  }
  if (hierarchy.pids && limits.pids > 0) wanted.push_back({"pids.max", fmt::format("{}", limits.pids), true});
  return wanted;
}

std::vector<pid_t> processes_in(const CgroupHierarchy& folder) {
  std::vector<pid_t> pids;
  for (const std::string_view line : split(number_in(folder.base + "/cgroup.procs"), '\n')) {
    const auto pid = static_cast<pid_t>(number(line));
    if (pid > 0) pids.push_back(pid);
  }
  return pids;
}

bool still_in(const CgroupHierarchy& folder, pid_t pid) {
  const std::vector<pid_t> pids = processes_in(folder);
  return std::ranges::find(pids, pid) != pids.end();
}

}  // namespace

Result<std::vector<Fd>> Cgroup::join_files() const {
  std::vector<Fd> files;
  for (const CgroupHierarchy& folder : folders_) {
    const std::string path = folder.base + (folder.v2 ? "/cgroup.procs" : "/tasks");
    files.emplace_back(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!files.back()) return fail_errno(Code::system, "open {}", path);
  }
  return files;
}

CgroupUsage Cgroup::usage() const {
  CgroupUsage usage;
  for (const CgroupHierarchy& folder : folders_) {
    const auto value = [&](std::string_view file) {
      return number(number_in(fmt::format("{}/{}", folder.base, file)));
    };
    if (folder.memory) {
      usage.memory_bytes = value(folder.v2 ? "memory.current" : "memory.usage_in_bytes");
      usage.memory_limit = value(folder.v2 ? "memory.max" : "memory.limit_in_bytes");
      if (usage.memory_limit > (1ULL << 62)) usage.memory_limit = 0;
      usage.oom_kills =
          keyed(number_in(folder.base + (folder.v2 ? "/memory.events" : "/memory.oom_control")), "oom_kill");
    }
    if (folder.cpuacct)
      usage.cpu_usec = folder.v2 ? keyed(number_in(folder.base + "/cpu.stat"), "usage_usec")
                                 : value("cpuacct.usage") / 1000;
    if (folder.pids) usage.pids = value("pids.current");
  }
  return usage;
}

bool Cgroup::kill() const {
  bool empty = true;
  for (const CgroupHierarchy& folder : folders_) {
    if (folder.v2 && write_existing(folder.base + "/cgroup.kill", "1")) {
      empty = empty && processes_in(folder).empty();
      continue;
    }
    for (const pid_t pid : processes_in(folder)) {
      empty = false;
      // Between reading and opening the pid may have become another's: it is ours if it still stands in the
      // list.
      const auto pidfd = pidfd_open(pid);
      if (!pidfd || !still_in(folder, pid)) continue;
      [[maybe_unused]] const auto ended_meanwhile = pidfd_send_signal(pidfd->get(), SIGKILL);
    }
  }
  return empty;
}

Result<void> Cgroup::remove() const {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  for (const CgroupHierarchy& folder : folders_) {
    while (::rmdir(folder.base.c_str()) != 0 && errno != ENOENT) {
      if (errno != EBUSY || std::chrono::steady_clock::now() > deadline)
        return fail_errno(Code::system, "remove cgroup {}", folder.base);
      kill();
      ::poll(nullptr, 0, 1);
    }
  }
  return {};
}

namespace {

// v2: our own processes go to a leaf, so that controllers can be given to the children.
Result<void> prepare_v2(CgroupHierarchy& own, std::vector<std::string>& notices) {
  const std::string leaf = "/" + std::string(kV2Leaf);
  if (own.base.ends_with(leaf)) own.base.resize(own.base.size() - leaf.size());
  const std::vector<pid_t> inside = processes_in(own);
  const bool root = !std::filesystem::exists(own.base + "/cgroup.type");
  if (!root && !inside.empty()) {
    TRY(make_dirs(own.base + leaf));
    for (const pid_t pid : inside) {
      [[maybe_unused]] const auto ended_meanwhile =
          write_existing(own.base + leaf + "/cgroup.procs", fmt::format("{}", pid));
    }
  }
  for (const auto& [name, member] : {std::pair{"memory", &CgroupHierarchy::memory},
                                     {"cpu", &CgroupHierarchy::cpu},
                                     {"pids", &CgroupHierarchy::pids}}) {
    if (write_existing(own.base + "/cgroup.subtree_control", fmt::format("+{}", name))) continue;
    own.*member = false;
    notices.push_back(fmt::format(
        "cgroup v2: the {} controller is not delegated to {}; its limits are not held", name, own.base));
  }
  return {};
}

Result<void> make_parents(const CgroupHierarchy& parent, bool plain_files) {
  const std::vector<std::string> folders = {parent.base, parent.base + "/apps", parent.base + "/builds"};
  for (const std::string& folder : folders) {
    TRY(make_dirs(folder));
    // Before 5.11 a v1 group counts its children's memory only so; later it cannot be otherwise.
    if (parent.memory && !parent.v2) {
      [[maybe_unused]] const auto old_kernel = write_existing(folder + "/memory.use_hierarchy", "1");
    }
    if (!parent.v2) continue;
    for (const auto& [name, on] :
         {std::pair{"+memory", parent.memory}, {"+cpu", parent.cpu}, {"+pids", parent.pids}})
      if (on) TRY(write_existing(folder + "/cgroup.subtree_control", name, plain_files));
  }
  if (!parent.cpu) return {};
  const std::string weight = parent.v2 ? "/cpu.weight" : "/cpu.shares";
  TRY(write_existing(parent.base + "/apps" + weight, parent.v2 ? "100" : "1024", plain_files));
  return write_existing(parent.base + "/builds" + weight, parent.v2 ? "20" : "205", plain_files);
}

void write_settings(const CgroupHierarchy& folder, const CgroupLimits& limits, bool plain_files,
                    std::vector<std::string>& notices) {
  for (const Setting& setting : settings(folder, limits)) {
    const auto written =
        write_existing(fmt::format("{}/{}", folder.base, setting.file), setting.value, plain_files);
    if (!written && setting.required) notices.push_back("limit not held: " + written.error().message());
  }
}

// What a container may open, were there a way to a node: OCI runtime specification, config-linux.md, "Default
// Devices"; and making nodes, which then cannot be opened.
constexpr std::string_view kAllowedDevices[] = {"c *:* m",   "b *:* m",    "c 1:3 rwm", "c 1:5 rwm",
                                                "c 1:7 rwm", "c 1:8 rwm",  "c 1:9 rwm", "c 5:0 rwm",
                                                "c 5:2 rwm", "c 136:* rwm"};

void filter_devices(const CgroupHierarchy& folder, bool plain_files, std::vector<std::string>& notices) {
  if (!folder.devices) return;
  auto written = write_existing(folder.base + "/devices.deny", "a", plain_files);
  for (const std::string_view device : kAllowedDevices)
    if (written) written = write_existing(folder.base + "/devices.allow", device, plain_files);
  if (!written) notices.push_back("devices are not filtered: " + written.error().message());
}

void limit_parents(const CgroupHierarchy& parent, const Shares& shares, bool plain_files,
                   std::vector<std::string>& notices) {
  const auto& [memory, processes] = shares;
  const auto limit = [&](std::string_view name, const CgroupLimits& limits) {
    CgroupHierarchy folder = parent;
    folder.base += name;
    write_settings(folder, limits, plain_files, notices);
  };
  limit("/apps", {.memory_bytes = memory.apps, .pids = processes.apps});
  limit("/builds", {.memory_bytes = memory.builds, .pids = processes.builds});
}

}  // namespace

MemoryShares memory_shares(std::uint64_t total_bytes) {
  constexpr std::uint64_t kLeastReserve = 256ULL << 20, kMostReserve = 2ULL << 30;
  // Below this a reserve would leave applications nothing to live in.
  if (total_bytes < 2 * kLeastReserve) return {};
  const std::uint64_t apps = total_bytes - std::clamp(total_bytes / 8, kLeastReserve, kMostReserve);
  return {.apps = apps, .builds = apps / 2, .build_step = apps / 2 / 4 * 3};
}

std::uint64_t usable_memory(const CgroupLayout& layout) {
  const long pages = ::sysconf(_SC_PHYS_PAGES), page = ::sysconf(_SC_PAGESIZE);
  std::uint64_t least = pages > 0 && page > 0 ? static_cast<std::uint64_t>(pages * page) : 0;
  for (const CgroupHierarchy& hierarchy : layout.hierarchies) {
    if (!hierarchy.memory) continue;
    const std::uint64_t own =
        hierarchy.v2 ? number(number_in(hierarchy.base + "/memory.max"))
                     : keyed(number_in(hierarchy.base + "/memory.stat"), "hierarchical_memory_limit");
    if (own > 0) least = least == 0 ? own : std::min(least, own);
  }
  return least;
}

ProcessShares process_shares(std::uint64_t total) {
  constexpr std::uint64_t kLeast = 512;  // below, nothing would start
  if (total < kLeast) return {};
  total = std::min<std::uint64_t>(total, 1U << 30);
  return {.apps = static_cast<std::uint32_t>(total / 2), .builds = static_cast<std::uint32_t>(total / 4)};
}

std::uint64_t usable_processes(const CgroupLayout& layout, const std::string& sysctl) {
  std::uint64_t least = 0;
  const auto bound = [&](std::uint64_t one) {
    if (one > 0) least = least == 0 ? one : std::min(least, one);
  };
  bound(number(number_in(sysctl + "/kernel/pid_max")));
  bound(number(number_in(sysctl + "/kernel/threads-max")));
  for (const CgroupHierarchy& hierarchy : layout.hierarchies)  // "max" is no number
    if (hierarchy.pids) bound(number(number_in(hierarchy.base + "/pids.max")));
  return least;
}

Result<Cgroups> Cgroups::open(const CgroupLayout& layout, const std::string& name, const Shares& shares,
                              bool plain_files) {
  Cgroups groups;
  groups.mode_ = layout.mode;
  groups.plain_files_ = plain_files;
  for (CgroupHierarchy hierarchy : layout.hierarchies) {
    if (hierarchy.v2 && !plain_files) TRY(prepare_v2(hierarchy, groups.notices_));
    hierarchy.base += "/" + name;
    if (auto made = make_parents(hierarchy, plain_files); !made) {
      groups.notices_.push_back("cgroup: " + made.error().message() +
                                "; limits of this hierarchy are not held");
      continue;
    }
    limit_parents(hierarchy, shares, plain_files, groups.notices_);
    groups.parents_.push_back(std::move(hierarchy));
  }
  const auto any = [&](bool CgroupHierarchy::* member) {
    return std::ranges::any_of(groups.parents_, [&](const auto& p) { return p.*member; });
  };
  if (!any(&CgroupHierarchy::memory))
    groups.notices_.emplace_back("no memory controller: memory limits are not held");
  if (!any(&CgroupHierarchy::cpu)) groups.notices_.emplace_back("no cpu controller: CPU limits are not held");
  if (!any(&CgroupHierarchy::pids))
    groups.notices_.emplace_back("no pids controller: process limits are not held");
  if (!any(&CgroupHierarchy::devices))
    groups.notices_.emplace_back(
        "no v1 devices controller, and Naru sets no filter of cgroup v2: that containers open no device of "
        "the "
        "host is held by nodev mounts and the missing CAP_MKNOD alone");
  return groups;
}

Cgroup Cgroups::at(std::string_view parent, const std::string& id) const {
  std::vector<CgroupHierarchy> folders = parents_;
  for (CgroupHierarchy& folder : folders) folder.base = fmt::format("{}/{}/{}", folder.base, parent, id);
  return Cgroup(std::move(folders));
}

Result<Cgroup> Cgroups::create(std::string_view parent, const std::string& id, const CgroupLimits& limits,
                               std::vector<std::string>& notices) const {
  Cgroup group = at(parent, id);
  for (const CgroupHierarchy& folder : group.folders()) {
    if (::mkdir(folder.base.c_str(), 0755) != 0) {
      if (errno != EEXIST) return fail_errno(Code::system, "make cgroup {}", folder.base);
      TRY(group.remove());
      if (::mkdir(folder.base.c_str(), 0755) != 0)
        return fail_errno(Code::system, "make cgroup {}", folder.base);
    }
    write_settings(folder, limits, plain_files_, notices);
    filter_devices(folder, plain_files_, notices);
  }
  return group;
}

std::vector<std::string> Cgroups::ids(std::string_view parent) const {
  std::vector<std::string> found;
  for (const CgroupHierarchy& hierarchy : parents_) {
    std::error_code error;
    for (const auto& entry :
         std::filesystem::directory_iterator(fmt::format("{}/{}", hierarchy.base, parent), error))
      if (entry.is_directory(error) &&
          std::ranges::find(found, entry.path().filename().native()) == found.end())
        found.push_back(entry.path().filename());
  }
  return found;
}

void Cgroups::remove_parents() const {
  for (const CgroupHierarchy& hierarchy : parents_) {
    for (const std::string_view parent : kParents)
      ::rmdir(fmt::format("{}/{}", hierarchy.base, parent).c_str());
    ::rmdir(hierarchy.base.c_str());
  }
}

}  // namespace naru::os
