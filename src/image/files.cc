#include "image/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"

namespace naru::image {

Result<Fd> open_file(const std::filesystem::path& path, int flags, unsigned mode) {
  Fd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) return fail_errno(file_code(errno), "open {}", path.string());
  return fd;
}

Result<> sync_folder(const std::filesystem::path& folder) {
  const Fd fd = TRY(open_file(folder, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) return fail_errno(file_code(errno), "fsync {}", folder.string());
  return {};
}

Result<TempFile> make_temp(const std::filesystem::path& folder, std::string_view prefix) {
  std::filesystem::path path = folder / fmt::format("{}{}", prefix, secure_random_hex(8));
  Fd fd = TRY(open_file(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  return TempFile{std::move(path), std::move(fd)};
}

Result<> adopt_owner(int fd, const std::filesystem::path& folder) {
  if (::geteuid() != 0) return {};
  struct stat owner{};
  if (::stat(folder.c_str(), &owner) != 0) return fail_errno(Code::system, "stat {}", folder.string());
  if (::fchown(fd, owner.st_uid, owner.st_gid) != 0)
    return fail_errno(Code::system, "chown a file in {}", folder.string());
  return {};
}

Result<> write_durably(const std::filesystem::path& path, std::string_view bytes,
                       const std::filesystem::path& temp_folder) {
  // A name of its own: control and a worker may write at the same time.
  return os::write_file_atomically(path, bytes,
                                   {.mode = 0644,
                                    .durable = os::Durable::yes,
                                    .first_as = temp_folder / fmt::format("file-{}", secure_random_hex(8)),
                                    .owner_of_folder = true});
}

}  // namespace naru::image
