#include "format/http1.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace naru::format::http1 {

namespace {

enum : std::uint8_t { kTokenChar = 1, kValueChar = 2, kTargetChar = 4, kHostChar = 8 };

constexpr std::array<std::uint8_t, 256> make_classes() {
  std::array<std::uint8_t, 256> table{};
  for (int c = 0; c < 256; ++c) {
    std::uint8_t bits = 0;
    const bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
    if (alnum || (c < 128 && kMarks.find(static_cast<char>(c)) != std::string_view::npos)) bits |= kTokenChar;
    if (c == '\t' || (c >= 0x20 && c != 0x7f)) bits |= kValueChar;
    // Browsers send some characters raw that RFC 3986 would escape; these four never, and a fragment is never
    // sent.
    if (c > 0x20 && c < 0x7f && c != '#' && c != '"' && c != '<' && c != '>') bits |= kTargetChar;
    if (alnum || c == '-' || c == '.' || c == '_' || c == '~') bits |= kHostChar;
    table[static_cast<std::size_t>(c)] = bits;
  }
  return table;
}
constexpr auto kClasses = make_classes();

constexpr bool is(char c, std::uint8_t wanted) {
  return (kClasses[static_cast<unsigned char>(c)] & wanted) != 0;
}
constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

Parsed refuse(int status, const char* reason) {
  return {Outcome::refused, 0, {status, reason}};
}

// The first byte that a field value may not hold; eight at a time.
const char* skip_value(const char* p, const char* end) {
  constexpr std::uint64_t kOnes = 0x0101010101010101, kHigh = kOnes * 0x80;
  while (end - p >= 8) {
    std::uint64_t word;
    std::memcpy(&word, p, 8);
    const std::uint64_t below_space = (word - kOnes * 0x20) & ~word & kHigh;
    const std::uint64_t del = word ^ (kOnes * 0x7f);
    if ((below_space | ((del - kOnes) & ~del & kHigh)) != 0) break;
    p += 8;
  }
  while (p < end && is(*p, kValueChar)) ++p;
  return p;
}

// Finds the empty line that ends the head, resuming at `scanned`.
struct HeadEnd {
  Outcome outcome{};
  std::size_t end = 0;
};
HeadEnd find_head_end(std::string_view bytes, std::size_t& scanned) {
  std::size_t at = scanned;
  while (at < bytes.size()) {
    const void* found = std::memchr(bytes.data() + at, '\n', bytes.size() - at);
    if (found == nullptr) break;
    const std::size_t lf = static_cast<std::size_t>(static_cast<const char*>(found) - bytes.data());
    if (lf == 0 || bytes[lf - 1] != '\r') return {Outcome::refused};
    at = lf + 1;
    if (lf >= 3 && bytes[lf - 2] == '\n') {
      scanned = at;
      return {Outcome::complete, at};
    }
  }
  scanned = bytes.size();
  return {Outcome::incomplete};
}

bool parse_length(std::string_view text, std::uint64_t& length) {
  if (text.empty() || text.size() > 19) return false;
  std::uint64_t value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return false;
  length = value;
  return true;
}

bool valid_port(std::string_view port) {
  if (port.empty() || port.size() > 5) return false;
  unsigned value = 0;
  for (char c : port) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + static_cast<unsigned>(c - '0');
  }
  return value <= 65535;
}

bool valid_authority(std::string_view text, bool port_required) {
  std::string_view rest;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos || close < 3) return false;
    for (char c : text.substr(1, close - 1))
      if (!((c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'f') || c == ':' || c == '.'))
        return false;
    rest = text.substr(close + 1);
  } else {
    std::size_t length = 0;
    while (length < text.size() && is(text[length], kHostChar)) ++length;
    if (length == 0 || length > 255) return false;
    rest = text.substr(length);
  }
  if (rest.empty()) return !port_required;
  return rest[0] == ':' && valid_port(rest.substr(1));
}

