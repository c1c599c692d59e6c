// The chunked transfer coding (RFC 9112 7.1), decoded byte by byte outside of data and in runs inside it.
#include <algorithm>
#include <limits>

#include "format/http1.h"

namespace naru::format::http1 {

namespace {
constexpr std::uint32_t kMaxLine = 256;            // an extension, or a trailer field
constexpr std::uint32_t kMaxOverhead = 16 * 1024;  // all extensions and trailers of one body
constexpr std::uint8_t kMaxDigits = 15;            // below 2^60

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}
bool is_text(char c) {
  return c == '\t' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
}
}  // namespace

ChunkDecoder::Step ChunkDecoder::refuse(const char* reason) const {
  return {Outcome::refused, 0, {}, {400, reason}};
}

void ChunkDecoder::skip(std::uint64_t bytes) {
  remaining_ -= std::min(bytes, remaining_);
  if (remaining_ == 0 && state_ == State::data) state_ = State::data_cr;
}

ChunkDecoder::Step ChunkDecoder::next(std::string_view input) {
  std::size_t at = 0;
  while (at < input.size() && state_ != State::done) {
    if (state_ == State::data) {
      const std::size_t run =
          static_cast<std::size_t>(std::min<std::uint64_t>(remaining_, input.size() - at));
      skip(run);
      return {Outcome::incomplete, at + run, input.substr(at, run), {}};
    }
    if (const char* fault = step_framing(input[at])) return refuse(fault);
    ++at;
  }
  return {finished() ? Outcome::complete : Outcome::incomplete, at, {}, {}};
}

// One byte of framing; a static sentence when it is wrong.
const char* ChunkDecoder::step_framing(char c) {
  switch (state_) {
    case State::size:
      if (const int digit = hex_value(c); digit >= 0) {
        if (digits_ == kMaxDigits) return "a chunk size has too many digits";
        ++digits_;
        remaining_ = remaining_ * 16 + static_cast<std::uint64_t>(digit);
        return nullptr;
      }
      if (digits_ == 0) return "a chunk does not begin with a hexadecimal size";
      if (c == '\r')
        state_ = State::size_lf;
      else if (c == ';')
        state_ = State::extension;
      else
        return "a chunk size is followed by something else than CR LF or an extension";
      line_bytes_ = 0;
      return nullptr;
    case State::extension:
      if (c == '\r') {
        state_ = State::size_lf;
        return nullptr;
      }
      if (!is_text(c)) return "a chunk extension holds a control character";
      if (++line_bytes_ > kMaxLine || ++overhead_bytes_ > kMaxOverhead)
        return "chunk extensions are larger than their bound";
      return nullptr;
    case State::size_lf:
      if (c != '\n') return "a CR is not followed by LF after a chunk size";
      state_ = remaining_ == 0 ? State::trailer : State::data;
      digits_ = 0;
      line_bytes_ = 0;
      trailer_colon_ = trailer_cr_ = false;
      return nullptr;
    case State::data_cr:
      if (c != '\r') return "a chunk is not followed by CR LF";
      state_ = State::data_lf;
      return nullptr;
    case State::data_lf:
      if (c != '\n') return "a chunk is not followed by CR LF";
      state_ = State::size;
      return nullptr;
    case State::trailer:
      return step_trailer(c);
    case State::data:
    case State::done:
      break;
  }
  return nullptr;
}

const char* ChunkDecoder::step_trailer(char c) {
  if (trailer_cr_) {
    if (c != '\n') return "a CR is not followed by LF in the trailers";
    if (line_bytes_ == 0)
      state_ = State::done;
    else if (!trailer_colon_)
      return "a trailer line has no colon";
    line_bytes_ = 0;
    trailer_cr_ = trailer_colon_ = false;
    return nullptr;
  }
  if (c == '\r') {
    trailer_cr_ = true;
    return nullptr;
  }
  if (c == ':' && line_bytes_ > 0)
    trailer_colon_ = true;
  else if (!trailer_colon_ && !is_token(std::string_view(&c, 1)))
    return "a trailer name is not a token";
  else if (!is_text(c))
    return "a trailer holds a control character";
  if (++line_bytes_ > kMaxLine * 16 || ++overhead_bytes_ > kMaxOverhead)
    return "the trailers are larger than their bound";
  return nullptr;
}

}  // namespace naru::format::http1
