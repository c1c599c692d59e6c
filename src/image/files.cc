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
  TempFile temp = TRY(make_temp(temp_folder, "file-"));
  const auto done = [&]() -> Result<> {
    TRY(write_all(temp.fd.get(), bytes, path.string()));
    TRY(adopt_owner(temp.fd.get(), path.parent_path()));
    if (::fchmod(temp.fd.get(), 0644) != 0 || ::fsync(temp.fd.get()) != 0)
      return fail_errno(file_code(errno), "write {}", path.string());
    if (::rename(temp.path.c_str(), path.c_str()) != 0)
      return fail_errno(file_code(errno), "rename to {}", path.string());
    return sync_folder(path.parent_path());
  }();
  if (!done) ::unlink(temp.path.c_str());
  return done;
}

}  // namespace naru::image
