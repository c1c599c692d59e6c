#include "image/pull.h"

#include <atomic>
#include <mutex>
#include <thread>

#include "image/registry.h"

namespace naru::image {

namespace {

const std::string kAccept = fmt::format("{}, {}, {}, {}", format::kOciManifest, format::kDockerManifest,
                                        format::kOciIndex, format::kDockerList);

class Pull {
 public:
  Pull(const Store& store, HttpPort& http, const format::ImageReference& reference,
       const PullOptions& options)
      : store_(store), reference_(reference), options_(options), registry_(http, reference, options) {}

  Result<Image> run() {
    say(fmt::format("{}: asking", reference_.text()));
    const Digest manifest_digest = TRY(fetch_manifest());
    TRY(fetch_config());
    TRY(fetch_layers());
    TRY(store_.put_blob(manifest_bytes_, manifest_digest));
    TRY(store_.tag(reference_, manifest_digest));
    say(fmt::format("{}: {}", reference_.text(), manifest_digest.text()));
    return store_.image(manifest_digest);
  }

 private:
  void say(const std::string& line) {
    const std::lock_guard lock(mutex_);
    if (options_.progress) options_.progress(line);
  }

  Result<Digest> verified(const Registry::Document& document, const Digest& expected) const {
    Digest digest = Digest::of_sha256(document.bytes);
    if (!expected.empty() && digest != expected)
      return fail(Code::digest_mismatch, "{}: the manifest has the digest {}, asked for was {}",
                  reference_.text(), digest.text(), expected.text());
    if (document.stated_digest.starts_with("sha256:") && document.stated_digest != digest.text())
      return fail(Code::digest_mismatch, "{}: the registry calls the manifest {}, it is {}",
                  reference_.text(), document.stated_digest.substr(0, 80), digest.text());
    return digest;
  }

  // Through an index to the manifest of our platform.
  Result<Digest> fetch_manifest() {
    Digest expected = reference_.digest;
    std::string name = expected.empty() ? reference_.tag : expected.text();
    for (int depth = 0; depth < 3; ++depth) {
      const auto document = TRY(registry_.document("manifests/" + name, kAccept, format::kMaxManifestBytes));
      Digest digest = TRY(verified(document, expected));
      if (!format::is_index_type(document.media_type)) {
        manifest_ = TRY(format::parse_manifest(
            document.bytes, format::is_manifest_type(document.media_type) ? document.media_type : ""));
        manifest_bytes_ = document.bytes;
        return digest;
      }
      expected = TRY(TRY(format::parse_index(document.bytes)).select(options_.platform)).digest;
      name = expected.text();
    }
    return fail(Code::malformed, "{}: an index of indexes of indexes", reference_.text());
  }

  Result<> fetch_config() {
    const format::Descriptor& config = manifest_.config;
    if (config.size > format::kMaxConfigBytes)
      return fail(Code::too_large, "{}: its configuration has {} bytes, the bound is {}", reference_.text(),
                  config.size, format::kMaxConfigBytes);
    if (!store_.has(config.digest)) TRY(fetch_blob(config));
    const auto parsed =
        TRY(format::parse_config(TRY(store_.read_blob(config.digest, format::kMaxConfigBytes))));
    if (parsed.diff_ids.size() != manifest_.layers.size())
      return fail(Code::malformed, "{}: {} layers, but {} diff ids", reference_.text(),
                  manifest_.layers.size(), parsed.diff_ids.size());
    return {};
  }

  Result<> fetch_blob(const format::Descriptor& descriptor) {
    BlobWriter writer = TRY(registry_.blob(descriptor.digest, descriptor.size,
                                           [&] { return store_.begin_blob(descriptor.size); }));
    auto stored = writer.commit(descriptor.digest);
    if (!stored) return fail(stored.error().code, "{}: {}", reference_.text(), stored.error().message());
    return {};
  }

  Result<> fetch_layer(const format::Descriptor& layer) {
    if (store_.has(layer.digest)) {
      say(fmt::format("layer {}: here already", layer.digest.short_hex()));
      return {};
    }
    TRY(fetch_blob(layer));
    say(fmt::format("layer {}: {:.1f} MB", layer.digest.short_hex(), static_cast<double>(layer.size) / 1e6));
    return {};
  }

  Result<> fetch_layers() {
    for (const format::Descriptor& layer : manifest_.layers) {  // refuse before the first byte
      TRY(format::layer_compression(layer.media_type));
      if (layer.size > options_.max_layer_bytes)
        return fail(Code::too_large, "{}: layer {} has {} bytes, the bound is {}", reference_.text(),
                    layer.digest.text(), layer.size, options_.max_layer_bytes);
    }
    std::atomic<std::size_t> next{0};
    std::optional<Error> first_error;
    const auto work = [&] {
      for (std::size_t i = next++; i < manifest_.layers.size(); i = next++) {
        const auto fetched = fetch_layer(manifest_.layers[i]);
        if (fetched) continue;
        const std::lock_guard lock(mutex_);
        if (!first_error) first_error = fetched.error();
        next = manifest_.layers.size();
      }
    };
    {
      std::vector<std::jthread> threads;
      const std::size_t count =
          std::min(std::max<std::size_t>(options_.parallel_layers, 1), manifest_.layers.size());
      for (std::size_t i = 1; i < count; ++i) threads.emplace_back(work);
      work();
    }
    return first_error ? Result<>(std::unexpected(*first_error)) : Result<>();
  }

  const Store& store_;
  const format::ImageReference& reference_;
  const PullOptions& options_;
  Registry registry_;
  std::mutex mutex_;  // progress and the first error
  format::ImageManifest manifest_;
  std::string manifest_bytes_;
};

}  // namespace

Result<Image> pull(const Store& store, HttpPort& http, const format::ImageReference& reference,
                   const PullOptions& options) {
  return Pull(store, http, reference, options).run();
}

}  // namespace naru::image
