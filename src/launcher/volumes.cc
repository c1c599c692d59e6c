#include "launcher/volumes.h"

#include <sys/stat.h>

#include "base/rng.h"
#include "launcher/checks.h"
#include "os/disk_use.h"
#include "os/file.h"

namespace naru::launcher {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kMaxVolumes = 10'000;
constexpr std::string_view kGone = ".gone-";  // no volume's name

// With every other writer that says so too.
bool shares(const container::Engine& engine, const std::string& container, const ContainerMount& where) {
  const auto spec = engine.spec(container);
  return !spec || std::ranges::all_of(spec->mounts, [&](const ContainerMount& mount) {
    return mount.shared || !container::write_alike(mount, where);
  });
}

}  // namespace

Result<void> ensure_volume(const container::Engine& engine, const std::string& name) {
  TRY(check_volume_name(name));
  const fs::path path = engine.paths().volumes / name;
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST)
    return fail_errno(errno == ENOSPC ? Code::disk_full : Code::system, "make volume {}", path.string());
  return {};
}

Result<void> remove_volume(const container::Engine& engine, Layers& layers, const std::string& name) {
  TRY(check_volume_name(name));
  const fs::path path = engine.paths().volumes / name;
  const fs::path aside = engine.paths().volumes / (std::string(kGone) + secure_random_hex(8));
  {
    const auto alone = TRY(layers.alone());
    for (const ContainerStatus& status : engine.list()) {
      const auto spec = engine.spec(status.id);
      if (!spec) continue;  // it went meanwhile
      for (const ContainerMount& mount : spec->mounts)
        if (mount.kind == MountKind::volume && mount.source == name)
          return fail(Code::conflict, "volume {} is mounted by container {}; stop it first", name, status.id);
    }
    if (::rename(path.c_str(), aside.c_str()) != 0)
      return errno == ENOENT ? Result<void>() : fail_errno(Code::system, "rename {}", path.string());
  }
  return os::remove_tree(aside);
}

std::vector<fs::path> half_removed_volumes(const container::Engine& engine) {
  std::vector<fs::path> gone;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(engine.paths().volumes, error))
    if (entry.path().filename().string().starts_with(kGone)) gone.push_back(entry.path());
  return gone;
}

std::set<std::string> volumes_of(const ContainerSpec& spec) {
  std::set<std::string> volumes;
  for (const ContainerMount& mount : spec.mounts)
    if (mount.kind == MountKind::volume)
      volumes.insert(mount.source);
    else if (mount.kind == MountKind::bind && !mount.read_only)
      volumes.insert("/");  // folders of the machine may lie in each other: one lock for all
  return volumes;
}

Result<void> check_writers(const container::Engine& engine, const ContainerSpec& spec) {
  for (const ContainerMount& mount : spec.mounts) {
    if (mount.kind == MountKind::tmpfs || mount.read_only) continue;
    for (const std::string& writer : engine.writers_of(mount))
      if (writer != spec.id && !(mount.shared && shares(engine, writer, mount)))
        return std::unexpected(
            Error{Code::conflict,
                  fmt::format("{} {} is written by container {}",
                              mount.kind == MountKind::volume ? "volume" : "folder", mount.source, writer),
                  0,
                  "stop it first; when their programs share what is in it, say x-naru.shared: true in both "
                  "services"});
  }
  return {};
}

Result<std::vector<ipc::VolumeInfo>> list_volumes(const container::Engine& engine) {
  std::vector<ipc::VolumeInfo> volumes;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(engine.paths().volumes, error)) {
    if (volumes.size() >= kMaxVolumes) return fail(Code::too_large, "more than {} volumes", kMaxVolumes);
    const std::string name = entry.path().filename().string();
    if (!check_volume_name(name)) continue;  // nothing of ours
    volumes.push_back({name, os::bytes_below(entry.path())});
  }
  std::ranges::sort(volumes, {}, &ipc::VolumeInfo::name);
  return volumes;
}

}  // namespace naru::launcher
