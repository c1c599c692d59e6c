#include "os/file.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cstring>

#include "os/listing.h"

namespace naru::os {

Code file_code(int error) {
  if (error == ENOENT || error == ENOTDIR) return Code::not_found;
  if (error == ENOSPC || error == EDQUOT) return Code::disk_full;
  return Code::system;
}

Result<std::string> read_fd(int fd, std::size_t limit, std::string_view what) {
  std::string bytes;
  char chunk[16384];
  while (true) {
    const ssize_t got = ::read(fd, chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(file_code(errno), "read {}", what);
    if (got == 0) return bytes;
    if (bytes.size() + static_cast<std::size_t>(got) > limit)
      return fail(Code::too_large, "{} is larger than {} bytes", what, limit);
    bytes.append(chunk, static_cast<std::size_t>(got));
  }
}

Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd) return fail_errno(file_code(errno), "open {}", path.native());
  return read_fd(fd.get(), limit, path.native());
}

Result<void> write_all(int fd, std::string_view bytes, std::string_view what) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail_errno(file_code(errno), "write {}", what);
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  return {};
}

Result<void> write_existing(const std::filesystem::path& path, std::string_view bytes, bool create) {
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | (create ? O_CREAT | O_TRUNC : 0), 0644));
  if (!fd) return fail_errno(file_code(errno), "open {}", path.native());
  if (::write(fd.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
    return fail_errno(file_code(errno), "write '{}' to {}", bytes, path.native());
  return {};
}

namespace {

Result<void> write_whole(const std::string& name, std::string_view bytes, const std::filesystem::path& folder,
                         const Replacement& how) {
  const Fd fd(::open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return fail_errno(file_code(errno), "create {}", name);
  TRY(write_all(fd.get(), bytes, name));
  struct stat about{};
  if (how.owner_of_folder && ::geteuid() == 0 &&
      (::stat(folder.c_str(), &about) != 0 || ::fchown(fd.get(), about.st_uid, about.st_gid) != 0))
    return fail_errno(file_code(errno), "give {} to whom its folder belongs", name);
  if (::fchmod(fd.get(), how.mode) != 0) return fail_errno(file_code(errno), "chmod {}", name);
  if (how.durable == Durable::yes && ::fsync(fd.get()) != 0)
    return fail_errno(file_code(errno), "fsync {}", name);
  return {};
}

Result<void> sync_folder(const std::filesystem::path& folder) {
  const Fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return fail_errno(file_code(errno), "fsync {}", folder.native());
  return {};
}

}  // namespace

Result<void> write_file_atomically(const std::filesystem::path& path, std::string_view bytes,
                                   const Replacement& how) {
  const std::string name = how.first_as.empty() ? path.native() + ".new" : how.first_as.native();
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  auto written = write_whole(name, bytes, folder, how);
  if (written && ::rename(name.c_str(), path.c_str()) != 0)
    written = fail_errno(file_code(errno), "rename {} to its name", name);
  if (!written) {
    ::unlink(name.c_str());
    return written;
  }
  if (how.durable == Durable::yes) TRY(sync_folder(folder));
  return {};
}

Result<void> make_dirs(const std::filesystem::path& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0) return {};
  if (errno == ENOENT && path.has_parent_path() && path.parent_path() != path) {
    TRY(make_dirs(path.parent_path(), 0755));
    if (::mkdir(path.c_str(), mode) == 0) return {};
  }
  struct stat info{};
  const int saved = errno;
  if (saved == EEXIST && ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return {};
  errno = saved;
  return fail_errno(file_code(saved), "mkdir {}", path.native());
}

Result<Fd> open_folder(const std::filesystem::path& path) {
  Fd fd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail_errno(file_code(errno), "open folder {}", path.native());
  return fd;
}

namespace {
Result<Fd> open_resolved(int root, const std::string& path, int flags, std::uint64_t resolve) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC;
  how.resolve = resolve;
  // RESOLVE_IN_ROOT and RESOLVE_BENEATH answer EAGAIN when a rename anywhere races with "..": openat2(2).
  for (int attempt = 0; attempt < 64; ++attempt) {
    const long fd = ::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how);
    if (fd >= 0) return Fd(static_cast<int>(fd));
    if (errno != EAGAIN && errno != EINTR) break;
  }
  return fail_errno(file_code(errno), "open {} inside its root", path);
}
}  // namespace

Result<Fd> open_in_root(int root, const std::string& path, int flags) {
  return open_resolved(root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

Result<Fd> open_beneath(int root, const std::string& path, int flags) {
  return open_resolved(root, path, flags, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
}

namespace {
constexpr int kMaxDepth =
    200;  // deeper folders are first moved up, so that descriptors and stack stay bounded

struct Removal {
  int top;              // the outermost folder
  std::uint64_t moved;  // names given to folders that were moved up
  bool again;
};

Result<void> remove_entries(Removal& removal, Fd folder, const std::string& name, int depth) {
  Listing listing = TRY(Listing::of(std::move(folder), name));
  const int number = listing.fd();
  while (const auto entry = TRY(listing.next())) {
    const std::string& child = entry->name;
    if (!entry->folder && ::unlinkat(number, child.c_str(), 0) == 0) continue;
    if (!entry->folder && errno == ENOENT) continue;
    if (::unlinkat(number, child.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) continue;
    if (errno != ENOTEMPTY && errno != EEXIST) return fail_errno(Code::system, "remove {}/{}", name, child);
    if (depth >= kMaxDepth) {
      const std::string up = fmt::format(".naru-moved-{}", removal.moved++);
      if (::renameat(number, child.c_str(), removal.top, up.c_str()) != 0)
        return fail_errno(Code::system, "move {}/{}", name, child);
      removal.again = true;
      continue;
    }
    Fd below(::openat(number, child.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!below) return fail_errno(Code::system, "open {}/{}", name, child);
    TRY(remove_entries(removal, std::move(below), child, depth + 1));
    if (::unlinkat(number, child.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
      return fail_errno(Code::system, "remove folder {}/{}", name, child);
  }
  return {};
}
}  // namespace

Result<void> remove_tree(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  const Fd top(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!top) return fail_errno(file_code(errno), "open {}", path.native());
  Removal removal{top.get(), 0, true};
  while (removal.again) {
    removal.again = false;
    Fd again(::openat(top.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!again) return fail_errno(Code::system, "open {}", path.native());
    TRY(remove_entries(removal, std::move(again), path.native(), 0));
  }
  if (::rmdir(path.c_str()) != 0 && errno != ENOENT)
    return fail_errno(Code::system, "remove {}", path.native());
  return {};
}

}  // namespace naru::os
