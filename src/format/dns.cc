#include "format/dns.h"

#include <algorithm>

#include "base/take.h"

namespace naru::format {
namespace {

constexpr std::uint16_t kFlagAnswer = 0x8000, kFlagTruncated = 0x0200, kFlagRecursionDesired = 0x0100,
                        kFlagRecursionAvailable = 0x0080;
constexpr std::uint16_t kTypeOpt = 41;

std::uint16_t get16(std::string_view bytes, std::size_t at) {
  return static_cast<std::uint16_t>((static_cast<unsigned char>(bytes[at]) << 8) |
                                    static_cast<unsigned char>(bytes[at + 1]));
}

void put16(std::string& out, std::uint32_t value) {
  out.push_back(static_cast<char>(value >> 8 & 0xff));
  out.push_back(static_cast<char>(value & 0xff));
}

void put32(std::string& out, std::uint32_t value) {
  put16(out, value >> 16);
  put16(out, value & 0xffff);
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

struct Name {
  std::string text;
  std::size_t end = 0;  // first byte behind it
};

// A name without compression, from `at`.
Result<Name> read_name(std::string_view bytes, std::size_t at) {
  Name name;
  const std::size_t start = at;
  while (true) {
    if (at >= bytes.size()) return fail(Code::malformed, "dns: a name runs over the end of the message");
    const auto length = static_cast<unsigned char>(bytes[at]);
    if (length == 0) break;
    if (length > 63)
      return fail(Code::malformed, "dns: a label of {} bytes or a compressed name in a question", length);
    if (at + 1 + length >= bytes.size())
      return fail(Code::malformed, "dns: a label runs over the end of the message");
    if (at + 1 + length - start > 254) return fail(Code::malformed, "dns: a name longer than 255 bytes");
    if (!name.text.empty()) name.text.push_back('.');
    // A dot inside a label would make two names look like one.
    for (const char c : bytes.substr(at + 1, length)) name.text.push_back(c == '.' ? '\x01' : lower(c));
    at += 1 + length;
  }
  name.end = at + 1;
  return name;
}

// An OPT record in the additional section gives the size of UDP answers that fit.
void read_edns(std::string_view bytes, std::size_t at, DnsQuery& query) {
  if (at + 11 > bytes.size() || bytes[at] != 0 || get16(bytes, at + 1) != kTypeOpt) return;
  query.edns = true;
  query.udp_size = std::clamp<std::uint16_t>(get16(bytes, at + 3), 512, 4096);
}

std::string head(std::uint16_t id, std::uint16_t flags, std::uint16_t questions, std::uint16_t answers,
                 std::uint16_t additional = 0) {
  std::string out;
  put16(out, id);
  put16(out, flags);
  put16(out, questions);
  put16(out, answers);
  put16(out, 0);
  put16(out, additional);
  return out;
}

std::uint16_t answer_flags(const DnsQuery& query, DnsCode code) {
  return static_cast<std::uint16_t>(kFlagAnswer | kFlagRecursionAvailable |
                                    (query.recursion_desired ? kFlagRecursionDesired : 0) |
                                    static_cast<unsigned>(code));
}

void put_edns(std::string& out, const DnsQuery& query) {
  if (!query.edns) return;
  out.push_back(0);
  put16(out, kTypeOpt);
  put16(out, 1232);
  put32(out, 0);
  put16(out, 0);
}

}  // namespace

Result<DnsQuery> parse_dns_query(std::string_view bytes) {
  if (bytes.size() < kDnsHeader)
    return fail(Code::malformed, "dns: {} bytes; a header has {}", bytes.size(), kDnsHeader);
  if (bytes.size() > kMaxDnsQuery)
    return fail(Code::malformed, "dns: a query of {} bytes; at most {}", bytes.size(), kMaxDnsQuery);
  const std::uint16_t flags = get16(bytes, 2);
  if (flags & kFlagAnswer) return fail(Code::malformed, "dns: an answer where a query was expected");
  if ((flags >> 11 & 15) != 0)
    return fail(Code::unsupported, "dns: operation {} is not a standard query", flags >> 11 & 15);
  if (get16(bytes, 4) != 1)
    return fail(Code::malformed, "dns: {} questions; exactly one is answered", get16(bytes, 4));
  if (get16(bytes, 6) != 0) return fail(Code::malformed, "dns: a query with answers");
  DnsQuery query;
  query.id = get16(bytes, 0);
  query.recursion_desired = (flags & kFlagRecursionDesired) != 0;
  Name name = TRY(read_name(bytes, kDnsHeader));
  if (name.end + 4 > bytes.size()) return fail(Code::malformed, "dns: the question has no type and class");
  query.name = std::move(name.text);
  query.type = get16(bytes, name.end);
  query.klass = get16(bytes, name.end + 2);
  query.question = std::string(bytes.substr(kDnsHeader, name.end + 4 - kDnsHeader));
  if (get16(bytes, 8) == 0 && get16(bytes, 10) > 0) read_edns(bytes, name.end + 4, query);
  return query;
}

std::string dns_addresses(const DnsQuery& query, std::span<const std::uint32_t> addresses,
                          std::uint32_t ttl_seconds) {
  const std::size_t count = std::min<std::size_t>(addresses.size(), 16);
  std::string out = head(query.id, answer_flags(query, DnsCode::ok), 1, static_cast<std::uint16_t>(count),
                         query.edns ? 1 : 0);
  out += query.question;
  for (const std::uint32_t address : addresses.first(count)) {
    put16(out, 0xc000 | kDnsHeader);  // the question's name (RFC 1035 4.1.4)
    put16(out, kDnsTypeA);
    put16(out, kDnsClassIn);
    put32(out, ttl_seconds);
    put16(out, 4);
    put32(out, address);
  }
  put_edns(out, query);
  return out;
}

std::string dns_error(const DnsQuery& query, DnsCode code) {
  std::string out = head(query.id, answer_flags(query, code), 1, 0, query.edns ? 1 : 0) + query.question;
  put_edns(out, query);
  return out;
}

std::string dns_truncated(const DnsQuery& query) {
  return head(query.id, answer_flags(query, DnsCode::ok) | kFlagTruncated, 1, 0) + query.question;
}

std::string dns_error_for(std::string_view bytes, DnsCode code) {
  if (bytes.size() < kDnsHeader || (get16(bytes, 2) & kFlagAnswer)) return {};
  const unsigned kept = get16(bytes, 2) & 0x7900U;  // operation and RD
  return head(
      get16(bytes, 0),
      static_cast<std::uint16_t>(kFlagAnswer | kFlagRecursionAvailable | kept | static_cast<unsigned>(code)),
      0, 0);
}

Result<DnsAnswerHead> parse_dns_answer(std::string_view bytes) {
  if (bytes.size() < kDnsHeader || bytes.size() > kMaxDnsAnswer)
    return fail(Code::malformed, "dns: an answer of {} bytes", bytes.size());
  if (!(get16(bytes, 2) & kFlagAnswer))
    return fail(Code::malformed, "dns: a query where an answer was expected");
  if (get16(bytes, 4) != 1) return fail(Code::malformed, "dns: an answer to {} questions", get16(bytes, 4));
  const Name name = TRY(read_name(bytes, kDnsHeader));
  if (name.end + 4 > bytes.size()) return fail(Code::malformed, "dns: the question has no type and class");
  return DnsAnswerHead{get16(bytes, 0), (get16(bytes, 2) & kFlagTruncated) != 0,
                       dns_lower_question(bytes.substr(kDnsHeader, name.end + 4 - kDnsHeader))};
}

std::string dns_lower_question(std::string_view question) {
  std::string out(question);
  if (out.size() >= 4)
    std::ranges::transform(out.begin(), out.end() - 4, out.begin(), lower);  // not type and class
  return out;
}

void set_dns_id(std::string& message, std::uint16_t id) {
  if (message.size() < 2) return;
  message[0] = static_cast<char>(id >> 8);
  message[1] = static_cast<char>(id & 0xff);
}

namespace {

// Decimal IPv4, or nothing.
bool read_ipv4(std::string_view text, std::uint32_t& out) {
  std::uint32_t address = 0;
  for (int part = 0; part < 4; ++part) {
    const std::size_t dot = part < 3 ? text.find('.') : text.size();
    if (dot == std::string_view::npos || dot == 0 || dot > 3) return false;
    std::uint32_t value = 0;
    for (const char c : text.substr(0, dot)) {
      if (c < '0' || c > '9') return false;
      value = value * 10 + static_cast<std::uint32_t>(c - '0');
    }
    if (value > 255) return false;
    address = (address << 8) | value;
    text.remove_prefix(std::min(text.size(), dot + 1));
  }
  out = address;
  return true;
}

std::string_view next_word(std::string_view& line) {
  const std::size_t start = line.find_first_not_of(" \t\r");
  if (start == std::string_view::npos) return line = {};
  line.remove_prefix(start);
  const std::size_t end = std::min(line.find_first_of(" \t\r"), line.size());
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(end);
  return word;
}

}  // namespace

std::vector<std::uint32_t> parse_nameservers(std::string_view text, std::size_t limit) {
  std::vector<std::uint32_t> out;
  while (!text.empty() && out.size() < limit) {
    std::string_view line = take_until(text, '\n');
    std::uint32_t address = 0;
    if (next_word(line) == "nameserver" && read_ipv4(next_word(line), address)) out.push_back(address);
  }
  return out;
}

}  // namespace naru::format
