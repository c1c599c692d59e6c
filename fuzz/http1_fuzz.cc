// Heads and chunked bodies: whatever the bytes and however they are cut, the answer is the same and every
// view lies inside the input.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "format/http1.h"

namespace http1 = naru::format::http1;

namespace {

void require(bool ok) {
  if (!ok) std::abort();
}

bool inside(std::string_view part, std::string_view whole) {
  return part.empty() ||
         (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void check_request(std::string_view bytes) {
  http1::RequestHead whole, cut;
  std::size_t scanned = 0;
  const auto at_once = http1::parse_request(bytes, scanned, whole);
  if (at_once.outcome == http1::Outcome::complete) {
    require(at_once.consumed <= bytes.size());
    for (const auto& field : whole.fields()) require(inside(field.name, bytes) && inside(field.value, bytes));
    require(inside(whole.method, bytes) && inside(whole.target, bytes) && inside(whole.authority, bytes));
  }
  std::size_t dripped = 0;
  http1::Parsed last;
  for (std::size_t size = 1; size <= bytes.size() && last.outcome == http1::Outcome::incomplete;
       size += 1 + size / 16)
    last = http1::parse_request(bytes.substr(0, size), dripped, cut);
  if (last.outcome == http1::Outcome::incomplete) last = http1::parse_request(bytes, dripped, cut);
  require((last.outcome == http1::Outcome::complete) == (at_once.outcome == http1::Outcome::complete));
  if (last.outcome == http1::Outcome::complete) require(last.consumed == at_once.consumed);
}

std::string decode(std::string_view bytes, std::size_t step) {
  http1::ChunkDecoder decoder;
  std::string out;
  while (!bytes.empty() && !decoder.finished()) {
    const auto piece = bytes.substr(0, step);
    const auto result = decoder.next(piece);
    if (result.outcome == http1::Outcome::refused) return "!";
    require(result.consumed > 0 && inside(result.data, piece));
    out += result.data;
    bytes.remove_prefix(result.consumed);
  }
  return decoder.finished() ? out : "?";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check_request(bytes);
  http1::ResponseHead response;
  std::size_t scanned = 0;
  (void)http1::parse_response(bytes, scanned, "GET", response);
  (void)http1::sniff(bytes);
  require(decode(bytes, 1) == decode(bytes, size + 1));
  return 0;
}
