#include "image/archive_parts.h"

#include <sys/stat.h>

#include "image/rooted.h"
#include "image/tar_reader.h"

namespace naru::image {

namespace {

constexpr std::size_t kMaxName = 512;
constexpr std::size_t kMaxDepth = 8;
constexpr std::size_t kMaxDocuments = 64U << 20;  // all documents together

bool is_document(std::string_view name) {
  return name == "oci-layout" || name == "repositories" || name.ends_with(".json");
}

bool is_blob(std::string_view name) {
  return name.starts_with("blobs/") || name.ends_with(".tar");
}

// "<id>/VERSION" and "<id>/json" are Docker's first format, still written beside the present one.
bool belongs_to_an_image(std::string_view name) {
  return is_document(name) || is_blob(name) || name.ends_with("/VERSION") || name.ends_with("/json");
}

// "blobs/sha256/<hex>" names its own digest.
std::optional<Digest> digest_in(std::string_view name) {
  if (!name.starts_with("blobs/sha256/")) return std::nullopt;
  auto digest = Digest::parse("sha256:" + std::string(name.substr(13)));
  return digest ? std::optional(*digest) : std::nullopt;
}

// A link's target relative to the folder of the link ("../<id>/layer.tar", as Docker wrote them).
std::string beside(std::string_view name, std::string_view target) {
  std::filesystem::path path = std::filesystem::path(name).parent_path() / target;
  return path.lexically_normal().string();
}

struct Stored {
  BlobInfo info;
  format::Compression compression;
};

Result<Stored> store_blob(const Store& store, TarReader& reader, std::string_view name,
                          const ImportLimits& limits) {
  BlobWriter writer = TRY(store.begin_blob(limits.blob_bytes));
  format::Compression compression = format::Compression::none;
  std::uint64_t end = 0;
  while (true) {
    const TarData data = TRY(reader.read());
    if (data.bytes.empty()) break;
    if (data.offset != end) return fail(Code::unsupported, "'{}' is a sparse file", name);
    if (end == 0) compression = sniff_compression(data.bytes);
    TRY(writer.write(data.bytes));
    end += data.bytes.size();
  }
  return Stored{TRY(writer.commit(digest_in(name))), compression};
}

}  // namespace

Result<bool> is_image_archive(TarStream& stream, std::size_t max_entries) {
  const auto reader = TRY(TarReader::open(stream));
  for (std::size_t i = 0; i < max_entries; ++i) {
    archive_entry* entry = TRY(reader->next());
    if (!entry) return false;
    const auto name = clean_name(entry_name(entry), 4096, 256);
    if (!name) return false;
    if (*name == "manifest.json" || *name == "oci-layout") return true;
    if (archive_entry_filetype(entry) != AE_IFDIR && !belongs_to_an_image(*name)) return false;
  }
  return false;
}

Result<ArchiveParts> ArchiveParts::read(const Store& store, TarStream& stream, const ImportLimits& limits) {
  ArchiveParts parts;
  const auto reader = TRY(TarReader::open(stream));
  std::size_t entries = 0, documents = 0;
  while (archive_entry* entry = TRY(reader->next())) {
    if (++entries > limits.entries)
      return fail(Code::too_large, "the archive has more than {} entries", limits.entries);
    const std::string name = TRY(clean_name(entry_name(entry), kMaxName, kMaxDepth));
    const std::string hard = entry_hardlink(entry);
    if (!hard.empty()) {
      parts.aliases_[name] = TRY(clean_name(hard, kMaxName, kMaxDepth));
    } else if (archive_entry_filetype(entry) == AE_IFLNK) {
      parts.aliases_[name] = beside(name, entry_symlink(entry));
    } else if (archive_entry_filetype(entry) != AE_IFREG) {
      continue;
    } else if (is_document(name)) {
      std::string content = TRY(reader->read_small(format::kMaxConfigBytes, name));
      documents += content.size();
      if (documents > kMaxDocuments)
        return fail(Code::too_large, "the archive has more than {} bytes of JSON", kMaxDocuments);
      parts.documents_[name] = std::move(content);
    } else if (is_blob(name)) {
      const Stored stored = TRY(store_blob(store, *reader, name, limits));
      parts.blobs_[name] = stored.info;
      parts.compression_[name] = stored.compression;
    }
  }
  return parts;
}

Result<Image> ArchiveParts::assemble(const Store& store, std::string_view what) const {
  if (documents_.contains("index.json") && documents_.contains("oci-layout"))
    return assemble_oci(store, what);
  if (documents_.contains("manifest.json")) return assemble_docker(store, what);
  return fail(Code::malformed, "{}: neither a docker-archive (manifest.json) nor an oci-archive (oci-layout)",
              what);
}

namespace {

// A manifest that is pulled is held against what comes; here its blobs came before it.
Result<Image> with_its_layers(const Store& store, Result<Image> image, std::string_view what) {
  if (!image) return image;
  for (const Layer& layer : image->layers) {
    const Fd blob = TRY(store.open_blob(layer.blob));
    struct stat info{};
    if (::fstat(blob.get(), &info) != 0) return fail_errno(Code::system, "stat blob {}", layer.blob.text());
    if (static_cast<std::uint64_t>(info.st_size) != layer.size)
      return fail(Code::malformed, "{}: its manifest gives layer {} {} bytes; it has {}", what,
                  layer.blob.text(), layer.size, info.st_size);
  }
  return image;
}

}  // namespace

Result<Image> ArchiveParts::assemble_oci(const Store& store, std::string_view what) const {
  const format::ImageIndex index = TRY(format::parse_index(documents_.at("index.json")));
  if (index.manifests.empty()) return fail(Code::malformed, "{}: its index names no image", what);
  if (index.manifests.size() == 1)
    return with_its_layers(store, store.image(index.manifests.front().digest), what);
  const auto chosen = index.select(format::host_platform());
  if (!chosen)
    return fail(Code::unsupported, "{}: it holds {} images; save one at a time", what,
                index.manifests.size());
  return with_its_layers(store, store.image(chosen->digest), what);
}

Result<Layer> ArchiveParts::docker_layer(const std::string& name, const Digest& diff_id,
                                         std::string_view what) const {
  std::string at = name;
  for (int hops = 0; hops < 8 && !blobs_.contains(at); ++hops) {
    const auto alias = aliases_.find(at);
    if (alias == aliases_.end()) break;
    at = alias->second;
  }
  const auto blob = blobs_.find(at);
  if (blob == blobs_.end())
    return fail(Code::malformed, "{}: manifest.json names layer '{}', which is not in it", what,
                name.substr(0, 200));
  const format::Compression compression = compression_.at(at);
  if (compression == format::Compression::none && blob->second.digest != diff_id)
    return fail(Code::digest_mismatch, "{}: layer '{}' has the digest {}, the configuration says {}", what,
                name.substr(0, 200), blob->second.digest.text(), diff_id.text());
  return Layer{blob->second.digest, diff_id, std::string(format::layer_media_type(compression)),
               blob->second.size};
}

Result<Image> ArchiveParts::assemble_docker(const Store& store, std::string_view what) const {
  const Json manifest = TRY(parse_json(documents_.at("manifest.json"), "manifest.json"));
  const auto bad = [&](std::string_view why) {
    return fail(Code::malformed, "{}: manifest.json: {}", what, why);
  };
  if (!manifest.is_array() || manifest.empty()) return bad("expected a list of images");
  if (manifest.size() > 1)
    return fail(Code::unsupported, "{}: it holds {} images; save one at a time", what, manifest.size());
  const Json& image = manifest.front();
  if (!image.is_object() || !image.contains("Config") || !image["Config"].is_string())
    return bad("no Config");
  if (!image.contains("Layers") || !image["Layers"].is_array()) return bad("no Layers");
  const std::string config_name = image["Config"].get<std::string>();
  std::string config_bytes;
  if (const auto document = documents_.find(config_name); document != documents_.end())
    config_bytes = document->second;
  else if (const auto blob = blobs_.find(config_name); blob != blobs_.end())
    config_bytes = TRY(store.read_blob(blob->second.digest, format::kMaxConfigBytes));
  else
    return bad("its Config is not in the archive");
  format::ImageConfig config = TRY(format::parse_config(config_bytes));
  const Json& names = image["Layers"];
  if (names.size() != config.diff_ids.size())
    return bad(fmt::format("{} layers, but {} diff ids", names.size(), config.diff_ids.size()));
  std::vector<Layer> layers;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (!names[i].is_string()) return bad("a layer's name is no string");
    layers.push_back(TRY(docker_layer(names[i].get<std::string>(), config.diff_ids[i], what)));
  }
  return store.put_image(std::move(config), layers);
}

}  // namespace naru::image
