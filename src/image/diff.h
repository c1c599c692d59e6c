// The upper folder of an overlay becomes a layer blob: a deterministic tar, compressed, both digests in one
// pass. Runs as root in a confined worker; the tree is hostile (never followed through a symbolic link), and
// must not change.
//
// Sorted by name (bytes), whole seconds, no user names; hard links kept; whiteouts (character device 0:0) and
// opaque folders translated back to `.wh.*`; security.capability and user.* kept; sockets and device nodes
// left out. An upper made with overlay's redirect_dir or metacopy is refused (unsupported): mount with both
// off.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/digest.h"
#include "base/result.h"
#include "format/oci.h"

namespace naru::image {

struct DiffOptions {
  format::Compression compression = format::Compression::gzip;
  int level = 0;  // 0 = the default: gzip 1, zstd 3
  std::optional<seconds>
      latest_mtime{};  // younger files get this one, so that equal builds give equal layers
  std::uint64_t max_bytes = 32ULL << 30;
  std::uint64_t max_entries = 2'000'000;
};

struct DiffReport {
  Digest blob, diff_id;
  std::uint64_t size = 0;  // of the blob
  std::uint64_t tar_bytes = 0, entries = 0;
  std::uint64_t left_out = 0;  // sockets and device nodes
  std::string media_type;
};

// Writes to `out_fd` from its position; the caller makes it durable and names it by report.blob
// (Store::begin_blob takes the place of a file: see commit_layer_to_store in the launcher's worker).
Result<DiffReport> commit_layer(const std::filesystem::path& upper, int out_fd,
                                const DiffOptions& options = {});

// The same, into an OCI layout folder (Store's root): written under .tmp, fsynced, renamed to
// blobs/sha256/<hex>.
Result<DiffReport> commit_layer_to_layout(const std::filesystem::path& upper,
                                          const std::filesystem::path& layout,
                                          const DiffOptions& options = {});

}  // namespace naru::image
