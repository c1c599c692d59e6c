// HTTP/1.1 message syntax (RFC 9112, RFC 9110): strict, bounded, zero-copy.
//
// What two parsers may read differently is refused (request smuggling): bare CR or LF, obs-fold, space before
// the colon, control bytes, repeated Content-Length, Content-Length beside Transfer-Encoding, any
// Transfer-Encoding but exactly "chunked", absolute-form that contradicts Host. Nothing here allocates; every
// view points into the caller's bytes and lives as long as they do. Thread: any; no state is shared.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace naru::format::http1 {

inline constexpr std::size_t kMaxFields = 100;

struct Limits {
  std::size_t head_bytes = 64 * 1024;    // start line and fields together; more is 431
  std::size_t fields = kMaxFields;       // at most kMaxFields; more is 431
  std::size_t target_bytes = 16 * 1024;  // more is 414
};

struct Field {
  std::string_view name;   // as received; compare with `iequals`
  std::string_view value;  // without surrounding whitespace
};

// Why a message was refused. `reason` is a static sentence; `status` is what to answer (400, 414, 431, 501,
// 505); when it was a response that was refused, a gateway answers 502.
struct Refusal {
  int status = 0;
  const char* reason = "";
};

enum class Outcome : std::uint8_t { complete, incomplete, refused };

struct Parsed {
  Outcome outcome = Outcome::incomplete;
  std::size_t consumed = 0;  // bytes of the head, including the empty line; 0 unless complete
  Refusal refusal;           // when refused
};

enum class BodyKind : std::uint8_t { none, length, chunked, until_close };

struct Framing {
  BodyKind kind = BodyKind::none;
  std::uint64_t length = 0;  // kind == length
};

// What both kinds of head have in common. Large (3 KiB): keep it in a connection object, not in a coroutine
// frame.
struct Head {
  std::uint8_t minor_version = 1;   // HTTP/1.<minor>: 0 or 1
  bool keep_alive = true;           // as the message asks; the other side decides too
  bool connection_upgrade = false;  // Connection lists "upgrade"
  bool chunked = false;
  std::optional<std::uint64_t> content_length;
  std::string_view upgrade;  // value of Upgrade when connection_upgrade, else empty
  std::uint16_t field_count = 0;
  std::array<Field, kMaxFields> field_storage;

  std::span<const Field> fields() const { return {field_storage.data(), field_count}; }
  // The first field of that name (case-insensitive), or nothing.
  std::optional<std::string_view> find(std::string_view name) const;
  // True for Connection, Keep-Alive, Proxy-Connection, TE, Trailer, Transfer-Encoding, Upgrade, and what
  // Connection names (RFC 9110 7.6.1): not to be forwarded.
  bool is_hop_by_hop(std::string_view name) const;

  // Set while parsing; see request and response.
  std::array<std::string_view, 4> connection_values;
  std::uint8_t connection_count = 0;
};

struct RequestHead : Head {
  std::string_view method;
  std::string_view target;  // as received
  std::string_view path;    // origin-form path without the query; "*" for OPTIONS *; empty for CONNECT
  std::string_view query;   // without "?"; empty when there is none
  std::string_view origin;  // path and query as they would be forwarded ("/" when absolute-form has no path)
  std::string_view authority;  // the Host field (or CONNECT's target), validated: host[:port]
  bool expect_continue = false;
  Framing framing;

  std::string_view host() const;  // authority without the port
};

struct ResponseHead : Head {
  int status = 0;
  std::string_view reason;
  Framing framing;  // for the request's method, as given to parse_response
};

// Incremental: call with all bytes of the message so far. `scanned` must start at 0 and is kept between the
// calls of one message (so that a peer that drips bytes costs linear work). A single empty line before the
// request is skipped.
Parsed parse_request(std::string_view bytes, std::size_t& scanned, RequestHead& head,
                     const Limits& limits = {});
// `request_method` decides on the framing (HEAD and CONNECT).
Parsed parse_response(std::string_view bytes, std::size_t& scanned, std::string_view request_method,
                      ResponseHead& head, const Limits& limits = {});

// What a client's first bytes say.
enum class Protocol : std::uint8_t { need_more, http1, http2, tls, other };
Protocol sniff(std::string_view bytes);

// Decodes the chunked coding. Extensions and trailers are checked, bounded and dropped.
//   while (...) { step = decoder.next(input); input.remove_prefix(step.consumed); use(step.data); }
class ChunkDecoder {
 public:
  struct Step {
    Outcome outcome = Outcome::incomplete;  // complete: the last chunk and the trailers are consumed
    std::size_t consumed = 0;               // of the input, data and framing
    std::string_view data;                  // a part of the input; may be empty
    Refusal refusal;
  };
  // Consumes framing and at most one run of data.
  Step next(std::string_view input);
  bool finished() const { return state_ == State::done; }
  // Bytes of data still to come of the present chunk: they may be spliced instead, then `skip`ped.
  std::uint64_t pending_data() const { return state_ == State::data ? remaining_ : 0; }
  void skip(std::uint64_t bytes);

 private:
  enum class State : std::uint8_t { size, extension, size_lf, data, data_cr, data_lf, trailer, done };
  Step refuse(const char* reason) const;
  const char* step_framing(char c);
  const char* step_trailer(char c);

  State state_ = State::size;
  std::uint8_t digits_ = 0;
  bool trailer_cr_ = false, trailer_colon_ = false;
  std::uint32_t line_bytes_ = 0;      // of the present extension or trailer line
  std::uint32_t overhead_bytes_ = 0;  // extensions and trailers of the whole body
  std::uint64_t remaining_ = 0;
};

// --- writing
// ---------------------------------------------------------------------------------------------------
bool iequals(std::string_view a, std::string_view b);  // ASCII
bool is_token(std::string_view text);
bool is_field_value(std::string_view text);  // no CR, LF, NUL or other control byte
std::string_view reason_phrase(int status);  // "" when unknown
// "Sun, 06 Nov 1994 08:49:37 GMT"
std::string http_date(WallTime time);

void append_status_line(std::string& out, int status);
void append_request_line(std::string& out, std::string_view method, std::string_view target);
// The caller has checked name and value (is_token, is_field_value): what came out of the parser is.
inline void append_field(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ").append(value).append("\r\n");
}
void append_content_length(std::string& out, std::uint64_t length);
// "<hex>\r\n"; the caller adds the data and "\r\n". The last chunk is kLastChunk.
void append_chunk_size(std::string& out, std::uint64_t size);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

// Does a comma-separated list (Connection, Accept-Encoding without weights) hold the token? Case-insensitive.
bool list_contains(std::string_view list, std::string_view token);

// %XX decoded; nothing when the escapes are malformed. `plus_is_space` for query strings.
std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space = false);
// Everything but unreserved characters (RFC 3986 2.3) and `keep` as %XX.
std::string percent_encode(std::string_view text, std::string_view keep = "");
// The value of a key in "a=1&b=2", decoded.
std::optional<std::string> query_value(std::string_view query, std::string_view key);
// The value of a cookie in a Cookie field (RFC 6265 4.2), not decoded.
std::optional<std::string_view> cookie_value(std::string_view cookie_field, std::string_view name);

}  // namespace naru::format::http1
