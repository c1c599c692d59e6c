#include "image/diff.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "image/compressor.h"
#include "image/files.h"
#include "image/tar_writer.h"
#include "os/listing.h"

namespace naru::image {

namespace fs = std::filesystem;

namespace {

constexpr int kMaxDepth = 256;
constexpr std::size_t kMaxXattrs = 64U << 10;  // the kernel's own bound of a list

// A layer of 135 MB (a minimal Debian) on one core: gzip 1 takes 1.6 s and leaves 35%, 2: 1.9 s, 35%; 4: 2.4
// s, 33%; 6: 4.8 s, 32%; zstd 3: 0.5 s, 28%. The difference in size is not worth a developer's wait.
constexpr int kGzipLevel = 1;
constexpr int kZstdLevel = 3;

class TreeWriter {
 public:
  TreeWriter(TarWriter& tar, const DiffOptions& options) : tar_(tar), options_(options) {}
  Result<> folder(int fd, const std::string& prefix, int depth);
  std::uint64_t entries = 0, left_out = 0;

 private:
  Result<> child(int parent, const std::string& name, const std::string& prefix, int depth);
  Result<> whiteout(const std::string& name);
  Result<> file(int parent, const std::string& base, TarEntry entry, const struct stat& info);
  Result<> subfolder(int parent, const std::string& base, TarEntry entry, int depth);
  Result<> read_xattrs(int fd, TarEntry& entry, bool* opaque);
  Result<> plain(const TarEntry& entry);
  Result<TarEntry> entry_of(const struct stat& info, std::string name);

