// Images out of files: a root file system's tar, or what `docker save` and `skopeo copy` write.
// Runs as user naru (in control): the bytes are hostile, nothing is unpacked to the file system here.
#pragma once

#include <filesystem>
#include <string>

#include "format/oci.h"
#include "image/store.h"

namespace naru::image {

struct ImportLimits {
  std::uint64_t blob_bytes = 8ULL << 30;  // as stored
  std::uint64_t tar_bytes = 16ULL << 30;  // decompressed
  std::size_t entries = 10'000;           // of an archive of an image
};

// A tar, tar.gz or tar.zst of a root file system becomes an image of one layer with `config`
// (diff_ids and history are filled in), tagged as `reference`. malformed, too_large, disk_full.
Result<Image> import_rootfs(const Store& store, const std::filesystem::path& tar,
                            const format::ImageReference& reference, format::ImageConfig config,
                            const ImportLimits& limits = {});

// A docker-archive or oci-archive (told apart by its content), tagged as `reference`. An archive of several
// images: unsupported.
Result<Image> import_archive(const Store& store, const std::filesystem::path& tar,
                             const format::ImageReference& reference, const ImportLimits& limits = {});

// Looks at the content: an image archive, else a root file system.
Result<Image> import_file(const Store& store, const std::filesystem::path& tar,
                          const format::ImageReference& reference, const ImportLimits& limits = {});

// What an imported root file system runs when nobody says otherwise: /bin/sh and Debian's PATH.
format::ImageConfig default_rootfs_config();

}  // namespace naru::image
