// ADD of a local archive.
#include <unistd.h>

#include <array>

#include "build/copy.h"
#include "image/unpack.h"

namespace naru::build {

Result<bool> extract_local_archive(int archive_fd, int destination_dir_fd) {
  std::array<char, 512> head{};
  const ssize_t n = ::pread(archive_fd, head.data(), head.size(), 0);
  if (n < 0) return fail_errno(Code::system, "reading the archive");
  const std::string_view bytes(head.data(), static_cast<std::size_t>(n));
  if (bytes.starts_with("BZh") || bytes.starts_with(std::string_view("\xFD" "7zXZ\0", 6)))
    return std::unexpected<Error>(Error{Code::unsupported, "ADD of a bzip2 or xz archive is not supported", 0,
                                        "COPY it and extract it in a RUN step, or pack it with gzip or zstd"});
  const bool tar = bytes.size() >= 262 && bytes.substr(257, 5) == "ustar";
  const bool packed = bytes.starts_with("\x1f\x8b") || bytes.starts_with("\x28\xb5\x2f\xfd");
  if (!tar && !packed) return false;
  if (::lseek(archive_fd, 0, SEEK_SET) != 0) return fail_errno(Code::system, "rewinding the archive");
  TRY(image::extract_archive(archive_fd, destination_dir_fd));
  return true;
}

}  // namespace naru::build
