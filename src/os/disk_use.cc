#include "os/disk_use.h"

#include <fts.h>
#include <sys/stat.h>

namespace naru::os {

namespace {
constexpr std::uint64_t kMaxCounted = 1'000'000;
}  // namespace

std::uint64_t bytes_below(const std::filesystem::path& folder) {
  std::string path = folder.string();
  char* roots[] = {path.data(), nullptr};
  // Physical: symbolic links are counted, never followed; one file system.
  FTS* tree = ::fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, nullptr);
  if (tree == nullptr) return 0;
  std::uint64_t bytes = 0, entries = 0;
  while (const FTSENT* entry = ::fts_read(tree)) {
    if (entry->fts_info == FTS_F || entry->fts_info == FTS_D)
      bytes += static_cast<std::uint64_t>(entry->fts_statp->st_blocks) * 512;
    if (++entries > kMaxCounted) break;
  }
  ::fts_close(tree);
  return bytes;
}

}  // namespace naru::os
