// Mounts made detached, as descriptors, then attached (fsopen(2), open_tree(2), mount_setattr(2),
// move_mount(2)). What is prepared so has no name in any namespace until it is attached, so no path can race
// with it. `attributes` are MOUNT_ATTR_*.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace naru::os {

struct OverlayLayers {
  std::vector<std::string> lower;  // topmost first; at least one
  std::string upper, work;         // "" = read-only
  bool volatile_upper = false;     // no syncs; after a crash the upper must not be used again (overlayfs.rst)
};

// `place` is an existing folder of ours that the way for kernels before 6.5 mounts on for a moment.
// `legacy` forces that way.
Result<Fd> overlay_mount(const OverlayLayers& layers, std::uint64_t attributes, const std::string& place,
                         bool legacy = false);
Result<Fd> tmpfs_mount(std::uint64_t bytes, std::string_view mode, std::uint64_t attributes);
// Any other file system by its name and "key=value" or flag options.
Result<Fd> filesystem_mount(const char* type, const std::vector<std::string>& options,
                            std::uint64_t attributes);
// A copy of the mount below `source` (an O_PATH descriptor), alone.
Result<Fd> bind_mount(int source, std::uint64_t attributes);

}  // namespace naru::os