// "HTTP/1.0" or "HTTP/1.1".
const Refusal* check_version(std::string_view text, std::uint8_t& minor) {
  static constexpr Refusal kBad{400, "the protocol version is not of the form HTTP/d.d"};
  static constexpr Refusal kUnknown{505, "only HTTP/1.0 and HTTP/1.1 are understood here"};
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (text.size() != 8 || !text.starts_with("HTTP/") || !digit(text[5]) || text[6] != '.' || !digit(text[7]))
    return &kBad;
  if (text[5] != '1' || text[7] > '1') return &kUnknown;
  minor = static_cast<std::uint8_t>(text[7] - '0');
  return nullptr;
}

// What the fields of one head say, besides being listed.
struct Known {
  std::string_view host, expect, upgrade;
  bool has_host = false, has_transfer_encoding = false;
};

Parsed note_connection(Head& head, std::string_view value) {
  if (head.connection_count == head.connection_values.size())
    return refuse(400, "there are too many Connection fields");
  // Whoever strips what Connection names would change the message's meaning for the next one.
  if (list_contains(value, "host") || list_contains(value, "content-length"))
    return refuse(400, "Connection names a field that must not be dropped");
  head.connection_values[head.connection_count++] = value;
  return {};
}

Parsed note_transfer_encoding(Head& head, Known& known, std::string_view value) {
  if (known.has_transfer_encoding) return refuse(400, "Transfer-Encoding is repeated");
  known.has_transfer_encoding = true;
  if (!iequals(value, "chunked"))
    return refuse(501, "the only Transfer-Encoding understood is exactly \"chunked\"");
  if (head.minor_version == 0) return refuse(400, "HTTP/1.0 has no Transfer-Encoding");
  head.chunked = true;
  return {};
}

Parsed note_content_length(Head& head, std::string_view value) {
  if (head.content_length) return refuse(400, "Content-Length is repeated");
  std::uint64_t length = 0;
  if (!parse_length(value, length))
    return refuse(400, "Content-Length is not a decimal number within bounds");
  head.content_length = length;
  return {};
}

// Only names of these lengths are compared: most fields cost one switch.
Parsed note_field(Head& head, Known& known, const Field& field) {
  switch (field.name.size()) {
    case 4:
      if (!iequals(field.name, "host")) return {};
      if (known.has_host) return refuse(400, "Host is repeated");
      known.has_host = true;
      known.host = field.value;
      return {};
    case 6:
      if (iequals(field.name, "expect")) known.expect = field.value;
      return {};
    case 7:
      if (iequals(field.name, "upgrade")) known.upgrade = field.value;
      return {};
    case 10:
      return iequals(field.name, "connection") ? note_connection(head, field.value) : Parsed{};
    case 14:
      return iequals(field.name, "content-length") ? note_content_length(head, field.value) : Parsed{};
    case 17:
      return iequals(field.name, "transfer-encoding") ? note_transfer_encoding(head, known, field.value)
                                                      : Parsed{};
    default:
      return {};
  }
}

const char* name_fault(char c) {
  if (c == ' ' || c == '\t') return "there is whitespace before the colon of a field";
  if (c == '\0') return "a field holds a NUL byte";
  if (c == '\r') return "a field line has no colon";
  return "a field name holds a character that no token may hold";
}
const char* value_fault(char c) {
  if (c == '\0') return "a field holds a NUL byte";
  if (c == '\r') return "a CR is not followed by LF";
  return "a field value holds a control character";
}

// All field lines from `p` to the empty line at the end of the head.
Parsed parse_fields(const char* p, const char* end, Head& head, Known& known, const Limits& limits) {
  const std::size_t most = std::min<std::size_t>(limits.fields, kMaxFields);
  while (*p != '\r' || p[1] != '\n') {
    if (*p == ' ' || *p == '\t')
      return refuse(400, "a field line begins with whitespace (obsolete line folding)");
    if (head.field_count == most) return refuse(431, "there are more header fields than the bound");
    const char* const name = p;
    while (is(*p, kTokenChar)) ++p;  // ends at the latest at the CR that ends the head
    if (p == name && *p == ':') return refuse(400, "a field has an empty name");
    if (*p != ':') return refuse(400, name_fault(*p));
    const std::size_t name_length = static_cast<std::size_t>(p - name);
    ++p;
    while (*p == ' ' || *p == '\t') ++p;
    const char* const value = p;
    p = skip_value(p, end);
    if (*p != '\r' || p[1] != '\n') return refuse(400, value_fault(*p));
    const char* last = p;
    while (last > value && (last[-1] == ' ' || last[-1] == '\t')) --last;
    Field& field = head.field_storage[head.field_count++];
    field = {{name, name_length}, {value, static_cast<std::size_t>(last - value)}};
    if (const Parsed noted = note_field(head, known, field); noted.outcome == Outcome::refused) return noted;
    p += 2;
  }
  return {};
}

