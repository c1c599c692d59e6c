#include "launcher/volumes.h"

#include <sys/stat.h>

#include "launcher/checks.h"
#include "os/disk_use.h"
#include "os/file.h"

namespace naru::launcher {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kMaxVolumes = 10'000;

}  // namespace

Result<void> ensure_volume(const container::Engine& engine, const std::string& name) {
  TRY(check_volume_name(name));
  const fs::path path = engine.paths().volumes / name;
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST)
    return fail_errno(errno == ENOSPC ? Code::disk_full : Code::system, "make volume {}", path.string());
  return {};
}

Result<void> remove_volume(const container::Engine& engine, const std::string& name) {
  TRY(check_volume_name(name));
  for (const ContainerStatus& status : engine.list()) {
    if (status.state != ContainerState::running && status.state != ContainerState::created) continue;
    const ContainerSpec spec = TRY(engine.spec(status.id));
    for (const ContainerMount& mount : spec.mounts)
      if (mount.kind == MountKind::volume && mount.source == name)
        return fail(Code::conflict, "volume {} is mounted by container {}; stop it first", name, status.id);
  }
  return os::remove_tree(engine.paths().volumes / name);
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
