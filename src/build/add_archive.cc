// What ADD takes for an archive.
#include <unistd.h>

#include <array>

#include "build/copy.h"

namespace naru::build {

Result<bool> is_local_archive(int fd) {
  std::array<char, 512> head{};
  const ssize_t n = ::pread(fd, head.data(), head.size(), 0);
  if (n < 0) return fail_errno(Code::system, "reading the archive");
  const std::string_view bytes(head.data(), static_cast<std::size_t>(n));
  if (bytes.starts_with("BZh") || bytes.starts_with(std::string_view("\xFD"
                                                                     "7zXZ\0",
                                                                     6)))
    return std::unexpected<Error>(
        Error{Code::unsupported, "ADD of a bzip2 or xz archive is not supported", 0,
              "COPY it and extract it in a RUN step, or pack it with gzip or zstd"});
  const bool tar = bytes.size() >= 262 && bytes.substr(257, 5) == "ustar";
  const bool packed = bytes.starts_with("\x1f\x8b") || bytes.starts_with("\x28\xb5\x2f\xfd");
  return tar || packed;
}

}  // namespace naru::build
