// An image from a registry (OCI distribution specification 1.1, pull; Docker's token authentication),
// anonymously. Blocking: runs on a worker thread of control, as user naru.
//
// HTTPS with the system's CA certificates; plain HTTP only for loopback registries and those named in
// `insecure`. Redirects are followed within bounds, the token goes only to the registry itself. All bytes are
// verified against the digests of the manifest, and the manifest against the reference's digest when it has
// one. Up to four layers at once.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "format/oci.h"
#include "image/ports.h"
#include "image/store.h"

namespace naru::image {

struct PullOptions {
  format::Platform platform = format::host_platform();
  std::vector<std::string> insecure{};  // registries that may speak plain HTTP, "host[:port]"
  std::size_t parallel_layers = 4;
  std::uint64_t max_layer_bytes = 8ULL << 30;
  milliseconds request_timeout{30'000};  // for small documents, and for a blob to begin
  milliseconds blob_timeout{1'800'000};  // for one whole blob
  std::uint32_t attempts = 3;            // of one request whose connection breaks or that is answered 5xx
  milliseconds retry_pause{300};         // before the second attempt; twice that before the third
  std::function<void(std::string_view line)> progress{};  // called on any thread, one at a time; may be empty
};

// Pulls, stores and tags. image_unknown, registry_refused, digest_mismatch, too_large, timeout, unsupported,
// malformed.
Result<Image> pull(const Store& store, HttpPort& http, const format::ImageReference& reference,
                   const PullOptions& options = {});

}  // namespace naru::image
