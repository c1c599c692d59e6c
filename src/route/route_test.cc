#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "route/snapshot.h"
#include "route/table.h"

namespace naru::route {
namespace {

RouteTable small_table() {
  EnvironmentRoute production{"shop", "production", "shop.production", {}, {}, {}};
  production.split = Split{7, 1, 2, "salt", BasisPoints::percent(5), 0, 0, "", ""};
  ServiceRoute web{"web", "10.88.2.2", {{9000, "tcp"}, {8080, ""}}, {}, {}, false};
  web.stable = {1, 0, {{"web-1", "10.88.0.2"}}};
  web.canary = RouteSide{2, 1, {{"web-2", "10.88.0.3"}}};
  ServiceRoute db{"db", "10.88.2.3", {{6379, "tcp"}}, {}, {}, false};
  db.stable = {1, 2, {{"db-1", "10.88.0.4"}}};
  production.services = {web, db};
  production.callers = {{"10.88.0.2", "web", 1}, {"10.88.0.3", "web", 2}, {"10.88.0.4", "db", 1}};
  return {3, {production}, {{"port:80", "shop", "production", "web", 8080}}};
}

TEST(Cohort, SipHashGivesTheReferenceVectors) {
  std::string message;
  for (char c = 0; c < 15; ++c) message.push_back(c);
  EXPECT_EQ(siphash24(0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL, message), 0xa129ca6149be45e5ULL);
  EXPECT_EQ(siphash24(0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL, ""), 0x726fdb47dd0e0e31ULL);
}

TEST(Cohort, ShareOfUsersLiesWithinFourStandardErrorsOfTheWeight) {
  constexpr int kUsers = 100'000;
  Rng rng(1);
  for (const std::uint32_t weight : {1U, 100U, 500U, 2500U, 5000U, 9999U}) {
    const CohortHash hash(fmt::format("rollout-{}", weight));
    int canary = 0;
    for (int i = 0; i < kUsers; ++i)
      canary +=
          CohortHash::side(hash(fmt::format("{:016x}", rng.next())), BasisPoints{weight}) == Side::canary;
    const double p = weight / 10000.0;
    EXPECT_NEAR(canary, kUsers * p, 4 * std::sqrt(kUsers * p * (1 - p)) + 1) << weight;
  }
}

TEST(Cohort, ShareHoldsForConsecutiveUserNamesToo) {
  constexpr int kUsers = 100'000;
  const CohortHash hash("s");
  int canary = 0;
  for (int i = 0; i < kUsers; ++i)
    canary += CohortHash::side(hash(fmt::format("user{}", i)), BasisPoints{500}) == Side::canary;
  EXPECT_NEAR(canary, 5000, 4 * std::sqrt(kUsers * 0.05 * 0.95));
}

TEST(Cohort, WhoIsInAtASmallWeightIsInAtEveryLargerOne) {
  const CohortHash hash("salt");
  for (int i = 0; i < 10'000; ++i) {
    const std::uint64_t h = hash(fmt::format("user-{}", i));
    bool was = false;
    for (std::uint32_t weight = 0; weight <= 10'000; weight += 250) {
      const bool now = CohortHash::side(h, BasisPoints{weight}) == Side::canary;
      EXPECT_TRUE(now || !was);
      was = now;
    }
    EXPECT_TRUE(was) << "at 10,000 everybody is in";
    EXPECT_EQ(CohortHash::side(h, BasisPoints{0}), Side::stable);
  }
}

TEST(Cohort, AUserNeverFlipsAndAnotherSaltDrawsAnew) {
  const CohortHash a("a"), again("a"), b("b");
  int both = 0, in_a = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::string user = fmt::format("{}", i);
    ASSERT_EQ(a(user), again(user));
    const bool first = CohortHash::side(a(user), BasisPoints{2000}) == Side::canary;
    in_a += first;
    both += first && CohortHash::side(b(user), BasisPoints{2000}) == Side::canary;
  }
  EXPECT_NEAR(both, in_a * 0.2, 4 * std::sqrt(in_a * 0.16));
}

TEST(Snapshot, FindsAServiceByHostInAnyCaseWithPortAndFinalDot) {
  const auto snapshot = Snapshot::compile(small_table());
  for (const char* host : {"web.production.shop.localhost", "WEB.Production.shop.LOCALHOST:8080",
                           "web.production.shop.localhost.:1"}) {
    const Service* service = snapshot->by_host(host);
    ASSERT_TRUE(service) << host;
    EXPECT_EQ(service->name, "web");
    EXPECT_EQ(service->http_port(), 8080);
  }
  EXPECT_EQ(snapshot->by_host("db.production.shop.localhost")->http_port(), 0);
  for (const char* host :
       {"", ":", ".", "web", "web.staging.shop.localhost", "x.web.production.shop.localhost", "[::1]:80"})
    EXPECT_FALSE(snapshot->by_host(host)) << host;
  EXPECT_FALSE(snapshot->by_host(std::string(100'000, 'a')));
  EXPECT_THAT(snapshot->hosts(10), ::testing::SizeIs(1)) << "db speaks TCP and answers nobody by Host";
}

TEST(Snapshot, FindsByListenerAndByVirtualAddress) {
  const auto snapshot = Snapshot::compile(small_table());
  ASSERT_TRUE(snapshot->by_listener("port:80"));
  EXPECT_EQ(snapshot->by_listener("port:80")->service->label, "shop/web");
  EXPECT_FALSE(snapshot->by_listener("port:81"));
  const Environment* environment = snapshot->by_network("shop.production");
  ASSERT_TRUE(environment);
  EXPECT_EQ(environment->by_virtual_address(*parse_ipv4("10.88.2.3"))->name, "db");
  EXPECT_EQ(environment->by_virtual_address(*parse_ipv4("10.88.2.3"))->protocol_of(6379), "tcp");
  EXPECT_FALSE(environment->by_virtual_address(1));
}

TEST(Snapshot, ACallersSideIsThatOfItsReleaseUnlessItServesBoth) {
  const auto snapshot = Snapshot::compile(small_table());
  const Environment* environment = snapshot->by_network("shop.production");
  EXPECT_EQ(environment->caller(*parse_ipv4("10.88.0.2")).side, Side::stable);
  EXPECT_EQ(environment->caller(*parse_ipv4("10.88.0.3")).side, Side::canary);
  EXPECT_EQ(environment->caller(*parse_ipv4("10.88.0.4")).service->name, "db");
  EXPECT_FALSE(environment->caller(*parse_ipv4("10.88.0.4")).side)
      << "db is unchanged and serves both cohorts";
  EXPECT_FALSE(environment->caller(*parse_ipv4("10.88.0.9")).service);
}

TEST(Snapshot, AnUnchangedServiceHasOnePoolForBothSides) {
  const auto snapshot = Snapshot::compile(small_table());
  const Service* db = snapshot->by_host("db.production.shop.localhost");
  EXPECT_EQ(&db->pool(Side::canary), &db->pool(Side::stable));
  const Service* web = snapshot->by_host("web.production.shop.localhost");
  EXPECT_EQ(web->pool(Side::canary).targets.at(0).instance, "web-2");
}

TEST(Snapshot, AHostPortOfAServiceThatLeftIsKnownButHasNoService) {
  RouteTable table = small_table();
  table.host_ports[0].service = "gone";
  const auto snapshot = Snapshot::compile(table);
  EXPECT_FALSE(snapshot->by_listener("port:80")->service);
  EXPECT_EQ(snapshot->by_listener("port:80")->service_name, "shop/gone");
}

TEST(Snapshot, LeavesOutWhatCannotBeRoutedAndNothingElse) {
  const auto left_out = [](auto&& spoil, std::string_view part) {
    RouteTable table = small_table();
    table.environments.push_back({"other", "production", "other.production", {}, {}, {}});
    table.environments.back().services = {{"web", "10.90.2.2", {{80, "http"}}, {}, {}, false}};
    spoil(table);
    const auto snapshot = Snapshot::compile(table);
    ASSERT_EQ(snapshot->left_out().size(), 1U) << part;
    EXPECT_NE(snapshot->left_out()[0].find(part), std::string::npos) << snapshot->left_out()[0];
    EXPECT_NE(snapshot->by_host("web.production.other.localhost"), nullptr) << part;
    EXPECT_EQ(snapshot->revision(), 3U);
  };
  left_out([](RouteTable& t) { t.environments[0].services[0].stable.endpoints[0].address = "10.88.0.256"; },
           "10.88.0.256");
  left_out([](RouteTable& t) { t.environments[0].services[0].virtual_address = "::1"; }, "::1");
  left_out([](RouteTable& t) { t.environments[0].callers[0].address = "x"; }, "caller");
  left_out([](RouteTable& t) { t.environments[0].services[1].name = "web"; }, "twice");
  left_out([](RouteTable& t) { t.environments[0].services[1].virtual_address = "10.88.2.2"; }, "twice");
  left_out([](RouteTable& t) { t.environments[0].split->weight = BasisPoints{10'001}; }, "10,000");
  left_out([](RouteTable& t) { t.environments.push_back(t.environments[0]); }, "twice");
  left_out([](RouteTable& t) { t.host_ports.push_back(t.host_ports[0]); }, "twice");
  left_out([](RouteTable& t) { t.environments[0].app = "a\r\nb"; }, "name");
  left_out([](RouteTable& t) { t.environments[0].services[0].stable.endpoints.resize(kMaxEndpoints + 1); },
           "at most");
  left_out([](RouteTable& t) { t.environments[0].services[0].ports.resize(kMaxPorts + 1); }, "1025 ports");
  left_out(
      [](RouteTable& t) {
        for (std::size_t i = 0; i < kMaxHostPorts; ++i) {
          t.host_ports.push_back(t.host_ports[0]);
          t.host_ports.back().listener = fmt::format("host:{}", i);
        }
      },
      "host ports");
}

PortSpec tcp(std::uint16_t port, std::string app_protocol = "") {
  return {port, std::nullopt, "", Transport::tcp, std::move(app_protocol)};
}

std::uint16_t leads_to(std::vector<PortSpec> ports, std::vector<std::uint16_t> exposed = {}) {
  ReleaseService service;
  service.spec.ports = std::move(ports);
  service.image.exposed = std::move(exposed);
  const auto edge = edge_port(service);
  return edge ? edge->container : 0;
}

TEST(EdgePort, IsWhatSpeaksHttpBeforeWhatMayAndNeverWhatDoesNot) {
  EXPECT_EQ(leads_to({tcp(22), tcp(3000)}), 3000) << "a forge: ssh first";
  EXPECT_EQ(leads_to({tcp(9300), tcp(8086), tcp(8088)}), 8086);
  EXPECT_EQ(leads_to({tcp(8086), tcp(9300, "http")}), 9300) << "a word of the file";
  EXPECT_EQ(leads_to({tcp(22), tcp(9300)}), 9300);
  EXPECT_EQ(leads_to({tcp(8080, "tcp"), tcp(9300)}), 9300);
  EXPECT_EQ(leads_to({tcp(8080), tcp(8080, "tcp"), tcp(9300)}), 9300) << "one port, two entries";
  EXPECT_EQ(leads_to({tcp(5432)}), 0);
  EXPECT_EQ(leads_to({PortSpec{8080, std::nullopt, "", Transport::udp, ""}}), 0);
}

TEST(EdgePort, OfTheImageCountsWhereTheFileNamesNone) {
  EXPECT_EQ(leads_to({}, {22, 9300, 3000}), 3000);
  EXPECT_EQ(leads_to({}, {22, 9300}), 9300);
  EXPECT_EQ(leads_to({tcp(22)}, {22, 3000}), 3000);
  EXPECT_EQ(leads_to({tcp(9300)}, {80}), 9300) << "the program was told to listen elsewhere";
  EXPECT_EQ(leads_to({}, {5432, 6379}), 0);
  EXPECT_EQ(leads_to({tcp(8443, "tcp")}, {8443}), 0) << "the file's word stands";
  EXPECT_EQ(leads_to({tcp(8080, "tcp")}, {8080, 3000}), 3000);
}

TEST(Ipv4, ReadsFourDecimalNumbersAndNothingElse) {
  EXPECT_EQ(*parse_ipv4("1.2.3.4"), 0x01020304U);
  EXPECT_EQ(*parse_ipv4("255.255.255.255"), 0xffffffffU);
  for (const char* text : {"", "1", "1.2.3", "1.2.3.", "1.2.3.4.", "1.2.3.4 ", "01.2.3.4", "256.1.1.1",
                           "1..2.3", "a.b.c.d", "1.2.3.4444", "-1.2.3.4"})
    EXPECT_FALSE(parse_ipv4(text)) << text;
}

TEST(UserIds, AreKnownByTheirKeyAlone) {
  const UserIds ids("one");
  const std::string id = ids.make("203.0.113.9", from_epoch_ms(0));
  ASSERT_EQ(id.size(), 48U);
  EXPECT_TRUE(ids.made(id));
  EXPECT_FALSE(UserIds("two").made(id));
  for (std::size_t i = 0; i < id.size(); ++i) {
    std::string other = id;
    other[i] = other[i] == '0' ? '1' : '0';
    EXPECT_FALSE(ids.made(other)) << i;
  }
  for (const std::string& other : {std::string(), id.substr(0, 47), id + "0", std::string(48, '0')})
    EXPECT_FALSE(ids.made(other)) << other;
}

TEST(UserIds, OneNetworkHasOneOriginAnHour) {
  const UserIds ids("one");
  const auto origin = [&](const char* ip, int minute) {
    return std::string(UserIds::origin(ids.make(ip, WallTime(std::chrono::minutes(minute)))));
  };
  EXPECT_NE(ids.make("203.0.113.9", WallTime{}), ids.make("203.0.113.9", WallTime{}));
  EXPECT_EQ(origin("203.0.113.9", 1), origin("203.0.113.9", 59));
  EXPECT_NE(origin("203.0.113.9", 1), origin("203.0.113.9", 60));
  EXPECT_NE(origin("203.0.113.9", 1), origin("203.0.113.8", 1));
  EXPECT_EQ(origin("2001:db8::1", 1), origin("2001:db8:0:ff:1::2", 1)) << "56 bits of it";
  EXPECT_NE(origin("2001:db8::1", 1), origin("2001:db8:0:100::1", 1));
  EXPECT_EQ(origin("::ffff:203.0.113.9", 1), origin("203.0.113.9", 1));
  for (const char* ip : {"127.0.0.1", "10.0.0.1", "172.31.0.1", "192.168.1.1", "100.64.0.1", "169.254.1.1",
                         "::1", "fe80::1", "fd00::1", "::ffff:10.0.0.1", "", "nonsense"}) {
    EXPECT_EQ(public_network(ip), "") << ip;
    EXPECT_NE(origin(ip, 1), origin(ip, 1)) << ip;
  }
  for (const char* ip :
       {"9.255.255.255", "11.0.0.0", "172.15.0.1", "172.32.0.1", "192.167.1.1", "100.128.0.1"})
    EXPECT_NE(public_network(ip), "") << ip;
}

}  // namespace
}  // namespace naru::route
