// Small durable file operations of this folder.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"
#include "os/file.h"

namespace naru::image {

using os::file_code;
using os::write_all;
Result<Fd> open_file(const std::filesystem::path& path, int flags, unsigned mode = 0);
Result<> sync_folder(const std::filesystem::path& folder);
// A unique name in `folder`, opened O_EXCL for writing. The caller renames or removes it.
struct TempFile {
  std::filesystem::path path;
  Fd fd;
};
Result<TempFile> make_temp(const std::filesystem::path& folder, std::string_view prefix);
// Root writes for the folder's owner: control (user naru) must be able to remove what a worker made.
Result<> adopt_owner(int fd, const std::filesystem::path& folder);
// temp + fsync + rename + fsync of the folder; `temp_folder` is on the same file system.
Result<> write_durably(const std::filesystem::path& path, std::string_view bytes,
                       const std::filesystem::path& temp_folder);

}  // namespace naru::image
