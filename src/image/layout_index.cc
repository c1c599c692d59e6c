#include "image/layout_index.h"

#include <fcntl.h>
#include <sys/file.h>

#include "image/files.h"

namespace naru::image {

namespace {
constexpr std::size_t kMaxTags = 10'000;
}  // namespace

Result<IndexLock> IndexLock::take(const std::filesystem::path& root) {
  Fd fd = TRY(open_file(root / ".lock", O_RDWR | O_CREAT, 0644));
  TRY(adopt_owner(fd.get(), root));
  while (::flock(fd.get(), LOCK_EX) != 0)
    if (errno != EINTR) return fail_errno(Code::system, "lock {}", (root / ".lock").string());
  return IndexLock(std::move(fd));
}

Result<std::vector<format::Descriptor>> read_layout_index(const std::filesystem::path& root) {
  const Fd fd = TRY(open_file(root / "index.json", O_RDONLY));
  auto index = format::parse_index(TRY(os::read_fd(fd.get(), format::kMaxManifestBytes, "index.json")));
  if (!index)
    return fail(index.error().code, "{}: {}", (root / "index.json").string(), index.error().message());
  return std::move(index->manifests);
}

Result<> write_layout_index(const std::filesystem::path& root, std::vector<format::Descriptor> entries) {
  const std::size_t tags = entries.size();
  const std::string bytes = format::write_index({std::move(entries)});
  if (tags > kMaxTags || bytes.size() > format::kMaxManifestBytes)
    return fail(Code::too_large, "{}: more than {} tags; remove some with `naru image rm`", root.string(),
                kMaxTags);
  return write_durably(root / "index.json", bytes, root / ".tmp");
}

std::optional<format::ImageReference> reference_of(const format::Descriptor& entry) {
  for (const std::string_view key : {kContainerdName, kRefName}) {
    const auto at = entry.annotations.find(std::string(key));
    if (at == entry.annotations.end()) continue;
    if (auto reference = format::ImageReference::parse(at->second)) return *reference;
  }
  return std::nullopt;
}

}  // namespace naru::image
