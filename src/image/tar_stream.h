// The decompressed bytes of a layer, hashed as they pass (the diff id), bounded against bombs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "base/digest.h"
#include "base/result.h"
#include "format/oci.h"

namespace naru::image {

struct StreamLimits {
  std::uint64_t bytes = 32ULL << 30;  // decompressed
  std::uint64_t ratio = 250;
  std::uint64_t ratio_floor = 64ULL << 20;
};

// By the magic number of gzip or zstd; else none.
format::Compression sniff_compression(std::string_view first_bytes);
// A tar header with a right checksum (or an empty tar, all zero). 512 bytes or more.
bool looks_like_tar(std::string_view first_bytes);

class TarStream {
 public:
  // Reads `fd` from its position; the caller keeps it open. `on_raw` sees every compressed byte once.
  static Result<TarStream> open(int fd, format::Compression compression, const StreamLimits& limits,
                                std::function<Result<>(std::string_view)> on_raw = {});
  ~TarStream();
  TarStream(TarStream&&) noexcept;
  TarStream& operator=(TarStream&&) = delete;

  // The next bytes, valid until the next call; empty at the end. malformed, too_large, system.
  Result<std::string_view> next();
  // Reads what is left (padding counts into the diff id) and returns the digest. Call once.
  Result<Digest> finish();
  std::uint64_t tar_bytes() const;

 private:
  struct State;
  explicit TarStream(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace naru::image
