#include "container/plan.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "model/capabilities.h"
#include "os/file.h"
#include "os/mount.h"

namespace naru::container {

namespace {

// OCI runtime specification, config-linux.md, as container engines commonly set them.
const std::vector<std::string> kMasked = {
    "/proc/acpi",       "/proc/asound",        "/proc/interrupts",  "/proc/kcore",
    "/proc/keys",       "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
    "/proc/timer_list", "/proc/timer_stats",   "/sys/firmware",     "/sys/devices/virtual/powercap"};
const std::vector<std::string> kReadOnly = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                            "/proc/sysrq-trigger"};

struct Device {
  const char* name;
  unsigned major, minor;
};
constexpr Device kDevices[] = {{"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
                               {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};

constexpr std::uint64_t kClosed = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
constexpr std::uint64_t kDefaultTmpfs = 64ULL << 20, kMaxTmpfs = 16ULL << 30;
constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr std::uint64_t kOpenFiles = 65536;
constexpr std::uint64_t kEtcRoom = 64U
                                   << 10;  // for what a container adds to its hosts, resolv.conf, hostname
constexpr const char* kEtcPlace = "/dev/.naru-etc";  // while it starts

std::string normal(const std::string& path) {
  std::string text = std::filesystem::path(path).lexically_normal();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

}  // namespace

const char* Arena::text(std::string value) {
  return texts_.emplace_back(std::move(value)).c_str();
}

const char* const* Arena::list(const std::vector<std::string>& values) {
  std::vector<const char*> pointers;
  for (const std::string& value : values) pointers.push_back(text(value));
  pointers.push_back(nullptr);
  return lists_.emplace_back(std::move(pointers)).data();
}

const char* const* Arena::prefixes(const std::string& path) {
  const std::string whole = normal(path);
  std::vector<std::string> parts;
  for (auto slash = whole.find('/', 1); whole.size() > 1; slash = whole.find('/', slash + 1)) {
    parts.push_back(whole.substr(0, slash));
    if (slash == whole.npos) break;
  }
  return list(parts);
}

Result<os::CapabilitySet> capabilities_of(const ContainerSpec& spec,
                                          const std::vector<std::string>& granted) {
  os::CapabilitySet set = 0;
  const auto bit = [](int number) { return os::CapabilitySet{1} << number; };
  for (const std::string_view name : kContainerCapabilities) set |= bit(TRY(os::capability_number(name)));
  os::CapabilitySet grantable = set;
  for (const std::string& name : granted) grantable |= bit(TRY(os::capability_number(name)));
  const bool drop_all = std::ranges::find(spec.cap_drop, "ALL") != spec.cap_drop.end();
  if (drop_all) set = 0;
  for (const std::string& name : spec.cap_drop)
    if (name != "ALL") set &= ~bit(TRY(os::capability_number(name)));
  for (const std::string& name : spec.cap_add) {
    const int number = TRY(os::capability_number(name));
    if ((grantable & bit(number)) == 0)
      return fail(Code::forbidden, "cap_add: {} reaches beyond the container and is not granted",
                  name.substr(0, 40));
    set |= bit(number);
  }
  return set;
}

std::vector<std::string> environment_of(const ContainerSpec& spec, const Identity& identity,
                                        const std::vector<std::string>& extra) {
  std::vector<std::string> env = spec.env;
  const auto name_of = [](std::string_view entry) { return entry.substr(0, entry.find('=')); };
  for (const std::string& entry : extra) {
    std::erase_if(env, [&](const std::string& old) { return name_of(old) == name_of(entry); });
    env.push_back(entry);
  }
  const auto add_default = [&](std::string_view name, std::string_view value) {
    if (std::ranges::none_of(env, [&](const std::string& entry) { return name_of(entry) == name; }))
      env.push_back(fmt::format("{}={}", name, value));
  };
  add_default("PATH", kDefaultPath);
  add_default("HOME", identity.home);
  add_default("HOSTNAME", spec.hostname.empty() ? spec.id : spec.hostname);
  return env;
}

void fill_finish(Finish& finish, Arena& arena, const FinishInput& input) {
  finish.cwd = normal(input.cwd) == "/" ? nullptr : arena.prefixes(input.cwd);
  finish.uid = input.identity.uid;
  finish.gid = input.identity.gid;
  finish.groups = input.identity.groups.data();
  finish.group_count = input.identity.groups.size();
  finish.capabilities = input.capabilities;
  finish.last_capability = os::last_capability();
  finish.open_files = kOpenFiles;
  finish.oom_score = input.build ? "500" : "0";
  finish.filter.len = static_cast<unsigned short>(input.seccomp.size());
  finish.filter.filter = const_cast<sock_filter*>(input.seccomp.data());
  finish.argv = arena.list(input.argv);
  finish.env = arena.list(input.env);
  const std::string& program = input.argv.front();
  std::vector<std::string> candidates;
  if (program.find('/') != program.npos) {
    candidates.push_back(program);
  } else {
    std::string_view path = kDefaultPath;
    for (const std::string& entry : input.env)
      if (entry.starts_with("PATH=")) path = std::string_view(entry).substr(5);
    while (!path.empty() && candidates.size() < 64) {
      const auto end = std::min(path.find(':'), path.size());
      if (end > 0) candidates.push_back(fmt::format("{}/{}", path.substr(0, end), program));
      path.remove_prefix(std::min(end + 1, path.size()));
    }
  }
  finish.programs = arena.list(candidates);
}

namespace {

// Folders, nodes and links of a fresh /dev; the child adds the mounts.
Result<Fd> make_dev() {
  Fd dev = TRY(os::tmpfs_mount(65536, "0755", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
  for (const Device& device : kDevices) {
    if (::mknodat(dev.get(), device.name, S_IFCHR | 0666, ::makedev(device.major, device.minor)) != 0)
      return fail_errno(Code::system, "mknod /dev/{}", device.name);
    if (::fchmodat(dev.get(), device.name, 0666, 0) != 0)
      return fail_errno(Code::system, "chmod /dev/{}", device.name);
  }
  for (const char* folder : {"pts", "shm", "mqueue"})
    if (::mkdirat(dev.get(), folder, 0755) != 0) return fail_errno(Code::system, "mkdir /dev/{}", folder);
  for (const auto& [target, name] : {std::pair{"/proc/self/fd", "fd"},
                                     {"/proc/self/fd/0", "stdin"},
                                     {"/proc/self/fd/1", "stdout"},
                                     {"/proc/self/fd/2", "stderr"},
                                     {"pts/ptmx", "ptmx"}})
    if (::symlinkat(target, dev.get(), name) != 0) return fail_errno(Code::system, "symlink /dev/{}", name);
  return dev;
}

class StartPreparation {
 public:
  StartPreparation(const Paths& paths, std::filesystem::path folder, const ContainerSpec& spec,
                   const StartOptions& options)
      : paths_(paths), folder_(std::move(folder)), spec_(spec), options_(options) {}

  Result<void> root();
  Result<void> kernel_mounts(bool cgroup2);
  Result<void> etc_files();
  Result<void> host_mounts();
  Result<void> requested_mounts();
  Result<void> finish(const os::SeccompProgram& seccomp);
  std::unique_ptr<PreparedStart> take() { return std::move(prepared_); }

 private:
  int hold(Fd fd) { return prepared_->held.emplace_back(std::move(fd)).get(); }
  void add(Fd mount, const std::string& target, bool directory);
  void add_etc(const char* name, const std::string& target);
  Result<void> volume(const ContainerMount& mount);
  Result<void> own_new_volume(const Fd& volume, const std::string& target);
  Result<void> bind(const ContainerMount& mount);

  const Paths& paths_;
  std::filesystem::path folder_;
  const ContainerSpec& spec_;
  const StartOptions& options_;
  std::unique_ptr<PreparedStart> prepared_ = std::make_unique<PreparedStart>();
};

Result<void> StartPreparation::root() {
  const std::filesystem::path overlay = options_.overlay.empty() ? folder_ : options_.overlay;
  os::OverlayLayers layers{{}, overlay / "upper", overlay / "work", options_.overlay.empty()};
  for (const auto& dir :
       {std::filesystem::path(layers.upper), std::filesystem::path(layers.work), folder_ / "root"})
    TRY(os::make_dirs(dir));
  for (const Digest& layer : spec_.layers) {
    const auto path = paths_.layers / layer.hex();
    if (!std::filesystem::is_directory(path))
      return fail(Code::not_found, "layer {} of container {} is not unpacked", layer.text(), spec_.id);
    layers.lower.insert(layers.lower.begin(), path);
  }
  if (layers.lower.empty()) {  // FROM scratch: an overlay wants one
    TRY(os::make_dirs(folder_ / "empty"));
    layers.lower.push_back(folder_ / "empty");
  }
  StartPlan& plan = prepared_->plan;
  plan.root = hold(TRY(os::overlay_mount(layers, MOUNT_ATTR_NODEV, folder_ / "root")));
  plan.root_place = prepared_->arena.text(folder_ / "root");
  plan.read_only_root = spec_.read_only_root;
  prepared_->identity = TRY(resolve_user_in(spec_.user, plan.root));
  return {};
}

Result<void> StartPreparation::kernel_mounts(bool cgroup2) {
  StartPlan& plan = prepared_->plan;
  Arena& arena = prepared_->arena;
  const auto attachment = [&](Fd fd, const char* target) {
    return Attachment{fd.valid() ? hold(std::move(fd)) : -1, arena.prefixes(target), true, nullptr, -1};
  };
  plan.proc = attachment(Fd(), "/proc");
  plan.sys = attachment(Fd(), "/sys");
  if (cgroup2) plan.cgroup = attachment(Fd(), "/sys/fs/cgroup");
  plan.mqueue = attachment(Fd(), "/dev/mqueue");
  plan.dev = attachment(TRY(make_dev()), "/dev");
  plan.pts =
      attachment(TRY(os::filesystem_mount("devpts", {"newinstance", "ptmxmode=0666", "mode=0620", "gid=5"},
                                          MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)),
                 "/dev/pts");
  plan.shm = attachment(TRY(os::tmpfs_mount(kDefaultTmpfs, "1777", kClosed)), "/dev/shm");
  std::vector<std::string> nodes;
  for (const Device& device : kDevices) nodes.emplace_back(device.name);
  plan.device_nodes = arena.list(nodes);
  plan.masked = arena.list(kMasked);
  plan.read_only = arena.list(kReadOnly);
  return {};
}

void StartPreparation::add(Fd mount, const std::string& target, bool directory) {
  prepared_->mounts.push_back(
      {hold(std::move(mount)), prepared_->arena.prefixes(target), directory, nullptr, -1});
  prepared_->targets.push_back(normal(target));
}

void StartPreparation::add_etc(const char* name, const std::string& target) {
  prepared_->mounts.push_back({-1, prepared_->arena.prefixes(target), false, name, -1});
  prepared_->targets.push_back(normal(target));
}

// In memory and bounded: programs may write to them, but not fill the host's disk.
Result<void> StartPreparation::etc_files() {
  const std::string hostname = spec_.hostname.empty() ? spec_.id : spec_.hostname;
  std::string resolver, hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
  if (!options_.network.nameserver.empty())
    resolver = fmt::format("nameserver {}\noptions timeout:2 attempts:3\n", options_.network.nameserver);
  if (!spec_.dns_search.empty()) resolver += fmt::format("search {}\n", fmt::join(spec_.dns_search, " "));
  if (!options_.network.address.empty()) hosts += fmt::format("{}\t{}\n", options_.network.address, hostname);
  for (const std::string& line : options_.network.extra_hosts) hosts += line + "\n";
  Fd files =
      TRY(os::tmpfs_mount(kEtcRoom + resolver.size() + hosts.size() + hostname.size(), "0755", kClosed));
  for (const auto& [name, text] :
       {std::pair{"resolv.conf", resolver}, {"hosts", hosts}, {"hostname", hostname + "\n"}}) {
    const std::string target = fmt::format("/etc/{}", name);
    if (std::ranges::any_of(spec_.mounts, [&](const auto& m) { return normal(m.target) == target; }))
      continue;
    const Fd file(::openat(files.get(), name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!file || ::fchmod(file.get(), 0644) != 0) return fail_errno(Code::system, "create {}", target);
    TRY(os::write_all(file.get(), text, target));
    add_etc(name, target);
  }
  prepared_->plan.etc = {hold(std::move(files)), prepared_->arena.prefixes(kEtcPlace), true, nullptr, -1};
  return {};
}

Result<void> StartPreparation::host_mounts() {
  for (const HostMount& mount : options_.host_mounts) {
    const Fd source(::open(mount.source.c_str(), O_PATH | O_CLOEXEC));
    struct stat info{};
    if (!source || ::fstat(source.get(), &info) != 0)
      return fail_errno(Code::not_found, "open {} for mounting on {}", mount.source.native(), mount.target);
    const std::uint64_t attributes =
        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (mount.read_only ? MOUNT_ATTR_RDONLY : 0);
    add(TRY(os::bind_mount(source.get(), attributes)), mount.target, S_ISDIR(info.st_mode));
  }
  return {};
}

// A new volume takes owner and mode of what it covers: a program that runs as its own user expects to write
// there.
Result<void> StartPreparation::own_new_volume(const Fd& volume, const std::string& target) {
  const Fd list(::openat(volume.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto covered = os::open_in_root(prepared_->plan.root, target, O_PATH | O_DIRECTORY);
  struct stat info{};
  if (!list || !covered || ::fstat(covered->get(), &info) != 0) return {};
  std::error_code error;
  if (!std::filesystem::is_empty(fmt::format("/proc/self/fd/{}", list.get()), error) || error) return {};
  if (::fchown(list.get(), info.st_uid, info.st_gid) != 0 || ::fchmod(list.get(), info.st_mode & 01777) != 0)
    return fail_errno(Code::system, "give the new volume at {} its owner", target);
  return {};
}

Result<void> StartPreparation::volume(const ContainerMount& mount) {
  const auto path = paths_.volumes / mount.source;
  TRY(os::make_dirs(path, 0755));
  const Fd folder(::open(path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) return fail_errno(Code::system, "open volume {}", mount.source);
  if (!mount.read_only) TRY(own_new_volume(folder, mount.target));
  const std::uint64_t attributes =
      MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (mount.read_only ? MOUNT_ATTR_RDONLY : 0);
  add(TRY(os::bind_mount(folder.get(), attributes)), mount.target, true);
  return {};
}

Result<void> StartPreparation::bind(const ContainerMount& mount) {
  const auto attributes = [](bool read_only) -> std::uint64_t {
    return MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (read_only ? MOUNT_ATTR_RDONLY : 0);
  };
  const std::string source = normal(mount.source), checkouts = normal(paths_.checkouts);
  if (!source.starts_with(checkouts + "/")) {
    const auto granted = std::ranges::find(options_.granted_binds, mount.source, &GrantedBind::source);
    if (granted == options_.granted_binds.end())
      return fail(Code::forbidden, "mounts.source: {} does not lie in {}", source, checkouts);
    add(TRY(os::bind_mount(granted->fd, attributes(mount.read_only))), mount.target, granted->directory);
    return {};
  }
  const Fd top = TRY(os::open_folder(paths_.checkouts));
  auto opened = os::open_beneath(top.get(), source.substr(checkouts.size() + 1), O_PATH);
  if (!opened)
    return fail(opened.error().code == Code::not_found ? Code::not_found : Code::forbidden,
                "mounts.source: {} ({}); symbolic links are not followed", source, opened.error().message());
  struct stat info{};
  ::fstat(opened->get(), &info);
  if (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode))
    return fail(Code::forbidden, "mounts.source: {} is neither a folder nor a file", source);
  // What was checked out is built from again: never to be changed from within.
  add(TRY(os::bind_mount(opened->get(), attributes(true))), mount.target, S_ISDIR(info.st_mode));
  return {};
}

Result<void> StartPreparation::requested_mounts() {
  // Outer targets first, so that an inner one is not covered.
  std::vector<const ContainerMount*> ordered;
  for (const ContainerMount& mount : spec_.mounts) ordered.push_back(&mount);
  const auto depth = [](const ContainerMount* mount) {
    return std::ranges::count(normal(mount->target), '/');
  };
  std::ranges::stable_sort(ordered, {}, depth);
  for (const ContainerMount* mount : ordered) {
    if (mount->kind == MountKind::volume) TRY(volume(*mount));
    if (mount->kind == MountKind::bind) TRY(bind(*mount));
    if (mount->kind != MountKind::tmpfs) continue;
    const std::uint64_t bytes =
        std::min(mount->tmpfs_bytes == 0 ? kDefaultTmpfs : mount->tmpfs_bytes, kMaxTmpfs);
    add(TRY(os::tmpfs_mount(bytes, "1777", kClosed | (mount->read_only ? MOUNT_ATTR_RDONLY : 0))),
        mount->target, true);
  }
  return {};
}

Result<void> StartPreparation::finish(const os::SeccompProgram& seccomp) {
  StartPlan& plan = prepared_->plan;
  plan.mounts = prepared_->mounts.data();
  plan.mount_count = prepared_->mounts.size();
  const std::string hostname = spec_.hostname.empty() ? spec_.id : spec_.hostname;
  plan.hostname = prepared_->arena.text(hostname);
  plan.hostname_length = hostname.size();
  plan.netns = options_.network.netns_fd;
  fill_finish(
      plan.finish, prepared_->arena,
      {spec_.argv, environment_of(spec_, prepared_->identity, {}), spec_.cwd, prepared_->identity,
       TRY(capabilities_of(spec_, options_.granted_capabilities)), seccomp, spec_.parent_cgroup == "builds"});
  return {};
}

}  // namespace

Result<std::unique_ptr<PreparedStart>> prepare_start(const Paths& paths, const std::filesystem::path& folder,
                                                     const ContainerSpec& spec, const StartOptions& options,
                                                     const os::SeccompProgram& seccomp, bool cgroup2) {
  StartPreparation preparation(paths, folder, spec, options);
  TRY(preparation.root());
  TRY(preparation.kernel_mounts(cgroup2));
  TRY(preparation.etc_files());
  TRY(preparation.host_mounts());
  TRY(preparation.requested_mounts());
  TRY(preparation.finish(seccomp));
  return preparation.take();
}

}  // namespace naru::container
