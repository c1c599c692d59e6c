#include "image/unpack.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"
#include "image/extract.h"
#include "image/files.h"

namespace naru::image {

namespace fs = std::filesystem;

namespace {

StreamLimits stream_limits(const UnpackLimits& limits) {
  return {.bytes = limits.bytes, .ratio = limits.ratio, .ratio_floor = limits.ratio_floor};
}

Result<UnpackReport> fill(int blob_fd, format::Compression compression, const Digest& diff_id, int root_fd,
                          const UnpackLimits& limits) {
  TarStream stream = TRY(TarStream::open(blob_fd, compression, stream_limits(limits)));
  const auto reader = TRY(TarReader::open(stream));
  Extraction extraction(root_fd, limits, Whiteouts::translate);
  TRY(extraction.run(*reader));
  const Digest found = TRY(stream.finish());
  if (found != diff_id)
    return fail(Code::digest_mismatch, "the layer's tar has the digest {}, expected {}", found.text(),
                diff_id.text());
  return extraction.report;
}

}  // namespace

Result<UnpackReport> unpack_layer(int blob_fd, std::string_view media_type, const Digest& diff_id,
                                  const fs::path& destination, const UnpackLimits& limits) {
  const format::Compression compression = TRY(format::layer_compression(media_type));
  const Fd parent = TRY(open_file(destination.parent_path(), O_RDONLY | O_DIRECTORY));
  const std::string name = destination.filename().string();
  struct stat info{};
  if (::fstatat(parent.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode))
    return UnpackReport{.already_there = true};
  const std::string temp = fmt::format("{}{}", kUnfinishedPrefix, secure_random_hex(8));
  if (::mkdirat(parent.get(), temp.c_str(), 0755) != 0)
    return fail_errno(file_code(errno), "make {}", (destination.parent_path() / temp).string());
  auto report = [&]() -> Result<UnpackReport> {
    const Fd root(::openat(parent.get(), temp.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!root) return fail_errno(Code::system, "open {}", temp);
    if (::fchmod(root.get(), 0755) != 0) return fail_errno(Code::system, "mode of {}", temp);
    UnpackReport filled = TRY(fill(blob_fd, compression, diff_id, root.get(), limits));
    // All of it must be durable before the name says that it is there.
    if (::syncfs(root.get()) != 0) return fail_errno(file_code(errno), "sync {}", temp);
    return filled;
  }();
  if (report) {
    if (::renameat2(parent.get(), temp.c_str(), parent.get(), name.c_str(), RENAME_NOREPLACE) == 0) {
      if (::fsync(parent.get()) != 0)
        return fail_errno(file_code(errno), "sync {}", destination.parent_path().string());
      return report;
    }
    if (errno == EEXIST)
      report->already_there = true;  // another worker was quicker
    else
      report = fail_errno(file_code(errno), "rename to {}", destination.string());
  }
  if (auto removed = os::remove_tree(destination.parent_path() / temp); !removed && report)
    return std::unexpected(removed.error());
  return report;
}

Result<UnpackReport> extract_archive(int archive_fd, int root_fd, const UnpackLimits& limits) {
  std::string first(512, '\0');
  const ssize_t got = ::pread(archive_fd, first.data(), first.size(), 0);
  if (got < 0) return fail_errno(Code::system, "read the archive");
  first.resize(static_cast<std::size_t>(got));
  TarStream stream = TRY(TarStream::open(archive_fd, sniff_compression(first), stream_limits(limits)));
  const auto reader = TRY(TarReader::open(stream));
  Extraction extraction(root_fd, limits, Whiteouts::refuse);
  TRY(extraction.run(*reader));
  return extraction.report;
}

Result<> remove_stale_unpacks(const fs::path& layers) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(layers, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kUnfinishedPrefix)) TRY(os::remove_tree(entry.path()));
  }
  if (error) return std::unexpected(Error{Code::system, "list " + layers.string(), error.value(), {}});
  return {};
}

}  // namespace naru::image
