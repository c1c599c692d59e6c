// Entries of a tar onto the file system below one folder. Internal to unpack.
#pragma once

#include "image/rooted.h"
#include "image/tar_reader.h"
#include "image/unpack.h"

namespace naru::image {

enum class Whiteouts { translate, refuse };

class Extraction {
 public:
  Extraction(int root_fd, const UnpackLimits& limits, Whiteouts whiteouts)
      : root_(root_fd), limits_(limits), whiteouts_(whiteouts) {}
  // All entries, then the folders' times.
  Result<> run(TarReader& reader);
  UnpackReport report;

 private:
  struct Entry;
  struct FolderTime {
    std::string name;
    std::int64_t sec;
    long nsec;
  };
  Result<> extract(TarReader& reader, archive_entry* raw);
  Result<> whiteout(const std::string& name);
  Result<> make_opaque(const std::string& name);
  Result<> folder(const Entry& entry);
  Result<> file(const Entry& entry, TarReader& reader);
  Result<> symlink(const Entry& entry);
  Result<> hardlink(const Entry& entry, const std::string& target);
  Result<> fifo(const Entry& entry);
  Result<> clear(const RootedFolder::Place& place, bool keep_folder, bool* was_whiteout);
  Result<> apply_xattrs(const Entry& entry, int fd);
  Result<> apply_metadata(const Entry& entry, int fd);
  Result<> restore_folder_times();

  RootedFolder root_;
  UnpackLimits limits_;
  Whiteouts whiteouts_;
  std::vector<FolderTime> times_;
};

}  // namespace naru::image
