#include "image/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <numeric>

#include "image/files.h"
#include "image/layout_index.h"

namespace naru::image {

namespace fs = std::filesystem;

std::uint64_t Image::size() const {
  return std::accumulate(layers.begin(), layers.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const Layer& layer) { return sum + layer.size; });
}

BlobWriter::BlobWriter(fs::path root, fs::path temp, Fd fd, std::uint64_t max_bytes)
    : root_(std::move(root)), temp_(std::move(temp)), fd_(std::move(fd)), max_bytes_(max_bytes) {}
BlobWriter::BlobWriter(BlobWriter&& other) noexcept
    : root_(std::move(other.root_)),
      temp_(std::exchange(other.temp_, {})),
      fd_(std::move(other.fd_)),
      hash_(std::move(other.hash_)),
      size_(other.size_),
      max_bytes_(other.max_bytes_) {}
BlobWriter::~BlobWriter() {
  if (!temp_.empty()) ::unlink(temp_.c_str());
}

Result<> BlobWriter::write(std::string_view bytes) {
  if (size_ + bytes.size() > max_bytes_)
    return fail(Code::too_large, "the blob is larger than {} bytes", max_bytes_);
  TRY(write_all(fd_.get(), bytes, "a blob into " + root_.string()));
  hash_.update(bytes);
  size_ += bytes.size();
  return {};
}

Result<BlobInfo> BlobWriter::commit(const std::optional<Digest>& expected) {
  BlobInfo info{hash_.finish(), size_};
  if (expected && *expected != info.digest)
    return fail(Code::digest_mismatch, "blob {}: the {} bytes that came have the digest {}", expected->text(),
                size_, info.digest.text());
  const fs::path folder = root_ / "blobs" / "sha256";
  TRY(adopt_owner(fd_.get(), root_));
  if (::fchmod(fd_.get(), 0644) != 0 || ::fsync(fd_.get()) != 0)
    return fail_errno(file_code(errno), "write blob {}", info.digest.text());
  if (::rename(temp_.c_str(), (folder / std::string(info.digest.hex())).c_str()) != 0)
    return fail_errno(file_code(errno), "rename blob {}", info.digest.text());
  temp_.clear();
  TRY(sync_folder(folder));
  return info;
}

Result<Store> Store::open(fs::path root) {
  std::error_code error;
  const bool fresh = !fs::exists(root / "oci-layout", error);
  if (fresh && fs::exists(root / "index.json", error))
    return fail(Code::malformed, "{}: has an index.json but no oci-layout", root.string());
  for (const char* folder : {"blobs/sha256", ".tmp"}) {
    fs::create_directories(root / folder, error);
    if (error)
      return std::unexpected(
          Error{file_code(error.value()), "create " + (root / folder).string(), error.value(), {}});
  }
  for (const char* folder : {"blobs", "blobs/sha256", ".tmp"}) {
    const Fd fd = TRY(open_file(root / folder, O_RDONLY | O_DIRECTORY));
    TRY(adopt_owner(fd.get(), root));
  }
  Store store(std::move(root));
  const IndexLock lock = TRY(IndexLock::take(store.root_));
  if (!fs::exists(store.root_ / "index.json", error)) TRY(write_layout_index(store.root_, {}));
  if (fresh)
    TRY(write_durably(store.root_ / "oci-layout", R"({"imageLayoutVersion":"1.0.0"})", store.root_ / ".tmp"));
  const Fd layout = TRY(open_file(store.root_ / "oci-layout", O_RDONLY));
  const Json version = TRY(
      parse_json(TRY(os::read_fd(layout.get(), 4096, "oci-layout")), (store.root_ / "oci-layout").string()));
  if (!version.is_object() || !version.contains("imageLayoutVersion") ||
      !version["imageLayoutVersion"].is_string() ||
      !version["imageLayoutVersion"].get<std::string>().starts_with("1."))
    return fail(Code::malformed, "{}: not an OCI image layout of version 1", store.root_.string());
  return store;
}