  TarWriter& tar_;
  const DiffOptions& options_;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;
  // Kept between files: clearing them anew for each costs more than reading small files.
  std::string chunk_ = std::string(256U << 10, '\0');
  std::string list_ = std::string(kMaxXattrs, '\0');
};

Result<std::vector<std::string>> names_in(int fd, const std::string& shown) {
  os::Listing listing = TRY(os::Listing::open(fd, shown));
  std::vector<std::string> names;
  while (auto entry = TRY(listing.next())) names.push_back(std::move(entry->name));
  std::ranges::sort(names);
  return names;
}

Result<TarEntry> TreeWriter::entry_of(const struct stat& info, std::string name) {
  if (++entries > options_.max_entries)
    return fail(Code::too_large, "the layer has more than {} entries", options_.max_entries);
  TarEntry entry;
  entry.name = std::move(name);
  entry.mode = info.st_mode & 07777;
  entry.uid = info.st_uid;
  entry.gid = info.st_gid;
  entry.mtime = info.st_mtim.tv_sec;
  if (options_.latest_mtime && entry.mtime > options_.latest_mtime->count())
    entry.mtime = options_.latest_mtime->count();
  return entry;
}

Result<> TreeWriter::plain(const TarEntry& entry) {
  TRY(tar_.begin(entry));
  return tar_.end();
}

Result<> TreeWriter::whiteout(const std::string& name) {
  TarEntry entry;
  entry.name = name;
  entry.mode = 0;
  if (++entries > options_.max_entries)
    return fail(Code::too_large, "the layer has more than {} entries", options_.max_entries);
  return plain(entry);
}

Result<> TreeWriter::read_xattrs(int fd, TarEntry& entry, bool* opaque) {
  const ssize_t size = ::flistxattr(fd, list_.data(), list_.size());
  if (size < 0)
    return errno == ENOTSUP ? Result<>()
                            : Result<>(fail_errno(Code::system, "list attributes of '{}'", entry.name));
  for (std::string_view rest(list_.data(), static_cast<std::size_t>(size)); !rest.empty();) {
    const std::string name(rest.substr(0, rest.find('\0')));
    rest.remove_prefix(std::min(rest.size(), name.size() + 1));
    if (name == "trusted.overlay.redirect" || name == "trusted.overlay.metacopy")
      return fail(Code::unsupported, "'{}' has {}: mount the overlay with redirect_dir=off,metacopy=off",
                  entry.name, name);
    const bool opaque_mark = name == "trusted.overlay.opaque";
    const bool kept =
        name == "security.capability" || (name.starts_with("user.") && !name.starts_with("user.overlay."));
    if (!opaque_mark && !kept) continue;
    std::string value(kMaxXattrs, '\0');
    const ssize_t length = ::fgetxattr(fd, name.c_str(), value.data(), value.size());
    if (length < 0) return fail_errno(Code::system, "read {} of '{}'", name, entry.name);
    value.resize(static_cast<std::size_t>(length));
    if (opaque_mark && opaque) *opaque = value == "y";
    if (kept) entry.xattrs[name] = std::move(value);
  }
  return {};
}

Result<> TreeWriter::file(int parent, const std::string& base, TarEntry entry, const struct stat& info) {
  if (info.st_nlink > 1) {
    const auto [first, fresh] = links_.try_emplace({info.st_dev, info.st_ino}, entry.name);
    if (!fresh) {
      entry.kind = TarEntry::Kind::hardlink;
      entry.target = first->second;
      return plain(entry);
    }
  }
  const Fd fd(::openat(parent, base.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  if (!fd) return fail_errno(Code::system, "open '{}'", entry.name);
  struct stat opened{};
  if (::fstat(fd.get(), &opened) != 0 || opened.st_ino != info.st_ino || opened.st_dev != info.st_dev)
    return fail(Code::conflict, "'{}' changed while the layer was written", entry.name);
  TRY(read_xattrs(fd.get(), entry, nullptr));
  entry.size = static_cast<std::uint64_t>(opened.st_size);
  TRY(tar_.begin(entry));
  while (true) {
    const ssize_t got = ::read(fd.get(), chunk_.data(), chunk_.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(Code::system, "read '{}'", entry.name);
    if (got == 0) return tar_.end();
    TRY(tar_.data(std::string_view(chunk_).substr(0, static_cast<std::size_t>(got))));
  }
}

Result<> TreeWriter::subfolder(int parent, const std::string& base, TarEntry entry, int depth) {
  if (depth >= kMaxDepth)
    return fail(Code::too_large, "'{}': deeper than {} folders", entry.name.substr(0, 200), kMaxDepth);
  const Fd fd(::openat(parent, base.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return fail_errno(Code::system, "open '{}'", entry.name);
  entry.kind = TarEntry::Kind::folder;
  entry.name += '/';
  bool opaque = false;
  TRY(read_xattrs(fd.get(), entry, &opaque));
  TRY(plain(entry));
  if (opaque) TRY(whiteout(entry.name + ".wh..wh..opq"));
  return folder(fd.get(), entry.name, depth + 1);
}

Result<> TreeWriter::child(int parent, const std::string& base, const std::string& prefix, int depth) {
  if (base.starts_with(".wh."))
    return fail(Code::unsupported, "'{}{}': a name that begins with .wh. cannot be kept in a layer", prefix,
                base);
  struct stat info{};
  if (::fstatat(parent, base.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno(Code::system, "look at '{}{}'", prefix, base);
  if (S_ISCHR(info.st_mode) && info.st_rdev == makedev(0, 0)) return whiteout(prefix + ".wh." + base);
  if (S_ISSOCK(info.st_mode) || S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode)) {
    ++left_out;
    return {};
  }
  TarEntry entry = TRY(entry_of(info, prefix + base));
  if (S_ISDIR(info.st_mode)) return subfolder(parent, base, std::move(entry), depth);
  if (S_ISREG(info.st_mode)) return file(parent, base, std::move(entry), info);
  if (S_ISFIFO(info.st_mode)) {
    entry.kind = TarEntry::Kind::fifo;
    return plain(entry);
  }
  std::string target(4096, '\0');
  const ssize_t length = ::readlinkat(parent, base.c_str(), target.data(), target.size());
  if (length < 0) return fail_errno(Code::system, "read link '{}'", entry.name);
  entry.kind = TarEntry::Kind::symlink;
  entry.target = target.substr(0, static_cast<std::size_t>(length));
  return plain(entry);
}

Result<> TreeWriter::folder(int fd, const std::string& prefix, int depth) {
  for (const std::string& name : TRY(names_in(fd, prefix))) TRY(child(fd, name, prefix, depth));
  return {};
}

}  // namespace

Result<DiffReport> commit_layer(const fs::path& upper, int out_fd, const DiffOptions& options) {
  const Fd root = TRY(open_file(upper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  const int otherwise = options.compression == format::Compression::gzip ? kGzipLevel : kZstdLevel;
  Compressor compressor =
      TRY(Compressor::open(out_fd, options.compression, options.level != 0 ? options.level : otherwise));
  std::uint64_t written = 0;
  TarWriter tar([&](std::string_view bytes) -> Result<> {
    written += bytes.size();
    if (written > options.max_bytes)
      return fail(Code::too_large, "the layer has more than {} bytes", options.max_bytes);
    return compressor.write(bytes);
  });
  TreeWriter tree(tar, options);
  TRY(tree.folder(root.get(), "", 0));
  TRY(tar.finish());
  const Compressor::Sums sums = TRY(compressor.finish());
  return DiffReport{.blob = sums.blob,
                    .diff_id = sums.content,
                    .size = sums.blob_bytes,
                    .tar_bytes = sums.content_bytes,
                    .entries = tree.entries,
                    .left_out = tree.left_out,
                    .media_type = std::string(format::layer_media_type(options.compression))};
}

Result<DiffReport> commit_layer_to_layout(const fs::path& upper, const fs::path& layout,
                                          const DiffOptions& options) {
  TempFile temp = TRY(make_temp(layout / ".tmp", "blob-"));
  const fs::path blobs = layout / "blobs" / "sha256";
  auto report = [&]() -> Result<DiffReport> {
    DiffReport made = TRY(commit_layer(upper, temp.fd.get(), options));
    TRY(adopt_owner(temp.fd.get(), layout));
    if (::fchmod(temp.fd.get(), 0644) != 0 || ::fsync(temp.fd.get()) != 0)
      return fail_errno(file_code(errno), "write layer {}", made.blob.text());
    if (::rename(temp.path.c_str(), (blobs / std::string(made.blob.hex())).c_str()) != 0)
      return fail_errno(file_code(errno), "rename layer {}", made.blob.text());
    return made;
  }();
  if (!report)
    ::unlink(temp.path.c_str());
  else
    TRY(sync_folder(blobs));
  return report;
}

}  // namespace naru::image
