#include "launcher/machine_folders.h"

#include <fcntl.h>

#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "model/service_spec.h"
#include "os/file.h"
#include "os/mount_table.h"

namespace naru::launcher {

namespace {

std::unexpected<Error> away(const std::string& path) {
  return std::unexpected(Error{Code::unreachable, fmt::format("the folder {} does not answer", path), 0,
                               fmt::format("see whether its disk is there: timeout 5 stat {}", path)});
}

}  // namespace

struct MachineFolders::Shared {
  struct Look {
    std::string path, disk;
    bool given_up = false;
    std::optional<Result<OpenedFolder>> result{};
  };
  std::mutex mutex;
  std::condition_variable changed;
  std::list<std::shared_ptr<Look>> under_way;
};

MachineFolders::MachineFolders(Opener opener, milliseconds patience, DiskOf disk_of)
    : opener_(std::move(opener)),
      patience_(patience),
      disk_of_(std::move(disk_of)),
      shared_(std::make_shared<Shared>()) {}

Result<OpenedFolder> MachineFolders::open(const std::string& path) const {
  const auto look = std::make_shared<Shared::Look>(Shared::Look{.path = path, .disk = disk_of_(path)});
  std::unique_lock lock(shared_->mutex);
  for (const auto& other : shared_->under_way)
    if (other->given_up && (lies_in(path, other->path) || (!look->disk.empty() && look->disk == other->disk)))
      return away(other->path);
  if (shared_->under_way.size() >= kMaxUnderWay) return away(shared_->under_way.front()->path);
  shared_->under_way.push_back(look);
  const auto run = [shared = shared_, look, opener = opener_] {
    auto opened = opener(look->path);
    const std::lock_guard done(shared->mutex);
    std::erase(shared->under_way, look);
    if (look->given_up) return log_event(Level::info, "launcher.folder_answers", {{"folder", look->path}});
    look->result = std::move(opened);
    shared->changed.notify_all();
  };
  try {
    std::thread(run).detach();
  } catch (const std::system_error& problem) {
    std::erase(shared_->under_way, look);
    return fail(Code::busy, "no thread to open {} with: {}", path, problem.what());
  }
  if (shared_->changed.wait_for(lock, patience_, [&] { return look->result.has_value(); }))
    return std::move(*look->result);
  look->given_up = true;
  log_event(Level::warn, "launcher.folder_away", {{"folder", path}});
  return away(path);
}

std::string MachineFolders::other_disk_of(const std::string& path) {
  const auto mounts = os::mount_table();
  if (!mounts) return {};
  const os::Mount* nearest = nullptr;
  std::string root;
  for (const os::Mount& mount : *mounts) {  // of two on one place the later one is seen
    if (mount.point == "/") root = mount.device;
    if (lies_in(path, mount.point) && (nearest == nullptr || mount.point.size() >= nearest->point.size()))
      nearest = &mount;
  }
  return nearest == nullptr || nearest->device == root ? std::string() : nearest->device;
}

// No symbolic link on the way: what is mounted is what was looked at.
Result<OpenedFolder> MachineFolders::open_beneath_root(const std::string& path) {
  const Fd root = TRY(os::open_folder("/"));
  // As a folder first, which mounts what is mounted on demand (open(2): O_PATH alone does not).
  auto opened = os::open_beneath(root.get(), path.substr(1), O_PATH | O_DIRECTORY);
  if (!opened && opened.error().sys_errno == ENOTDIR)
    opened = os::open_beneath(root.get(), path.substr(1), O_PATH);
  if (!opened && opened.error().code == Code::not_found)
    return std::unexpected(Error{Code::not_found, fmt::format("there is no {}", path), 0,
                                 fmt::format("make it first: mkdir -p -m 700 {}", path)});
  const int error = opened ? 0 : opened.error().sys_errno;
  if (error == EIO || error == ESTALE || error == ETIMEDOUT || error == EHOSTDOWN || error == ENOTCONN)
    return away(path);
  if (!opened && error != ELOOP && error != EXDEV) return std::unexpected(std::move(opened).error());
  if (!opened)
    return std::unexpected(
        Error{Code::forbidden, opened.error().message(), 0,
              fmt::format("symbolic links are not followed; name what it leads to: readlink -f {}", path)});
  OpenedFolder folder{.fd = std::move(*opened)};
  if (::fstat(folder.fd.get(), &folder.info) != 0) return away(path);
  if (!S_ISDIR(folder.info.st_mode) && !S_ISREG(folder.info.st_mode))
    return fail(Code::forbidden, "{} is neither a folder nor a file", path);
  return folder;
}

}  // namespace naru::launcher
