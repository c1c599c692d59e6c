#include "os/listing.h"

#include <fcntl.h>

namespace naru::os {

Result<Listing> Listing::of(Fd folder, std::string_view what) {
  DIR* const stream = ::fdopendir(folder.get());
  if (stream == nullptr) return fail_errno(Code::system, "list {}", what);
  [[maybe_unused]] const int owned_by_stream = folder.release();
  return Listing(stream, what);
}

Result<Listing> Listing::open(int folder, std::string_view what) {
  Fd copy(::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!copy) return fail_errno(Code::system, "list {}", what);
  return of(std::move(copy), what);
}

Result<std::optional<Listed>> Listing::next() {
  while (true) {
    errno = 0;
    // Safe where each thread has its own stream, as readdir(3) says of glibc.
    const dirent* const entry = ::readdir(stream_.get());  // NOLINT(concurrency-mt-unsafe)
    if (entry == nullptr && errno != 0) return fail_errno(Code::system, "list {}", what_);
    if (entry == nullptr) return std::nullopt;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") return Listed{std::string(name), entry->d_type == DT_DIR};
  }
}

}  // namespace naru::os
