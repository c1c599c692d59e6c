#include "format/dns.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace naru::format {
namespace {

std::string query_bytes(std::string_view name, std::uint16_t type = kDnsTypeA, std::uint16_t id = 0x1234) {
  std::string out{static_cast<char>(id >> 8), static_cast<char>(id & 0xff), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0};
  while (!name.empty()) {
    const std::size_t dot = std::min(name.find('.'), name.size());
    out.push_back(static_cast<char>(dot));
    out += name.substr(0, dot);
    name.remove_prefix(std::min(name.size(), dot + 1));
  }
  out += {0, static_cast<char>(type >> 8), static_cast<char>(type & 0xff), 0, 1};
  return out;
}

TEST(Dns, ReadsAQuestionAndFoldsItsCase) {
  const auto query = parse_dns_query(query_bytes("CataLog.production.shop"));
  ASSERT_TRUE(query);
  EXPECT_EQ(query->name, "catalog.production.shop");
  EXPECT_EQ(query->id, 0x1234);
  EXPECT_EQ(query->type, kDnsTypeA);
  EXPECT_EQ(query->klass, kDnsClassIn);
  EXPECT_TRUE(query->recursion_desired);
  EXPECT_FALSE(query->edns);
}

TEST(Dns, AnswersWithTheQuestionAsItWasSpelt) {
  const std::string bytes = query_bytes("CataLog");
  const auto query = parse_dns_query(bytes);
  const std::uint32_t address = 0x0a580203;
  const std::string answer = dns_addresses(*query, {&address, 1}, 5);
  EXPECT_EQ(answer.substr(12, bytes.size() - 12), bytes.substr(12));
  EXPECT_EQ(answer.substr(answer.size() - 4), std::string("\x0a\x58\x02\x03", 4));
  EXPECT_EQ(answer[7], 1) << "one answer";
  const auto head = parse_dns_answer(answer);
  ASSERT_TRUE(head);
  EXPECT_EQ(head->id, 0x1234);
  EXPECT_FALSE(head->truncated);
  EXPECT_EQ(head->question, dns_lower_question(query->question));
}

TEST(Dns, NoAddressesIsNodataAndNotAnError) {
  const auto query = parse_dns_query(query_bytes("catalog", kDnsTypeAaaa));
  const std::string answer = dns_addresses(*query, {}, 5);
  EXPECT_EQ(answer[3] & 15, 0);
  EXPECT_EQ(answer[7], 0);
  EXPECT_EQ(dns_error(*query, DnsCode::no_such_name)[3] & 15, 3);
  EXPECT_TRUE(parse_dns_answer(dns_truncated(*query))->truncated);
}

TEST(Dns, ReadsTheSizeOfUdpAnswersFromEdns) {
  std::string bytes = query_bytes("x");
  bytes[11] = 1;
  bytes += std::string("\0\0\x29\x04\xd0\0\0\0\0\0\0", 11);
  const auto query = parse_dns_query(bytes);
  ASSERT_TRUE(query);
  EXPECT_TRUE(query->edns);
  EXPECT_EQ(query->udp_size, 1232);
  EXPECT_EQ(dns_addresses(*query, {}, 1)[11], 1) << "EDNS is answered with EDNS";
}

TEST(Dns, RefusesWhatIsNotOneStandardQuestion) {
  const std::string good = query_bytes("web");
  const auto spoilt = [&](std::size_t at, char value) {
    std::string bytes = good;
    bytes[at] = value;
    return bytes;
  };
  EXPECT_EQ(parse_dns_query("").error().code, Code::malformed);
  EXPECT_EQ(parse_dns_query(spoilt(2, '\x80')).error().code, Code::malformed) << "an answer";
  EXPECT_EQ(parse_dns_query(spoilt(2, '\x28')).error().code, Code::unsupported) << "UPDATE";
  EXPECT_EQ(parse_dns_query(spoilt(5, 2)).error().code, Code::malformed) << "two questions";
  EXPECT_EQ(parse_dns_query(spoilt(5, 0)).error().code, Code::malformed) << "no question";
  EXPECT_EQ(parse_dns_query(spoilt(7, 1)).error().code, Code::malformed) << "an answer in a query";
  EXPECT_EQ(parse_dns_query(spoilt(12, '\xc0')).error().code, Code::malformed) << "compression loop";
  EXPECT_EQ(parse_dns_query(spoilt(12, 63)).error().code, Code::malformed) << "label over the end";
  EXPECT_EQ(parse_dns_query(good + std::string(2000, 'x')).error().code, Code::malformed);
  std::string long_name;
  for (int i = 0; i < 10; ++i) long_name += std::string(60, 'a') + ".";
  EXPECT_EQ(parse_dns_query(query_bytes(long_name)).error().code, Code::malformed);
}

TEST(Dns, EveryTruncationIsRefused) {
  const std::string good = query_bytes("web.production.shop");
  for (std::size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(parse_dns_query(good.substr(0, n))) << n;
}

TEST(Dns, ADotInsideALabelDoesNotMakeTwoLabels) {
  std::string bytes = query_bytes("aXb");
  bytes[14] = '.';
  EXPECT_NE(parse_dns_query(bytes)->name, "a.b");
}

TEST(Dns, NeverAnswersAnAnswer) {
  std::string answer = query_bytes("web");
  answer[2] = '\x80';
  EXPECT_EQ(dns_error_for(answer, DnsCode::format_error), "");
  EXPECT_EQ(dns_error_for("short", DnsCode::format_error), "");
  const std::string error = dns_error_for(query_bytes("web"), DnsCode::format_error);
  EXPECT_EQ(error.size(), kDnsHeader);
  EXPECT_EQ(error[3] & 15, 1);
}

TEST(Dns, SurvivesGarbage) {
  Rng rng(5);
  const std::string good = query_bytes("catalog.production.shop");
  for (int i = 0; i < 200'000; ++i) {
    std::string bytes = i % 2 ? good : std::string(rng.below(80), '\0');
    for (char& c : bytes)
      if (i % 2 == 0 || rng.chance(0.1)) c = static_cast<char>(rng.next());
    if (auto query = parse_dns_query(bytes)) {
      EXPECT_LE(query->name.size(), 255U);
      EXPECT_LE(dns_addresses(*query, {}, 1).size(), 400U);
    }
    (void)parse_dns_answer(bytes);
    (void)dns_error_for(bytes, DnsCode::format_error);
  }
}

TEST(Nameservers, ReadsIpv4LinesAndIgnoresTheRest) {
  const auto servers = parse_nameservers(
      "# x\nsearch a b\nnameserver 1.2.3.4\nnameserver\t5.6.7.8 # two\r\nnameserver ::1\nnameserver "
      "999.1.1.1\nnameserver 1.2.3\nnameserver\noptions x\nnameserver 9.9.9.9");
  EXPECT_EQ(servers, (std::vector<std::uint32_t>{0x01020304, 0x05060708, 0x09090909}));
  EXPECT_TRUE(parse_nameservers("").empty());
  EXPECT_EQ(
      parse_nameservers("nameserver 1.1.1.1\nnameserver 1.1.1.1\nnameserver 1.1.1.1\nnameserver 1.1.1.1")
          .size(),
      3U);
}

}  // namespace
}  // namespace naru::format
