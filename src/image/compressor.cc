#include "image/compressor.h"

#include <zlib.h>
#include <zstd.h>

#include "image/files.h"

namespace naru::image {

namespace {
constexpr std::size_t kChunk = 256U << 10;
}  // namespace

struct Compressor::State {
  int fd;
  format::Compression kind;
  Sha256 blob, content;
  Sums sums;
  std::string out = std::string(kChunk, '\0');
  z_stream gzip{};
  ZSTD_CCtx* zstd = nullptr;

  State(int to, format::Compression compression) : fd(to), kind(compression) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (kind == format::Compression::gzip) deflateEnd(&gzip);
    ZSTD_freeCCtx(zstd);
  }

  Result<> emit(std::string_view bytes) {
    blob.update(bytes);
    sums.blob_bytes += bytes.size();
    return write_all(fd, bytes, "the layer");
  }

  Result<> run_gzip(std::string_view bytes, bool last) {
    gzip.next_in = reinterpret_cast<unsigned char*>(const_cast<char*>(bytes.data()));
    gzip.avail_in = static_cast<unsigned>(bytes.size());
    while (true) {
      gzip.next_out = reinterpret_cast<unsigned char*>(out.data());
      gzip.avail_out = static_cast<unsigned>(out.size());
      const int code = deflate(&gzip, last ? Z_FINISH : Z_NO_FLUSH);
      if (code == Z_STREAM_ERROR) return fail(Code::internal, "zlib cannot go on");
      TRY(emit(std::string_view(out).substr(0, out.size() - gzip.avail_out)));
      if (last ? code == Z_STREAM_END : gzip.avail_out > 0) return {};
    }
  }

  Result<> run_zstd(std::string_view bytes, bool last) {
    ZSTD_inBuffer from{bytes.data(), bytes.size(), 0};
    while (true) {
      ZSTD_outBuffer to{out.data(), out.size(), 0};
      const std::size_t left = ZSTD_compressStream2(zstd, &to, &from, last ? ZSTD_e_end : ZSTD_e_continue);
      if (ZSTD_isError(left)) return fail(Code::internal, "zstd: {}", ZSTD_getErrorName(left));
      TRY(emit(std::string_view(out).substr(0, to.pos)));
      if (last ? left == 0 : from.pos == from.size) return {};
    }
  }

  Result<> run(std::string_view bytes, bool last) {
    if (kind == format::Compression::gzip) return run_gzip(bytes, last);
    if (kind == format::Compression::zstd) return run_zstd(bytes, last);
    return emit(bytes);
  }
};

Compressor::Compressor(std::unique_ptr<State> state) : state_(std::move(state)) {}
Compressor::~Compressor() = default;
Compressor::Compressor(Compressor&&) noexcept = default;

Result<Compressor> Compressor::open(int out_fd, format::Compression compression, int level) {
  auto state = std::make_unique<State>(out_fd, compression);
  if (compression == format::Compression::gzip &&
      deflateInit2(&state->gzip, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    return fail(Code::invalid_argument, "gzip has no level {}", level);
  if (compression == format::Compression::zstd) {
    state->zstd = ZSTD_createCCtx();
    if (!state->zstd || ZSTD_isError(ZSTD_CCtx_setParameter(state->zstd, ZSTD_c_compressionLevel, level)))
      return fail(Code::invalid_argument, "zstd has no level {}", level);
    ZSTD_CCtx_setParameter(state->zstd, ZSTD_c_checksumFlag, 1);
  }
  return Compressor(std::move(state));
}

Result<> Compressor::write(std::string_view bytes) {
  state_->content.update(bytes);
  state_->sums.content_bytes += bytes.size();
  return state_->run(bytes, false);
}

Result<Compressor::Sums> Compressor::finish() {
  TRY(state_->run({}, true));
  state_->sums.blob = state_->blob.finish();
  state_->sums.content = state_->content.finish();
  return state_->sums;
}

}  // namespace naru::image
