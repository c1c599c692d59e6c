// Folders of the machine that applications were granted. One on a network disk that is away holds whoever
// opens it, for ever (a hard NFS mount): each is opened on a thread of its own, which is given up after a
// while and ends when the disk answers. As long as it has not, the folders of that disk are refused at once.
// Thread-safe.
#pragma once

#include <sys/stat.h>

#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"

namespace naru::launcher {

struct OpenedFolder {
  Fd fd;  // O_PATH
  struct stat info{};
};

class MachineFolders {
 public:
  static constexpr std::size_t kMaxUnderWay = 32;  // threads, given up or not
  using Opener = std::function<Result<OpenedFolder>(const std::string& path)>;
  using DiskOf = std::function<std::string(const std::string& path)>;

  explicit MachineFolders(Opener opener = open_beneath_root, milliseconds patience = 5s,
                          DiskOf disk_of = other_disk_of);

  // A folder or a file, at a path as machine_path() gives it. not_found; forbidden: neither, or there is a
  // symbolic link on the way; unreachable: it does not answer.
  Result<OpenedFolder> open(const std::string& path) const;

  static Result<OpenedFolder> open_beneath_root(const std::string& path);
  // The file system that is mounted there, as the kernel numbers it, without asking its disk; "": that of
  // "/", where a folder that does not answer is one that is to be mounted, or it is unknown.
  static std::string other_disk_of(const std::string& path);

 private:
  struct Shared;
  Opener opener_;
  milliseconds patience_;
  DiskOf disk_of_;
  std::shared_ptr<Shared> shared_;  // outlives us in the threads that were given up
};

}  // namespace naru::launcher
