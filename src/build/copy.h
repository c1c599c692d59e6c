// COPY and ADD on real folders: the worker function that the launcher runs as root in a confined child.
//
// Both roots are hostile (a pushed checkout, an image's root): every path is resolved by the kernel inside
// its root (openat2 RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, openat2(2)), everything is created relative to a
// held directory with O_NOFOLLOW, so that no symlink in either leads outside.
//
// Semantics: the Dockerfile reference, COPY, and what BuildKit does. A directory's contents are copied, not
// the directory; a trailing slash, an existing directory or several sources mean "into that directory";
// missing parents are made 0755. Symlinks inside a copied directory are copied as such, a source that is
// itself a symlink is followed inside its root. Owner: chown's; else 0:0 for a checkout, the source's own for
// COPY --from. Modes are the source's unless chmod, times are kept. What chown names is looked up in the
// destination's /etc/passwd and /etc/group.
#pragma once

#include "build/workbench.h"

namespace naru::build {

struct CopyLimits {
  std::uint64_t max_entries = 1'000'000;
  std::uint64_t max_bytes = 64ULL << 30;
  std::uint32_t max_depth = 256;
};

struct CopyReport {
  std::uint64_t files = 0, directories = 0, symlinks = 0, bytes = 0;
};

// Whether ADD extracts the file: a tar, plain or packed with gzip or zstd, by its first bytes. unsupported:
// bzip2, xz.
Result<bool> is_local_archive(int fd);

// `source_root` and `destination_root` are directory descriptors (O_PATH is enough); source_root is -1 when
// the request has no sources. Errors: build_source_missing, build_context_invalid (a device, a socket),
// too_large, invalid_argument (chown of an unknown name), disk_full, system.
Result<CopyReport> copy_into(int source_root, int destination_root, const CopyRequest& request,
                             const CopyLimits& limits = {});

}  // namespace naru::build
