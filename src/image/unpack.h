// A layer blob becomes a folder for overlayfs. Runs as root in a confined worker: the bytes are hostile.
//
// Every path is resolved by openat2 with RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS at the layer's own root, so
// a symbolic link in the layer points inside it; ".." and hard links to what is not there are refused
// (layer_escape, malformed). Whiteouts become what overlayfs reads: `.wh.NAME` a character device 0:0,
// `.wh..wh..opq` trusted.overlay.opaque=y. Device nodes are left out (a container gets its own /dev). Of
// extended attributes only security.capability and user.* (without user.overlay.*) are kept:
// trusted.overlay.* from outside could point anywhere.
//
// The folder is made under a temporary name beside `destination` and renamed when the diff id has been
// verified: it is there whole or not at all, a second call finds it, a killed one leaves `.unpack-*` for
// remove_stale_unpacks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "base/digest.h"
#include "base/result.h"

namespace naru::image {

struct UnpackLimits {
  std::uint64_t entries = 2'000'000;
  std::uint64_t bytes = 32ULL << 30;        // of the decompressed tar
  std::uint64_t ratio = 250;                // decompressed to compressed...
  std::uint64_t ratio_floor = 64ULL << 20;  // ...checked beyond this many decompressed bytes
  std::size_t path_bytes = 4095;
  std::size_t depth = 256;
  std::size_t xattr_bytes = 64U << 10;  // per entry
};

struct UnpackReport {
  bool already_there = false;
  std::uint64_t entries = 0, bytes = 0;
  std::uint64_t devices_left_out = 0, xattrs_left_out = 0;
};

// `blob_fd` is read from its current position to its end. `destination`: e.g. data/layers/<hex of diff id>;
// its parent exists. digest_mismatch, layer_escape, malformed, too_large, unsupported, disk_full, system.
Result<UnpackReport> unpack_layer(int blob_fd, std::string_view media_type, const Digest& diff_id,
                                  const std::filesystem::path& destination, const UnpackLimits& limits = {});

// Extracts a tar (plain, gzip or zstd by its first bytes; for ADD) below an open folder, with the same walls;
// whiteout names are refused. Not atomic: into a build's own root.
Result<UnpackReport> extract_archive(int archive_fd, int root_fd, const UnpackLimits& limits = {});

// What begins so in `layers` is not a layer: being made, or on its way out.
inline constexpr std::string_view kUnfinishedPrefix = ".unpack-";
// Removes what killed unpacks left in `layers`; call when no worker runs.
Result<> remove_stale_unpacks(const std::filesystem::path& layers);

}  // namespace naru::image