void finish_connection(Head& head, const Known& known) {
  bool close = false, keep = false;
  for (std::size_t i = 0; i < head.connection_count; ++i) {
    const std::string_view value = head.connection_values[i];
    close = close || list_contains(value, "close");
    keep = keep || list_contains(value, "keep-alive");
    head.connection_upgrade = head.connection_upgrade || list_contains(value, "upgrade");
  }
  head.keep_alive = !close && (head.minor_version == 1 || keep);
  if (head.connection_upgrade) head.upgrade = known.upgrade;
  head.connection_upgrade = head.connection_upgrade && !known.upgrade.empty();
}

void reset(Head& head) {
  head.minor_version = 1;
  head.keep_alive = true;
  head.connection_upgrade = head.chunked = false;
  head.content_length.reset();
  head.upgrade = {};
  head.field_count = 0;
  head.connection_count = 0;
}

bool has_scheme(std::string_view target, std::string_view& after) {
  for (std::string_view scheme : {"http://", "https://"})
    if (target.size() > scheme.size() && iequals(target.substr(0, scheme.size()), scheme)) {
      after = target.substr(scheme.size());
      return true;
    }
  return false;
}

// Splits the target into its parts (RFC 9112 3.2); absolute-form must agree with Host.
Parsed parse_target(RequestHead& head, const Known& known) {
  head.path = head.query = head.origin = {};
  head.authority = known.host;
  const std::string_view target = head.target;
  std::string_view origin = target;
  if (head.method == "CONNECT") {
    if (!valid_authority(target, true)) return refuse(400, "the target of CONNECT is not host:port");
    head.authority = target;
    return {};
  }
  if (target == "*") {
    if (head.method != "OPTIONS") return refuse(400, "the target * is for OPTIONS only");
    head.path = head.origin = target;
    return {};
  }
  if (std::string_view after; has_scheme(target, after)) {
    const std::size_t slash = after.find_first_of("/?");
    const std::string_view authority = after.substr(0, slash);
    if (!valid_authority(authority, false))
      return refuse(400, "the authority of the target is not host[:port]");
    if (known.has_host && !iequals(authority, known.host))
      return refuse(400, "the target's host contradicts the Host field");
    if (slash != std::string_view::npos && after[slash] == '?')
      return refuse(400, "the target has a query but no path");
    head.authority = authority;
    origin = slash == std::string_view::npos ? std::string_view("/") : after.substr(slash);
  }
  if (!origin.starts_with('/')) return refuse(400, "the request target does not begin with /");
  const std::size_t mark = origin.find('?');
  head.origin = origin;
  head.path = origin.substr(0, mark);
  if (mark != std::string_view::npos) head.query = origin.substr(mark + 1);
  if (head.path.find('\\') != std::string_view::npos) return refuse(400, "the path holds a backslash");
  return {};
}

// "METHOD SP target SP HTTP/1.1 CRLF"; leaves `p` at the first field line.
Parsed parse_request_line(const char*& p, RequestHead& head, const Limits& limits) {
  const char* const method = p;
  while (is(*p, kTokenChar)) ++p;
  head.method = {method, static_cast<std::size_t>(p - method)};
  if (head.method.empty() || *p != ' ') return refuse(400, "the method is not a token followed by one space");
  if (head.method.size() > 32) return refuse(501, "the method is longer than any that is known");
  const char* const target = ++p;
  while (is(*p, kTargetChar)) ++p;
  head.target = {target, static_cast<std::size_t>(p - target)};
  if (head.target.size() > limits.target_bytes)
    return refuse(414, "the request target is longer than its bound");
  if (head.target.empty()) return refuse(400, "the request target is empty");
  if (*p != ' ')
    return refuse(400, "the request target holds a character that no URI may hold, or no version follows it");
  const char* const version = ++p;
  while (*p != '\r' && *p != '\n') ++p;
  if (p[1] != '\n') return refuse(400, "a CR is not followed by LF");
  if (const Refusal* bad =
          check_version({version, static_cast<std::size_t>(p - version)}, head.minor_version))
    return {Outcome::refused, 0, *bad};
  p += 2;
  return {};
}

