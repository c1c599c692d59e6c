#include "image/import.h"

#include <fcntl.h>
#include <unistd.h>

#include "image/archive_parts.h"
#include "image/files.h"
#include "image/tar_stream.h"

namespace naru::image {

namespace fs = std::filesystem;

namespace {

Result<std::string> first_bytes(int fd) {
  std::string first(4096, '\0');
  const ssize_t got = ::pread(fd, first.data(), first.size(), 0);
  if (got < 0) return fail_errno(Code::system, "read the archive");
  first.resize(static_cast<std::size_t>(got));
  return first;
}

Result<Fd> open_archive(const fs::path& tar) {
  Fd fd = TRY(open_file(tar, O_RDONLY | O_NONBLOCK));
  std::error_code error;
  if (!fs::is_regular_file(tar, error)) return fail(Code::invalid_argument, "{}: not a file", tar.string());
  return fd;
}

}  // namespace

format::ImageConfig default_rootfs_config() {
  format::ImageConfig config;
  config.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  config.cmd = {"/bin/sh"};
  return config;
}

Result<Image> import_rootfs(const Store& store, const fs::path& tar, const format::ImageReference& reference,
                            format::ImageConfig config, const ImportLimits& limits) {
  const Fd fd = TRY(open_archive(tar));
  const format::Compression compression = sniff_compression(TRY(first_bytes(fd.get())));
  BlobWriter blob = TRY(store.begin_blob(limits.blob_bytes));
  TarStream stream = TRY(TarStream::open(fd.get(), compression, {.bytes = limits.tar_bytes},
                                         [&](std::string_view raw) { return blob.write(raw); }));
  const std::string_view first = TRY(stream.next());
  if (!looks_like_tar(first)) return fail(Code::malformed, "{}: not a tar, tar.gz or tar.zst", tar.string());
  const Digest diff_id = TRY(stream.finish());
  const BlobInfo stored = TRY(blob.commit());
  if (config.history.empty())
    config.history.push_back({.created = config.created,
                              .created_by = "naru image import",
                              .author = {},
                              .comment = {},
                              .empty_layer = false});
  const Layer layer{stored.digest, diff_id, std::string(format::layer_media_type(compression)), stored.size};
  Image image = TRY(store.put_image(std::move(config), {layer}));
  TRY(store.tag(reference, image.manifest));
  return image;
}

Result<Image> import_archive(const Store& store, const fs::path& tar, const format::ImageReference& reference,
                             const ImportLimits& limits) {
  const Fd fd = TRY(open_archive(tar));
  const format::Compression compression = sniff_compression(TRY(first_bytes(fd.get())));
  TarStream stream = TRY(TarStream::open(fd.get(), compression, {.bytes = limits.tar_bytes}));
  const auto parts = TRY(ArchiveParts::read(store, stream, limits));
  Image image = TRY(parts.assemble(store, tar.string()));
  TRY(store.tag(reference, image.manifest));
  return image;
}

Result<Image> import_file(const Store& store, const fs::path& tar, const format::ImageReference& reference,
                          const ImportLimits& limits) {
  const Fd fd = TRY(open_archive(tar));
  const format::Compression compression = sniff_compression(TRY(first_bytes(fd.get())));
  TarStream stream = TRY(TarStream::open(fd.get(), compression, {.bytes = limits.tar_bytes}));
  if (TRY(is_image_archive(stream, limits.entries))) return import_archive(store, tar, reference, limits);
  format::ImageConfig config = default_rootfs_config();
  config.created = to_rfc3339(SystemClock().wall());
  return import_rootfs(store, tar, reference, std::move(config), limits);
}

}  // namespace naru::image
