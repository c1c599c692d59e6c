// Any bytes as a manifest, an index, a configuration or a reference: an answer within the bounds, and what
// was understood is written and read again as the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "format/oci.h"

namespace format = naru::format;

namespace {

void require(bool ok) {
  if (!ok) std::abort();
}

void check_manifest(std::string_view bytes) {
  const auto manifest = format::parse_manifest(bytes);
  if (!manifest) return;
  require(manifest->layers.size() <= format::kMaxLayers);
  const std::string written = format::write_manifest(*manifest);
  const auto again = format::parse_manifest(written);
  require(again && again->config == manifest->config && again->layers == manifest->layers);
  for (const auto& layer : manifest->layers) (void)format::layer_compression(layer.media_type);
}

void check_index(std::string_view bytes) {
  const auto index = format::parse_index(bytes);
  if (!index) return;
  const auto again = format::parse_index(format::write_index(*index));
  require(again && again->manifests == index->manifests);
  (void)index->select(format::host_platform());
}

void check_config(std::string_view bytes) {
  auto config = format::parse_config(bytes);
  if (!config) return;
  require(config->diff_ids.size() <= format::kMaxLayers);
  const auto again = format::parse_config(format::write_config(*config));
  require(again && *again == *config);
  config->set_env("PATH", "/bin");
  require(config->env_value("PATH") == "/bin");
}

void check_reference(std::string_view bytes) {
  const auto reference = format::ImageReference::parse(bytes);
  if (!reference) return;
  for (const std::string& text : {reference->text(), reference->familiar()}) {
    const auto again = format::ImageReference::parse(text);
    require(again && *again == *reference);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check_manifest(bytes);
  check_index(bytes);
  check_config(bytes);
  check_reference(bytes);
  return 0;
}
