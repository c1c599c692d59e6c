#include "image/tar_stream.h"

#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <array>
#include <cerrno>

namespace naru::image {

namespace {
constexpr std::size_t kChunk = 256U << 10;
// 128 MiB: what zstd's own tool refuses beyond without being asked (RFC 8878 recommends at least 8 MiB).
constexpr int kMaxZstdWindowLog = 27;
}  // namespace

format::Compression sniff_compression(std::string_view first) {
  if (first.starts_with("\x1f\x8b")) return format::Compression::gzip;
  if (first.starts_with("\x28\xb5\x2f\xfd")) return format::Compression::zstd;
  return format::Compression::none;
}

bool looks_like_tar(std::string_view block) {
  if (block.size() < 512) return false;
  block = block.substr(0, 512);
  if (block.find_first_not_of('\0') == std::string_view::npos) return true;
  unsigned sum = 0;
  for (std::size_t i = 0; i < 512; ++i)
    sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(block[i]);
  unsigned stated = 0;
  std::size_t at = 148;
  while (at < 156 && block[at] == ' ') ++at;
  if (at == 156 || block[at] < '0' || block[at] > '7') return false;
  for (; at < 156 && block[at] >= '0' && block[at] <= '7'; ++at)
    stated = stated * 8 + static_cast<unsigned>(block[at] - '0');
  return sum == stated;
}

struct TarStream::State {
  int fd;
  format::Compression compression;
  StreamLimits limits;
  std::function<Result<>(std::string_view)> on_raw;
  Sha256 hash;
  std::uint64_t raw = 0, tar = 0;
  std::string in = std::string(kChunk, '\0'), out = std::string(kChunk, '\0');
  std::string_view pending;  // compressed bytes not yet given to the decoder
  bool raw_ended = false, ended = false;
  bool between_frames = true;  // at the start of a gzip member or zstd frame
  z_stream gzip{};
  ZSTD_DCtx* zstd = nullptr;

  State(int from, format::Compression kind, StreamLimits bounds,
        std::function<Result<>(std::string_view)> tap)
      : fd(from), compression(kind), limits(bounds), on_raw(std::move(tap)) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (compression == format::Compression::gzip) inflateEnd(&gzip);
    ZSTD_freeDCtx(zstd);
  }

  Result<> fill() {
    while (pending.empty() && !raw_ended) {
      const ssize_t got = ::read(fd, in.data(), in.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return fail_errno(Code::system, "read a layer");
      raw_ended = got == 0;
      pending = std::string_view(in).substr(0, static_cast<std::size_t>(got));
      raw += pending.size();
      if (on_raw && !pending.empty()) TRY(on_raw(pending));
    }
    return {};
  }

  Result<std::size_t> inflate_some() {
    gzip.next_in = reinterpret_cast<unsigned char*>(const_cast<char*>(pending.data()));
    gzip.avail_in = static_cast<unsigned>(pending.size());
    gzip.next_out = reinterpret_cast<unsigned char*>(out.data());
    gzip.avail_out = static_cast<unsigned>(out.size());
    const int code = inflate(&gzip, Z_NO_FLUSH);
    pending.remove_prefix(pending.size() - gzip.avail_in);
    if (code == Z_STREAM_END) {
      inflateReset(&gzip);  // a gzip file may have several members (RFC 1952, 2.2)
      between_frames = true;
    } else if (code == Z_OK || code == Z_BUF_ERROR) {
      between_frames = false;
    } else {
      return fail(Code::malformed, "the layer is not valid gzip: {}", gzip.msg ? gzip.msg : "damaged");
    }
    return out.size() - gzip.avail_out;
  }

  Result<std::size_t> unzstd_some() {
    ZSTD_inBuffer from{pending.data(), pending.size(), 0};
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    const std::size_t code = ZSTD_decompressStream(zstd, &to, &from);
    if (ZSTD_isError(code))
      return fail(Code::malformed, "the layer is not valid zstd: {}", ZSTD_getErrorName(code));
    pending.remove_prefix(from.pos);
    between_frames = code == 0;
    return to.pos;
  }

  Result<std::string_view> decode() {
    while (true) {
      TRY(fill());
      if (compression == format::Compression::none) return std::exchange(pending, {});
      if (pending.empty() && raw_ended && between_frames) return std::string_view();
      const std::size_t before = pending.size();
      const std::size_t made =
          compression == format::Compression::gzip ? TRY(inflate_some()) : TRY(unzstd_some());
      if (made > 0) return std::string_view(out).substr(0, made);
      if (raw_ended && pending.empty() && !between_frames)
        return fail(Code::malformed, "the layer's compressed data is cut short");
      if (before == pending.size() && !pending.empty())
        return fail(Code::malformed, "the layer's compressed data does not go on");
    }
  }
};

TarStream::TarStream(std::unique_ptr<State> state) : state_(std::move(state)) {}
TarStream::~TarStream() = default;
TarStream::TarStream(TarStream&&) noexcept = default;

Result<TarStream> TarStream::open(int fd, format::Compression compression, const StreamLimits& limits,
                                  std::function<Result<>(std::string_view)> on_raw) {
  auto state = std::make_unique<State>(fd, compression, limits, std::move(on_raw));
  if (compression == format::Compression::gzip && inflateInit2(&state->gzip, 15 + 16) != Z_OK)
    return fail(Code::internal, "zlib does not start");
  if (compression == format::Compression::zstd) {
    state->zstd = ZSTD_createDCtx();
    if (!state->zstd) return fail(Code::internal, "zstd does not start");
    ZSTD_DCtx_setParameter(state->zstd, ZSTD_d_windowLogMax, kMaxZstdWindowLog);
  }
  return TarStream(std::move(state));
}

Result<std::string_view> TarStream::next() {
  State& s = *state_;
  if (s.ended) return std::string_view();
  const std::string_view bytes = TRY(s.decode());
  s.ended = bytes.empty();
  s.tar += bytes.size();
  s.hash.update(bytes);
  if (s.tar > s.limits.bytes)
    return fail(Code::too_large, "the layer holds more than {} bytes", s.limits.bytes);
  if (s.tar > s.limits.ratio_floor && s.tar / s.limits.ratio > s.raw)
    return fail(Code::too_large, "the layer grows more than {}-fold on decompression ({} bytes from {})",
                s.limits.ratio, s.tar, s.raw);
  return bytes;
}

Result<Digest> TarStream::finish() {
  while (!TRY(next()).empty()) {
  }
  return state_->hash.finish();
}

std::uint64_t TarStream::tar_bytes() const {
  return state_->tar;
}

}  // namespace naru::image