Parsed finish_request(RequestHead& head, const Known& known) {
  if (!known.has_host && head.minor_version == 1) return refuse(400, "HTTP/1.1 needs a Host field");
  if (known.has_host && !valid_authority(known.host, false))
    return refuse(400, "the Host field is not host[:port]");
  if (head.chunked && head.content_length)
    return refuse(400, "both Content-Length and Transfer-Encoding are given");
  head.expect_continue = false;
  if (!known.expect.empty()) {
    if (!iequals(known.expect, "100-continue"))
      return refuse(417, "the only expectation understood is 100-continue");
    head.expect_continue = head.minor_version == 1;
  }
  head.framing = {};
  if (head.chunked) head.framing.kind = BodyKind::chunked;
  if (head.content_length.value_or(0) > 0) head.framing = {BodyKind::length, *head.content_length};
  finish_connection(head, known);
  return parse_target(head, known);
}

// Shared start of both parsers: complete with the head's end, or what to return now.
Parsed locate_head(std::string_view bytes, std::size_t start, std::size_t& scanned, const Limits& limits) {
  scanned = std::max(scanned, start);
  const HeadEnd found = find_head_end(bytes, scanned);
  if (found.outcome == Outcome::refused) return refuse(400, "a line ends with LF alone");
  const std::size_t size = found.outcome == Outcome::complete ? found.end : bytes.size();
  if (size - start > limits.head_bytes) return refuse(431, "the head is larger than its bound");
  return {found.outcome, found.end, {}};
}

}  // namespace

Parsed parse_request(std::string_view bytes, std::size_t& scanned, RequestHead& head, const Limits& limits) {
  std::size_t start = 0;
  if (bytes.starts_with('\r')) {
    if (bytes.size() == 1) return {};
    if (bytes[1] != '\n') return refuse(400, "a CR is not followed by LF");
    start = 2;
  }
  // Garbage (another protocol) is refused at its first byte, not after a timeout.
  if (start < bytes.size() && !is(bytes[start], kTokenChar))
    return refuse(400, "the request does not begin with a method");
  const Parsed located = locate_head(bytes, start, scanned, limits);
  if (located.outcome != Outcome::complete) return located;

  reset(head);
  Known known;
  const char* p = bytes.data() + start;
  if (const Parsed line = parse_request_line(p, head, limits); line.outcome == Outcome::refused) return line;
  const char* const end = bytes.data() + located.consumed;
  if (const Parsed fields = parse_fields(p, end, head, known, limits); fields.outcome == Outcome::refused)
    return fields;
  if (const Parsed last = finish_request(head, known); last.outcome == Outcome::refused) return last;
  return {Outcome::complete, located.consumed, {}};
}

namespace {

Parsed parse_status_line(const char*& p, const char* end, ResponseHead& head) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (end - p < 14) return refuse(502, "the status line is too short");
  if (const Refusal* bad = check_version({p, 8}, head.minor_version))
    return {Outcome::refused, 0, {502, bad->reason}};
  p += 8;
  if (*p != ' ' || !digit(p[1]) || !digit(p[2]) || !digit(p[3]))
    return refuse(502, "the status is not three digits");
  head.status = (p[1] - '0') * 100 + (p[2] - '0') * 10 + (p[3] - '0');
  if (head.status < 100 || head.status > 599) return refuse(502, "the status is not between 100 and 599");
  p += 4;
  if (*p == ' ')
    ++p;
  else if (*p != '\r')
    return refuse(502, "the status is not followed by a space");
  const char* const reason = p;
  p = skip_value(p, end);
  if (*p != '\r' || p[1] != '\n') return refuse(502, "the reason holds a control character");
  head.reason = {reason, static_cast<std::size_t>(p - reason)};
  p += 2;
  return {};
}

