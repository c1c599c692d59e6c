// What OCI images are made of: references, descriptors, manifests, indexes, configurations.
// Pure: bytes in, structs out, and back. All input may be hostile: everything is bounded, and what does not
// fit answers Code::malformed, Code::too_large or Code::unsupported with the place.
//
// Sources: OCI image specification 1.1 (descriptor.md, manifest.md, image-index.md, config.md, layer.md);
// Docker image manifest V2 schema 2; distribution's reference grammar (github.com/distribution/reference).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/result.h"
#include "model/json.h"
#include "model/service_spec.h"

namespace naru::format {

inline constexpr std::size_t kMaxManifestBytes =
    4U << 20;  // what registries agree on (distribution-spec, manifest push)
inline constexpr std::size_t kMaxConfigBytes = 8U << 20;
inline constexpr std::size_t kMaxLayers = 500;  // overlayfs itself stops at 500 lower layers

inline constexpr std::string_view kOciManifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view kOciIndex = "application/vnd.oci.image.index.v1+json";
inline constexpr std::string_view kOciConfig = "application/vnd.oci.image.config.v1+json";
inline constexpr std::string_view kOciLayerTar = "application/vnd.oci.image.layer.v1.tar";
inline constexpr std::string_view kOciLayerGzip = "application/vnd.oci.image.layer.v1.tar+gzip";
inline constexpr std::string_view kOciLayerZstd = "application/vnd.oci.image.layer.v1.tar+zstd";
inline constexpr std::string_view kDockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr std::string_view kDockerList = "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr std::string_view kDockerConfig = "application/vnd.docker.container.image.v1+json";
inline constexpr std::string_view kDockerLayerGzip = "application/vnd.docker.image.rootfs.diff.tar.gzip";
inline constexpr std::string_view kDockerLayerTar = "application/vnd.docker.image.rootfs.diff.tar";

enum class Compression { none, gzip, zstd };
// unsupported: not a layer that can be unpacked.
Result<Compression> layer_compression(std::string_view media_type);
std::string_view layer_media_type(Compression compression);

// The name of an image, with Docker's normalisation: "debian" is docker.io/library/debian:latest.
struct ImageReference {
  std::string registry;    // "docker.io", "localhost:5000", "ghcr.io"
  std::string repository;  // "library/debian"
  std::string tag;         // "" only when there is a digest
  Digest digest;           // empty unless pinned

  static Result<ImageReference> parse(std::string_view text);  // malformed
  std::string text() const;      // "docker.io/library/debian:latest", "...@sha256:..." when pinned
  std::string familiar() const;  // as people write it: "debian:latest"
  bool operator==(const ImageReference&) const = default;
};

struct Platform {
  std::string os = "linux";
  std::string architecture = "amd64";  // GOARCH names
  std::string variant;
  bool operator==(const Platform&) const = default;
};
Platform host_platform();

struct Descriptor {
  std::string media_type;
  Digest digest;
  std::uint64_t size = 0;
  std::map<std::string, std::string> annotations{};
  std::optional<Platform> platform{};  // in an index
  bool operator==(const Descriptor&) const = default;
};

struct ImageManifest {
  std::string media_type{kOciManifest};
  Descriptor config;
  std::vector<Descriptor> layers;  // lowest first
  std::map<std::string, std::string> annotations{};
};

struct ImageIndex {
  std::vector<Descriptor> manifests;
  // The entry for `platform`; not_found names what there is instead.
  Result<Descriptor> select(const Platform& platform) const;
};

struct HistoryEntry {
  std::string created;     // RFC 3339, may be empty
  std::string created_by;  // the instruction
  std::string author, comment;
  bool empty_layer = false;
  bool operator==(const HistoryEntry&) const = default;
};

// config.md. Fields that are not named here are not kept.
struct ImageConfig {
  Platform platform = host_platform();
  std::string created;  // RFC 3339; "" = left out
  std::string author;
  std::vector<std::string> env;  // "K=V"
  std::vector<std::string> entrypoint, cmd;
  std::string working_dir, user, stop_signal;
  std::vector<std::string> exposed_ports;  // "8080/tcp", sorted
  std::vector<std::string> volumes;        // sorted
  std::map<std::string, std::string> labels;
  std::vector<std::string> shell;    // Docker's extension; empty = /bin/sh -c
  std::optional<HealthSpec> health;  // Docker's extension; `test` in exec form
  std::vector<Digest> diff_ids;      // lowest first
  std::vector<HistoryEntry> history;
  bool operator==(const ImageConfig&) const = default;

  // The value of an environment variable, or nullopt.
  std::optional<std::string> env_value(std::string_view name) const;
  // Replaces or appends; the order of the others stays.
  void set_env(std::string_view name, std::string_view value);
};

bool is_manifest_type(std::string_view media_type);
bool is_index_type(std::string_view media_type);

// `media_type` as the server said it, or ""; a document that names another is refused (it could be read as
// two things).
Result<ImageManifest> parse_manifest(std::string_view bytes, std::string_view media_type = "");
Result<ImageIndex> parse_index(std::string_view bytes);
Result<ImageConfig> parse_config(std::string_view bytes);

// Deterministic: equal structs give equal bytes.
std::string write_manifest(const ImageManifest& manifest);
std::string write_index(const ImageIndex& index);
std::string write_config(const ImageConfig& config);

}  // namespace naru::format
