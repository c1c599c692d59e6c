#include "image/extract.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <ranges>

#include "image/files.h"

namespace naru::image {

namespace {
constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kAufsMetadata = ".wh..wh.";  // whiteouts of whiteouts: aufs' own, never content
constexpr std::string_view kOpaque = ".wh..wh..opq";

bool is_whiteout_device(const struct stat& info) {
  return S_ISCHR(info.st_mode) && info.st_rdev == makedev(0, 0);
}

// trusted.* and system.* from outside could redirect overlayfs or carry access lists of another host's users.
bool keeps_xattr(std::string_view name) {
  return name == "security.capability" || (name.starts_with("user.") && !name.starts_with("user.overlay."));
}
}  // namespace

struct Extraction::Entry {
  std::string name;  // clean
  archive_entry* raw;
  mode_t permissions() const { return archive_entry_perm(raw) & 07777; }
  timespec mtime() const {
    if (!archive_entry_mtime_is_set(raw)) return {0, 0};
    const long nsec = archive_entry_mtime_nsec(raw);
    return {archive_entry_mtime(raw), nsec < 0 || nsec > 999'999'999 ? 0 : nsec};
  }
};

Result<> Extraction::run(TarReader& reader) {
  while (archive_entry* raw = TRY(reader.next())) {
    if (++report.entries > limits_.entries)
      return fail(Code::too_large, "more than {} entries", limits_.entries);
    TRY(extract(reader, raw));
  }
  return restore_folder_times();
}

Result<> Extraction::extract(TarReader& reader, archive_entry* raw) {
  const Entry entry{TRY(clean_name(entry_name(raw), limits_.path_bytes, limits_.depth)), raw};
  const std::string base = entry.name.substr(entry.name.rfind('/') + 1);
  if (base.starts_with(kWhiteout)) {
    if (whiteouts_ == Whiteouts::refuse)
      return fail(Code::malformed, "entry '{}': a whiteout has no place in this archive", entry.name);
    return whiteout(entry.name);
  }
  // A folder may not pass itself off as a whiteout's place either: every component is looked at.
  if (entry.name.starts_with(kWhiteout) || entry.name.contains("/.wh."))
    return fail(Code::malformed, "entry '{}': below a whiteout", entry.name);
  if (const std::string target = entry_hardlink(raw); !target.empty()) return hardlink(entry, target);
  switch (archive_entry_filetype(raw)) {
    case AE_IFDIR:
      return folder(entry);
    case AE_IFREG:
      return entry.name.empty() ? Result<>(fail(Code::malformed, "a file without a name"))
                                : file(entry, reader);
    case AE_IFLNK:
      return symlink(entry);
    case AE_IFIFO:
      return fifo(entry);
    case AE_IFCHR:
    case AE_IFBLK:
      ++report.devices_left_out;
      return {};
    default:
      return fail(Code::malformed, "entry '{}': of an unknown kind", entry.name);
  }
}

Result<> Extraction::make_opaque(const std::string& name) {
  const Fd fd = TRY(root_.open(name, O_RDONLY | O_DIRECTORY));
  if (::fsetxattr(fd.get(), "trusted.overlay.opaque", "y", 1, 0) != 0)
    return fail_errno(file_code(errno), "mark '{}' opaque", name);
  return {};
}

Result<> Extraction::whiteout(const std::string& name) {
  const auto place = TRY(root_.place_of(name));
  if (place.base == kOpaque) {
    const Fd fd(::openat(place.parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd || ::fsetxattr(fd.get(), "trusted.overlay.opaque", "y", 1, 0) != 0)
      return fail_errno(file_code(errno), "mark the folder of '{}' opaque", name);
    return {};
  }
  if (place.base.starts_with(kAufsMetadata)) return {};
  const std::string hidden = place.base.substr(kWhiteout.size());
  if (hidden.empty() || hidden == "." || hidden == "..")
    return fail(Code::malformed, "entry '{}': a whiteout of nothing", name);
  struct stat info{};
  if (::fstatat(place.parent, hidden.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0) {
    // Whiteouts hide lower layers only (layer.md): what this layer made itself stays.
    if (!S_ISDIR(info.st_mode)) return {};
    const auto slash = name.rfind('/');
    return make_opaque(slash == std::string::npos ? hidden : name.substr(0, slash + 1) + hidden);
  }
  if (::mknodat(place.parent, hidden.c_str(), S_IFCHR, makedev(0, 0)) != 0)
    return fail_errno(file_code(errno), "make whiteout '{}'", name);
  return {};
}

// Makes way for an entry: a later one replaces an earlier one, as tar does.
Result<> Extraction::clear(const RootedFolder::Place& place, bool keep_folder, bool* was_whiteout) {
  struct stat info{};
  if (::fstatat(place.parent, place.base.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return {};
    return fail_errno(Code::system, "look at '{}'", place.base);
  }
  if (S_ISDIR(info.st_mode) && keep_folder) return {};
  if (was_whiteout && whiteouts_ == Whiteouts::translate) *was_whiteout = is_whiteout_device(info);
  root_.forget();
  return remove_tree(place.parent, place.base);
}

Result<> Extraction::folder(const Entry& entry) {
  if (!entry.name.empty()) {
    const auto place = TRY(root_.place_of(entry.name));
    bool was_whiteout = false;
    TRY(clear(place, true, &was_whiteout));
    if (::mkdirat(place.parent, place.base.c_str(), 0700) != 0 && errno != EEXIST)
      return fail_errno(file_code(errno), "make folder '{}'", entry.name);
    if (was_whiteout) TRY(make_opaque(entry.name));
  }
  const Fd fd = TRY(root_.open(entry.name, O_RDONLY | O_DIRECTORY));
  TRY(apply_metadata(entry, fd.get()));
  const timespec mtime = entry.mtime();
  times_.push_back({entry.name, mtime.tv_sec, mtime.tv_nsec});
  return {};
}

Result<> Extraction::file(const Entry& entry, TarReader& reader) {
  const auto size = archive_entry_size(entry.raw);
  if (size < 0 || static_cast<std::uint64_t>(size) > limits_.bytes - std::min(report.bytes, limits_.bytes))
    return fail(Code::too_large, "entry '{}': {} bytes; all files together may have {}", entry.name, size,
                limits_.bytes);
  const auto place = TRY(root_.place_of(entry.name));
  const int parent = place.parent;
  TRY(clear(place, false, nullptr));
  const Fd fd(
      ::openat(parent, place.base.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return fail_errno(file_code(errno), "make file '{}'", entry.name);
  std::uint64_t end = 0;
  while (true) {
    const TarData data = TRY(reader.read());
    if (data.bytes.empty()) break;
    if (data.offset != end && ::lseek(fd.get(), static_cast<off_t>(data.offset), SEEK_SET) < 0)
      return fail_errno(Code::malformed, "seek in '{}'", entry.name);
    TRY(write_all(fd.get(), data.bytes, entry.name));
    end = data.offset + data.bytes.size();
    if (report.bytes + end > limits_.bytes)
      return fail(Code::too_large, "all files together have more than {} bytes", limits_.bytes);
  }
  if (end < static_cast<std::uint64_t>(size) && ::ftruncate(fd.get(), size) != 0)
    return fail_errno(file_code(errno), "size '{}'", entry.name);
  report.bytes += std::max(end, static_cast<std::uint64_t>(size));
  TRY(apply_metadata(entry, fd.get()));
  const timespec times[2] = {entry.mtime(), entry.mtime()};
  if (::futimens(fd.get(), times) != 0)
    return fail_errno(file_code(errno), "set the time of '{}'", entry.name);
  return {};
}

Result<> Extraction::symlink(const Entry& entry) {
  const std::string target = entry_symlink(entry.raw);
  if (entry.name.empty() || target.empty())
    return fail(Code::malformed, "entry '{}': a symbolic link without name or target", entry.name);
  if (target.size() > limits_.path_bytes)
    return fail(Code::too_large, "entry '{}': its target has {} bytes, the bound is {}", entry.name,
                target.size(), limits_.path_bytes);
  const auto place = TRY(root_.place_of(entry.name));
  const int parent = place.parent;
  const std::string base = place.base;
  TRY(clear(place, false, nullptr));
  if (::symlinkat(target.c_str(), parent, base.c_str()) != 0)
    return fail_errno(file_code(errno), "make link '{}'", entry.name);
  if (::fchownat(parent, base.c_str(), static_cast<uid_t>(archive_entry_uid(entry.raw)),
                 static_cast<gid_t>(archive_entry_gid(entry.raw)), AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno(file_code(errno), "own link '{}'", entry.name);
  const timespec times[2] = {entry.mtime(), entry.mtime()};
  if (::utimensat(parent, base.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno(file_code(errno), "set the time of '{}'", entry.name);
  return {};
}

Result<> Extraction::hardlink(const Entry& entry, const std::string& target) {
  const std::string from = TRY(clean_name(target, limits_.path_bytes, limits_.depth));
  const std::string base = from.substr(from.rfind('/') + 1);
  if (entry.name.empty() || from.empty() || base.starts_with(kWhiteout))
    return fail(Code::malformed, "entry '{}': a hard link to '{}'", entry.name, from);
  if (from == entry.name) return {};
  auto found = root_.find(from);
  if (!found)
    return fail(Code::malformed, "entry '{}': a hard link to '{}', which is not in the layer", entry.name,
                from);
  // place_of below may replace the remembered folder: keep the source's own.
  const Fd source(::fcntl(found->parent, F_DUPFD_CLOEXEC, 3));
  struct stat info{};
  if (::fstatat(source.get(), found->base.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0 ||
      S_ISDIR(info.st_mode) || is_whiteout_device(info))
    return fail(Code::malformed, "entry '{}': a hard link to '{}', which is no file of the layer", entry.name,
                from);
  const std::string source_base = found->base;
  const auto place = TRY(root_.place_of(entry.name));
  struct stat there{};
  if (::fstatat(place.parent, place.base.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
      there.st_ino == info.st_ino && there.st_dev == info.st_dev)
    return {};
  TRY(clear(place, false, nullptr));
  if (::linkat(source.get(), source_base.c_str(), place.parent, place.base.c_str(), 0) != 0)
    return fail_errno(file_code(errno), "link '{}' to '{}'", entry.name, from);
  return {};
}

Result<> Extraction::fifo(const Entry& entry) {
  if (entry.name.empty()) return fail(Code::malformed, "a pipe without a name");
  const auto place = TRY(root_.place_of(entry.name));
  TRY(clear(place, false, nullptr));
  if (::mkfifoat(place.parent, place.base.c_str(), 0600) != 0)
    return fail_errno(file_code(errno), "make pipe '{}'", entry.name);
  if (::fchownat(place.parent, place.base.c_str(), static_cast<uid_t>(archive_entry_uid(entry.raw)),
                 static_cast<gid_t>(archive_entry_gid(entry.raw)), AT_SYMLINK_NOFOLLOW) != 0 ||
      ::fchmodat(place.parent, place.base.c_str(), entry.permissions(), 0) != 0)
    return fail_errno(file_code(errno), "own pipe '{}'", entry.name);
  const timespec times[2] = {entry.mtime(), entry.mtime()};
  if (::utimensat(place.parent, place.base.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno(file_code(errno), "set the time of '{}'", entry.name);
  return {};
}

Result<> Extraction::apply_xattrs(const Entry& entry, int fd) {
  const char* name = nullptr;
  const void* value = nullptr;
  std::size_t size = 0, total = 0;
  archive_entry_xattr_reset(entry.raw);
  while (archive_entry_xattr_next(entry.raw, &name, &value, &size) == ARCHIVE_OK) {
    if (!name || !keeps_xattr(name)) {
      ++report.xattrs_left_out;
      continue;
    }
    total += size;
    if (total > limits_.xattr_bytes)
      return fail(Code::too_large, "entry '{}': extended attributes of more than {} bytes", entry.name,
                  limits_.xattr_bytes);
    if (::fsetxattr(fd, name, value, size, 0) == 0) continue;
    if (errno == ENOTSUP || errno == EINVAL || errno == EPERM || errno == ERANGE)
      ++report.xattrs_left_out;
    else
      return fail_errno(file_code(errno), "entry '{}': set {}", entry.name,
                        std::string_view(name).substr(0, 80));
  }
  return {};
}

// Owner first: chown clears set-id bits and capabilities.
Result<> Extraction::apply_metadata(const Entry& entry, int fd) {
  const auto uid = archive_entry_uid(entry.raw), gid = archive_entry_gid(entry.raw);
  if (uid < 0 || gid < 0 || uid >= 0xffffffffLL || gid >= 0xffffffffLL)
    return fail(Code::malformed, "entry '{}': owner {}:{}", entry.name, uid, gid);
  if (::fchown(fd, static_cast<uid_t>(uid), static_cast<gid_t>(gid)) != 0)
    return fail_errno(file_code(errno), "own '{}'", entry.name);
  if (::fchmod(fd, entry.permissions()) != 0) return fail_errno(file_code(errno), "mode of '{}'", entry.name);
  return apply_xattrs(entry, fd);
}

Result<> Extraction::restore_folder_times() {
  for (const auto& at : std::views::reverse(times_)) {
    const auto fd = root_.open(at.name, O_RDONLY | O_DIRECTORY);
    if (!fd) continue;  // replaced by a later entry
    const timespec times[2] = {{at.sec, at.nsec}, {at.sec, at.nsec}};
    if (::futimens(fd->get(), times) != 0)
      return fail_errno(file_code(errno), "set the time of '{}'", at.name);
  }
  return {};
}

}  // namespace naru::image
