// Files, with every read bounded and every path resolution saying what it allows.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace naru::os {

// Errors everywhere: not_found (ENOENT), disk_full (ENOSPC, EDQUOT), else system.
Code file_code(int error);

// At most `limit` bytes; a longer file is too_large. For files of our own and of the kernel.
Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit);
Result<std::string> read_fd(int fd, std::size_t limit, std::string_view what);
Result<void> write_all(int fd, std::string_view bytes, std::string_view what);
// One write(2) to an existing file, as cgroup and /proc files want it. `create`: plain files of a test.
Result<void> write_existing(const std::filesystem::path& path, std::string_view bytes, bool create = false);
enum class Durable { no, yes };
struct Replacement {
  mode_t mode = 0600;  // whatever the umask says
  // yes: file and folder are synced, so that what was answered as done is so after a power failure. no: for
  // state that does not outlive one anyway; the file may then be empty.
  Durable durable = Durable::no;
  std::filesystem::path first_as{};  // the name to write under, on the same file system; "" = path + ".new"
  bool owner_of_folder = false;      // root gives the file to whom its folder belongs
};
// Readers see the old bytes or the new ones. One writer at a time (or names of their own in `first_as`).
Result<void> write_file_atomically(const std::filesystem::path& path, std::string_view bytes,
                                   const Replacement& how = {});
Result<void> make_dirs(const std::filesystem::path& path, mode_t mode = 0755);

// O_PATH | O_DIRECTORY, symbolic links followed: for folders of our own.
Result<Fd> open_folder(const std::filesystem::path& path);
// As if `root` were "/": links are followed inside of it, `..` stops at it; magic links are refused. `flags`
// as open(2).
Result<Fd> open_in_root(int root, const std::string& path, int flags);
// Strictly below `root` and without any symbolic link.
Result<Fd> open_beneath(int root, const std::string& path, int flags);

// Removes a tree whose content may be hostile: never follows links, does not leave the file system's names,
// any depth. What does not exist is fine.
Result<void> remove_tree(const std::filesystem::path& path);

}  // namespace naru::os
