// index.json of the layout and the lock that guards its change. Internal to the store.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <vector>

#include "base/fd.h"
#include "format/oci.h"

namespace naru::image {

inline constexpr std::string_view kRefName = "org.opencontainers.image.ref.name";
inline constexpr std::string_view kContainerdName = "io.containerd.image.name";
inline constexpr std::string_view kBuiltFor = "dev.naru.built-for";

// Exclusive between processes and threads (flock on a descriptor of its own); freed when its holder dies.
class IndexLock {
 public:
  static Result<IndexLock> take(const std::filesystem::path& root);

 private:
  explicit IndexLock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

Result<std::vector<format::Descriptor>> read_layout_index(const std::filesystem::path& root);
Result<> write_layout_index(const std::filesystem::path& root, std::vector<format::Descriptor> entries);
std::optional<format::ImageReference> reference_of(const format::Descriptor& entry);

}  // namespace naru::image