// RFC 9112 6.3.
Parsed frame_response(ResponseHead& head, std::string_view method) {
  head.framing = {};
  if (head.chunked && head.content_length)
    return refuse(502, "both Content-Length and Transfer-Encoding are given");
  const bool never = method == "HEAD" || head.status < 200 || head.status == 204 || head.status == 304 ||
                     (method == "CONNECT" && head.status < 300);
  if (never) return {};
  if (head.chunked)
    head.framing.kind = BodyKind::chunked;
  else if (head.content_length)
    head.framing = {*head.content_length > 0 ? BodyKind::length : BodyKind::none, *head.content_length};
  else
    head.framing.kind = BodyKind::until_close;
  if (head.framing.kind == BodyKind::until_close) head.keep_alive = false;
  return {};
}

}  // namespace

Parsed parse_response(std::string_view bytes, std::size_t& scanned, std::string_view request_method,
                      ResponseHead& head, const Limits& limits) {
  if (!bytes.empty() && !std::string_view("HTTP/").starts_with(bytes.substr(0, 5)))
    return refuse(502, "the answer does not begin with HTTP/");
  const auto as_gateway = [](Parsed parsed) {
    if (parsed.outcome == Outcome::refused) parsed.refusal.status = 502;
    return parsed;
  };
  const Parsed located = locate_head(bytes, 0, scanned, limits);
  if (located.outcome != Outcome::complete) return as_gateway(located);

  reset(head);
  Known known;
  const char* p = bytes.data();
  const char* const end = bytes.data() + located.consumed;
  if (const Parsed line = parse_status_line(p, end, head); line.outcome == Outcome::refused) return line;
  const Parsed fields = parse_fields(p, end, head, known, limits);
  if (fields.outcome == Outcome::refused) return as_gateway(fields);
  finish_connection(head, known);
  if (const Parsed framed = frame_response(head, request_method); framed.outcome == Outcome::refused)
    return framed;
  return {Outcome::complete, located.consumed, {}};
}

Protocol sniff(std::string_view bytes) {
  if (bytes.empty()) return Protocol::need_more;
  if (bytes[0] == 0x16)
    return bytes.size() < 2 ? Protocol::need_more : bytes[1] == 0x03 ? Protocol::tls : Protocol::other;
  constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n";
  if (bytes.starts_with(kPreface)) return Protocol::http2;
  if (kPreface.starts_with(bytes)) return Protocol::need_more;
  // A method, a space, a target: no other protocol in use begins so.
  std::size_t length = 0;
  while (length < bytes.size() && length <= 32 && bytes[length] >= 'A' && bytes[length] <= 'Z') ++length;
  if (length == bytes.size() && length <= 32) return Protocol::need_more;
  if (length < 3 || length > 32 || bytes[length] != ' ') return Protocol::other;
  if (length + 1 == bytes.size()) return Protocol::need_more;
  const char first = bytes[length + 1];
  const bool target = first == '/' || first == '*' || lower(first) == 'h' || bytes.starts_with("CONNECT ");
  return target ? Protocol::http1 : Protocol::other;
}

std::optional<std::string_view> Head::find(std::string_view name) const {
  for (const Field& field : fields())
    if (iequals(field.name, name)) return field.value;
  return std::nullopt;
}

bool Head::is_hop_by_hop(std::string_view name) const {
  for (std::string_view known :
       {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"})
    if (iequals(name, known)) return true;
  for (std::size_t i = 0; i < connection_count; ++i)
    if (list_contains(connection_values[i], name)) return true;
  return false;
}

std::string_view RequestHead::host() const {
  if (authority.starts_with('[')) return authority.substr(0, authority.find(']') + 1);
  return authority.substr(0, authority.find(':'));
}

bool iequals(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (lower(a[i]) != lower(b[i])) return false;
  return true;
}

bool is_token(std::string_view text) {
  for (char c : text)
    if (!is(c, kTokenChar)) return false;
  return !text.empty();
}

bool is_field_value(std::string_view text) {
  return skip_value(text.data(), text.data() + text.size()) == text.data() + text.size();
}

}  // namespace naru::format::http1