Result<BlobWriter> Store::begin_blob(std::uint64_t max_bytes) const {
  TempFile temp = TRY(make_temp(root_ / ".tmp", "blob-"));
  return BlobWriter(root_, std::move(temp.path), std::move(temp.fd), max_bytes);
}

Result<BlobInfo> Store::put_blob(std::string_view bytes, const std::optional<Digest>& expected) const {
  const Digest digest = Digest::of_sha256(bytes);
  // Written durably once is enough; to look for it keeps it from the collector of garbage.
  if ((!expected || *expected == digest) && has(digest))
    if (const auto there = read_blob(digest, bytes.size()); there && *there == bytes)
      return BlobInfo{digest, bytes.size()};
  BlobWriter writer = TRY(begin_blob());
  TRY(writer.write(bytes));
  return writer.commit(expected);
}

fs::path Store::blob_path(const Digest& blob) const {
  return root_ / "blobs" / "sha256" / std::string(blob.hex());
}

bool Store::has(const Digest& blob) const {
  if (blob.empty() || blob.algorithm() != "sha256") return false;
  const fs::path path = blob_path(blob);
  if (::utimensat(AT_FDCWD, path.c_str(), nullptr, AT_SYMLINK_NOFOLLOW) == 0) return true;
  return errno != ENOENT && ::access(path.c_str(), R_OK) == 0;  // a reader that may not touch it
}

Result<Fd> Store::open_blob(const Digest& blob) const {
  if (blob.empty() || blob.algorithm() != "sha256")
    return fail(Code::image_unknown, "blob '{}' is not in {}", blob.text(), root_.string());
  auto fd = open_file(blob_path(blob), O_RDONLY | O_NOFOLLOW);
  if (!fd && fd.error().code == Code::not_found)
    return fail(Code::image_unknown, "blob {} is not in {}", blob.text(), root_.string());
  return fd;
}

Result<std::string> Store::read_blob(const Digest& blob, std::size_t max_bytes) const {
  const Fd fd = TRY(open_blob(blob));
  std::string bytes = TRY(os::read_fd(fd.get(), max_bytes, "blob " + blob.text()));
  if (Digest::of_sha256(bytes) != blob)
    return fail(Code::digest_mismatch, "blob {} in {} is damaged", blob.text(), root_.string());
  return bytes;
}

Result<Image> Store::put_image(format::ImageConfig config, const std::vector<Layer>& layers) const {
  config.diff_ids.clear();
  format::ImageManifest manifest;
  for (const Layer& layer : layers) {
    if (!has(layer.blob))
      return fail(Code::image_unknown, "layer {} is not in {}", layer.blob.text(), root_.string());
    config.diff_ids.push_back(layer.diff_id);
    manifest.layers.push_back({.media_type = layer.media_type,
                               .digest = layer.blob,
                               .size = layer.size,
                               .annotations = {},
                               .platform = {}});
  }
  const std::string config_bytes = format::write_config(config);
  if (config_bytes.size() > format::kMaxConfigBytes)
    return fail(Code::too_large, "the image's configuration has {} bytes, the bound is {}",
                config_bytes.size(), format::kMaxConfigBytes);
  const BlobInfo stored = TRY(put_blob(config_bytes));
  manifest.config = {.media_type = std::string(format::kOciConfig),
                     .digest = stored.digest,
                     .size = stored.size,
                     .annotations = {},
                     .platform = {}};
  const BlobInfo named = TRY(put_blob(format::write_manifest(manifest)));
  return Image{named.digest, stored.digest, std::move(config), layers};
}

