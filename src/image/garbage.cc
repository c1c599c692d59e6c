// What nothing refers to goes: mark from the tags and the digests in use, sweep under the lock.
#include <fcntl.h>
#include <sys/stat.h>

#include "image/files.h"
#include "image/layout_index.h"
#include "image/store.h"

namespace naru::image {

namespace fs = std::filesystem;

namespace {

constexpr int kMaxIndexDepth = 4;

// Adds every blob that `digest` (a manifest or an index) needs.
Result<> mark(const Store& store, const Digest& digest, std::set<std::string>& used, int depth = 0) {
  if (!used.insert(std::string(digest.hex())).second) return {};
  auto bytes = store.read_blob(digest, format::kMaxManifestBytes);
  if (!bytes)
    return bytes.error().code == Code::image_unknown ? Result<>() : Result<>(std::unexpected(bytes.error()));
  if (auto manifest = format::parse_manifest(*bytes)) {
    used.insert(std::string(manifest->config.digest.hex()));
    for (const format::Descriptor& layer : manifest->layers) used.insert(std::string(layer.digest.hex()));
  } else if (auto index = format::parse_index(*bytes); index && depth < kMaxIndexDepth) {
    for (const format::Descriptor& entry : index->manifests) TRY(mark(store, entry.digest, used, depth + 1));
  }
  return {};
}

bool is_dropped(const format::Descriptor& entry, const std::vector<format::ImageReference>& drop) {
  const auto reference = reference_of(entry);
  return reference && std::ranges::find(drop, *reference) != drop.end();
}

Result<std::set<std::string>> mark_all(const Store& store, const std::vector<Digest>& keep,
                                       const std::vector<format::ImageReference>& drop = {}) {
  std::set<std::string> used;
  for (const format::Descriptor& entry : TRY(read_layout_index(store.root())))
    if (!is_dropped(entry, drop)) TRY(mark(store, entry.digest, used));
  for (const Digest& digest : keep) TRY(mark(store, digest, used));
  return used;
}

bool older_than(const struct stat& info, WallTime limit) {
  return info.st_mtim.tv_sec < std::chrono::duration_cast<seconds>(limit.time_since_epoch()).count();
}

void remove_file(const fs::path& path, std::uint64_t size, GarbageReport& report, bool dry_run = false) {
  if (!dry_run && ::unlink(path.c_str()) != 0) return;
  ++report.blobs;
  report.bytes += size;
}

// With the lock held. How many there were.
Result<std::size_t> drop_tags(const fs::path& root, const GarbageOptions& options) {
  if (options.drop.empty()) return 0;
  auto index = TRY(read_layout_index(root));
  const std::size_t count =
      std::erase_if(index, [&](const format::Descriptor& entry) { return is_dropped(entry, options.drop); });
  if (count > 0 && !options.dry_run) TRY(write_layout_index(root, std::move(index)));
  return count;
}

}  // namespace

Result<GarbageReport> Store::collect_garbage(const GarbageOptions& options) const {
  const IndexLock lock = TRY(IndexLock::take(root_));
  const auto used = TRY(mark_all(*this, options.keep, options.drop));
  const WallTime limit = options.now - options.grace;
  GarbageReport report;
  report.tags = TRY(drop_tags(root_, options));
  for (const char* folder : {"blobs/sha256", ".tmp"}) {
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(root_ / folder, error)) {
      struct stat info{};
      if (::lstat(entry.path().c_str(), &info) != 0 || !S_ISREG(info.st_mode) || !older_than(info, limit))
        continue;
      if (!used.contains(entry.path().filename().string()))
        remove_file(entry.path(), static_cast<std::uint64_t>(info.st_size), report, options.dry_run);
    }
    if (error)
      return std::unexpected(Error{Code::system, "list " + (root_ / folder).string(), error.value(), {}});
  }
  return report;
}

Result<GarbageReport> Store::remove(const format::ImageReference& reference,
                                    const std::vector<Digest>& keep) const {
  std::set<std::string> own;
  for (const format::Descriptor& entry : TRY(read_layout_index(root_)))
    if (reference_of(entry) == reference) TRY(mark(*this, entry.digest, own));
  TRY(untag(reference));
  const IndexLock lock = TRY(IndexLock::take(root_));
  const auto used = TRY(mark_all(*this, keep));
  GarbageReport report;
  for (const std::string& hex : own) {
    const fs::path path = root_ / "blobs" / "sha256" / hex;
    struct stat info{};
    if (!used.contains(hex) && ::lstat(path.c_str(), &info) == 0)
      remove_file(path, static_cast<std::uint64_t>(info.st_size), report);
  }
  return report;
}

Result<std::set<Digest>> Store::diff_ids_in_use(const std::vector<Digest>& keep,
                                                const std::vector<format::ImageReference>& drop) const {
  std::set<Digest> ids;
  std::vector<Digest> manifests = keep;
  for (const format::Descriptor& entry : TRY(read_layout_index(root_)))
    if (!is_dropped(entry, drop)) manifests.push_back(entry.digest);
  for (const Digest& digest : manifests) {
    const auto found = image(digest);
    if (found)
      ids.insert(found->config.diff_ids.begin(), found->config.diff_ids.end());
    else if (found.error().code != Code::image_unknown)
      return std::unexpected(found.error());
  }
  return ids;
}

}  // namespace naru::image
