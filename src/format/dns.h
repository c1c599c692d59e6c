// DNS messages as far as a forwarding resolver for service names needs them: one question in, A records or an
// error out, and the head of an upstream's answer. Sources: RFC 1035 (4.1), RFC 6891 (EDNS), RFC 8020
// (NXDOMAIN).
//
// Everything may be hostile: lengths are checked, names bounded (255 bytes, 63 a label), compression is
// refused in questions (nobody sends it) and never followed in answers (nothing behind the question is read).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace naru::format {

inline constexpr std::size_t kMaxDnsQuery = 1232;  // bytes; a larger query is refused
inline constexpr std::size_t kMaxDnsAnswer = 65'535;
inline constexpr std::size_t kDnsHeader = 12;

inline constexpr std::uint16_t kDnsTypeA = 1;
inline constexpr std::uint16_t kDnsTypeAaaa = 28;
inline constexpr std::uint16_t kDnsTypeAny = 255;
inline constexpr std::uint16_t kDnsClassIn = 1;

enum class DnsCode : std::uint8_t {
  ok = 0,
  format_error = 1,
  server_failure = 2,
  no_such_name = 3,
  not_implemented = 4,
  refused = 5
};

struct DnsQuery {
  std::uint16_t id = 0;
  bool recursion_desired = false;
  std::string name;  // lower case, without the final dot; "" is the root
  std::uint16_t type = 0, klass = 0;
  bool edns = false;
  std::uint16_t udp_size = 512;  // the largest UDP answer that the asker takes
  std::string question;          // its bytes as they came (spelling kept: some resolvers check it)
};

// malformed: answer with dns_error(bytes, format_error), if that gives anything.
// unsupported: not a standard query; answer not_implemented.
Result<DnsQuery> parse_dns_query(std::string_view bytes);

// A records for the question; no addresses = NODATA.
std::string dns_addresses(const DnsQuery& query, std::span<const std::uint32_t> addresses,
                          std::uint32_t ttl_seconds);
std::string dns_error(const DnsQuery& query, DnsCode code);
// For bytes that were not a query: "" when not even a header was there, or when it was an answer (never
// answer an answer: two resolvers would talk for ever).
std::string dns_error_for(std::string_view bytes, DnsCode code);
// The answer cut to its head and question with TC set: "ask again by TCP".
std::string dns_truncated(const DnsQuery& query);

struct DnsAnswerHead {
  std::uint16_t id = 0;
  bool truncated = false;
  std::string question;  // lower-cased bytes
};
// malformed: not an answer to one question.
Result<DnsAnswerHead> parse_dns_answer(std::string_view bytes);
std::string dns_lower_question(std::string_view question);

// The same message under another id.
void set_dns_id(std::string& message, std::uint16_t id);

// `nameserver` lines with IPv4 addresses, in order, at most `limit`; host byte order. Anything else is
// ignored, as resolv.conf(5) asks.
std::vector<std::uint32_t> parse_nameservers(std::string_view resolv_conf, std::size_t limit = 3);

}  // namespace naru::format
