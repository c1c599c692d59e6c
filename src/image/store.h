// Images on disk: an OCI image layout (image-layout.md) that skopeo and others read, too.
//
//   oci-layout  index.json  blobs/sha256/<hex>  .lock  .tmp/
//
// Any number of processes and threads may use one folder at once, and any may be killed at any instant: a
// blob appears by rename after fsync, index.json is replaced atomically under a lock, and a tag is given only
// to an image whose blobs are all there. A Store holds only paths: it is cheap to copy, and const functions
// are thread-safe.
//
// In index.json an image is found by its full reference, in org.opencontainers.image.ref.name
// (`skopeo inspect oci:DIR:docker.io/library/debian:bookworm-slim`) and in io.containerd.image.name.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/result.h"
#include "format/oci.h"

namespace naru::image {

inline constexpr std::uint64_t kMaxBlobBytes = 32ULL << 30;

struct Layer {
  Digest blob;             // as stored, maybe compressed
  Digest diff_id;          // of the tar inside; names the unpacked folder
  std::string media_type;  // OCI or Docker
  std::uint64_t size = 0;  // of the blob
  bool operator==(const Layer&) const = default;
};

struct Image {
  Digest manifest;
  Digest config_digest;
  format::ImageConfig config;
  std::vector<Layer> layers;   // lowest first; layers[i].diff_id == config.diff_ids[i]
  std::uint64_t size() const;  // of all layer blobs
};

struct TaggedImage {
  format::ImageReference reference;
  Digest manifest;
  std::uint64_t size = 0;
  std::string created;  // RFC 3339, may be empty
  std::string
      built_for;  // the application that it was built for; "" = pulled, imported or tagged by somebody
};

struct BlobInfo {
  Digest digest;
  std::uint64_t size = 0;
};

// A blob on its way in. Invisible until commit; dropped without it nothing stays behind.
class BlobWriter {
 public:
  BlobWriter(BlobWriter&&) noexcept;
  BlobWriter& operator=(BlobWriter&&) = delete;
  ~BlobWriter();
  Result<> write(std::string_view bytes);  // too_large, disk_full, system
  // Makes the blob durable and visible. digest_mismatch when `expected` is another.
  Result<BlobInfo> commit(const std::optional<Digest>& expected = {});
  std::uint64_t size() const { return size_; }

 private:
  friend class Store;
  BlobWriter(std::filesystem::path root, std::filesystem::path temp, Fd fd, std::uint64_t max_bytes);
  std::filesystem::path root_, temp_;
  Fd fd_;
  Sha256 hash_;
  std::uint64_t size_ = 0, max_bytes_;
};

struct GarbageOptions {
  milliseconds grace{3'600'000};  // younger blobs stay: somebody may be about to tag them
  std::vector<Digest> keep{};     // further manifests that are in use (releases)
  WallTime now = SystemClock().wall();
  std::vector<format::ImageReference> drop{};  // tags that go first, in the same step
  bool dry_run = false;                        // counts only
};
struct GarbageReport {
  std::size_t tags = 0;
  std::size_t blobs = 0;
  std::uint64_t bytes = 0;
};

class Store {
 public:
  // Creates the layout when it is missing. malformed: the folder is something else.
  static Result<Store> open(std::filesystem::path root);
  const std::filesystem::path& root() const { return root_; }

  // Blobs.
  Result<BlobWriter> begin_blob(std::uint64_t max_bytes = kMaxBlobBytes) const;
  Result<BlobInfo> put_blob(std::string_view bytes, const std::optional<Digest>& expected = {}) const;
  // A hit makes the blob fresh: its grace starts again.
  bool has(const Digest& blob) const;
  Result<Fd> open_blob(const Digest& blob) const;  // image_unknown
  Result<std::string> read_blob(const Digest& blob,
                                std::size_t max_bytes) const;  // also verifies; for small ones
  std::filesystem::path blob_path(const Digest& blob) const;

  // Images.
  // Writes configuration and manifest over layer blobs that are there; config.diff_ids is set from `layers`.
  // Not tagged yet. Same input, same digest.
  Result<Image> put_image(format::ImageConfig config, const std::vector<Layer>& layers) const;
  Result<Image> image(const Digest& manifest) const;  // of an image manifest
  Result<Image> resolve(
      const format::ImageReference& reference) const;  // image_unknown; a pinned digest wins over the tag
  // Moves an existing tag. `built_for`: an application whose builds come and go with its releases.
  Result<> tag(const format::ImageReference& reference, const Digest& manifest,
               const std::string& built_for = {}) const;
  Result<> untag(const format::ImageReference& reference) const;  // image_unknown
  Result<std::vector<TaggedImage>> list() const;                  // sorted by reference
  // untag, then what nothing refers to any more goes, without grace for this image's own blobs.
  Result<GarbageReport> remove(const format::ImageReference& reference,
                               const std::vector<Digest>& keep = {}) const;
  Result<GarbageReport> collect_garbage(const GarbageOptions& options) const;
  // Diff ids of every tagged image but `drop`, and of `keep`: unpacked folders outside of this set may go.
  Result<std::set<Digest>> diff_ids_in_use(const std::vector<Digest>& keep = {},
                                           const std::vector<format::ImageReference>& drop = {}) const;

 private:
  explicit Store(std::filesystem::path root) : root_(std::move(root)) {}
  std::filesystem::path root_;
};

}  // namespace naru::image