Result<Image> Store::image(const Digest& digest) const {
  const std::string bytes = TRY(read_blob(digest, format::kMaxManifestBytes));
  auto manifest = format::parse_manifest(bytes);
  if (!manifest) {
    if (auto index = format::parse_index(bytes)) {
      const format::Descriptor chosen = TRY(index->select(format::host_platform()));
      if (chosen.digest != digest && !format::is_index_type(chosen.media_type)) return image(chosen.digest);
    }
    return std::unexpected(manifest.error());
  }
  Image image{digest, manifest->config.digest, {}, {}};
  image.config = TRY(format::parse_config(TRY(read_blob(image.config_digest, format::kMaxConfigBytes))));
  if (image.config.diff_ids.size() != manifest->layers.size())
    return fail(Code::malformed, "image {}: {} layers, but {} diff ids", digest.text(),
                manifest->layers.size(), image.config.diff_ids.size());
  for (std::size_t i = 0; i < manifest->layers.size(); ++i) {
    const format::Descriptor& layer = manifest->layers[i];
    image.layers.push_back({layer.digest, image.config.diff_ids[i], layer.media_type, layer.size});
  }
  return image;
}

Result<Image> Store::resolve(const format::ImageReference& reference) const {
  if (!reference.digest.empty()) {
    auto pinned = image(reference.digest);
    if (!pinned && pinned.error().code == Code::image_unknown)
      return fail(Code::image_unknown, "{}: not in the store", reference.text());
    return pinned;
  }
  const auto index = TRY(read_layout_index(root_));
  for (const format::Descriptor& entry : index)
    if (const auto named = reference_of(entry); named && *named == reference) return image(entry.digest);
  return fail(Code::image_unknown, "{}: not in the store", reference.text());
}

Result<> Store::tag(const format::ImageReference& reference, const Digest& manifest,
                    const std::string& built_for) const {
  const IndexLock lock = TRY(IndexLock::take(root_));
  const Image image = TRY(this->image(manifest));
  for (const Layer& layer : image.layers)
    if (!has(layer.blob))
      return fail(Code::image_unknown, "image {}: its layer {} is not in {}", manifest.text(),
                  layer.blob.text(), root_.string());
  struct stat info{};
  if (::stat(blob_path(manifest).c_str(), &info) != 0)
    return fail_errno(Code::system, "stat {}", blob_path(manifest).string());
  auto index = TRY(read_layout_index(root_));
  format::ImageReference plain = reference;
  plain.digest = {};
  if (plain.tag.empty()) plain.tag = "latest";
  std::erase_if(index, [&](const format::Descriptor& entry) { return reference_of(entry) == plain; });
  index.push_back(
      {.media_type = std::string(format::kOciManifest),
       .digest = manifest,
       .size = static_cast<std::uint64_t>(info.st_size),
       .annotations = {{std::string(kRefName), plain.text()}, {std::string(kContainerdName), plain.text()}},
       .platform = image.config.platform});
  if (!built_for.empty()) index.back().annotations[std::string(kBuiltFor)] = built_for;
  const auto stated = format::parse_manifest(TRY(read_blob(image.manifest, format::kMaxManifestBytes)));
  if (stated) index.back().media_type = stated->media_type;
  return write_layout_index(root_, std::move(index));
}

Result<> Store::untag(const format::ImageReference& reference) const {
  const IndexLock lock = TRY(IndexLock::take(root_));
  auto index = TRY(read_layout_index(root_));
  if (std::erase_if(index,
                    [&](const format::Descriptor& entry) { return reference_of(entry) == reference; }) == 0)
    return fail(Code::image_unknown, "{}: not in the store", reference.text());
  return write_layout_index(root_, std::move(index));
}

Result<std::vector<TaggedImage>> Store::list() const {
  std::vector<TaggedImage> images;
  for (const format::Descriptor& entry : TRY(read_layout_index(root_))) {
    const auto reference = reference_of(entry);
    if (!reference) continue;
    TaggedImage tagged{*reference, entry.digest, 0, {}, {}};
    if (const auto at = entry.annotations.find(std::string(kBuiltFor)); at != entry.annotations.end())
      tagged.built_for = at->second;
    if (const auto image =
            this->image(entry.digest)) {  // a damaged one is still listed, so that it can be removed
      tagged.size = image->size();
      tagged.created = image->config.created;
    }
    images.push_back(std::move(tagged));
  }
  std::ranges::sort(images, {}, [](const TaggedImage& image) { return image.reference.text(); });
  return images;
}

}  // namespace naru::image
