// Bytes in, compressed bytes to a descriptor, both digests on the way. Deterministic for one version of zlib
// or zstd.
#pragma once

#include <memory>
#include <string_view>

#include "base/digest.h"
#include "base/result.h"
#include "format/oci.h"

namespace naru::image {

class Compressor {
 public:
  static Result<Compressor> open(int out_fd, format::Compression compression, int level);
  ~Compressor();
  Compressor(Compressor&&) noexcept;
  Compressor& operator=(Compressor&&) = delete;

  Result<> write(std::string_view bytes);
  struct Sums {
    Digest blob, content;
    std::uint64_t blob_bytes = 0, content_bytes = 0;
  };
  Result<Sums> finish();  // once

 private:
  struct State;
  explicit Compressor(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace naru::image
