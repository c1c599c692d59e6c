// Containers of one network that share a segment reach each other, and no others, whatever they send.
#include "network/separation.h"

#include <netinet/ip_icmp.h>

#include "network/test_host.h"
#include "os/nftables.h"

namespace naru::network {
namespace {

// An answer to an echo request within `patience`; from the address itself, not an error from elsewhere.
bool pings(int netns, const std::string& address, int patience = 500) {
  return inside(netns, [&] {
    const Fd raw(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP));
    icmphdr echo{};
    echo.type = ICMP_ECHO;
    echo.un.echo.id = htons(7);
    echo.checksum = static_cast<std::uint16_t>(~(echo.type + echo.un.echo.id));
    const sockaddr_in to = endpoint(address, 0);
    if (::sendto(raw.get(), &echo, sizeof echo, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) < 0)
      return false;
    while (readable(raw.get(), patience)) {
      std::array<std::uint8_t, 256> got{};
      const ssize_t size = ::recv(raw.get(), got.data(), got.size(), 0);
      if (size >= 28 && got[20] == ICMP_ECHOREPLY && std::memcmp(&got[12], &to.sin_addr, 4) == 0) return true;
    }
    return false;
  });
}

class SeparationTest : public NetworksTest {
 protected:
  void prepare() {
    networks = open();
    info = ensure(*networks, "shop.production");
    web = attach(*networks, "shop.production", "web-1", {.segments = {"front"}});
    api = attach(*networks, "shop.production", "api-1", {.segments = {"front", "back"}});
    db = attach(*networks, "shop.production", "db-1", {.segments = {"back"}, .internal = true});
    serve();
  }
  void serve() {
    servers.clear();
    for (const Attachment* each : {&web, &api, &db}) {
      servers.push_back(listen_in(each->netns.get(), each->address, 8080));
      servers.push_back(listen_in(each->netns.get(), "0.0.0.0", 5000, SOCK_DGRAM));
    }
  }
  // Patient where it should, quick where it should not.
  bool connects(const Attachment& from, const Attachment& to, int patience = kLong) const {
    return connect_errno(from.netns.get(), to.address, 8080, patience) == 0;
  }
  // A frame as one with CAP_NET_RAW sends it: to all on the bridge, or to the gateway for it to pass on.
  bool datagram_arrives(const Attachment& from, const std::string& to, const Fd& at, const Mac& by) const {
    send_frame(from.netns.get(), mac_in(from.netns.get()), from.address, to, 5000, by);
    char buffer[16];
    return readable(at.get(), 200) && ::recv(at.get(), buffer, sizeof buffer, 0) == 4;
  }
  void expect_separated(const char* when) {
    SCOPED_TRACE(when);
    EXPECT_TRUE(connects(web, api));
    EXPECT_TRUE(connects(api, web));
    EXPECT_TRUE(connects(api, db));
    EXPECT_TRUE(connects(db, api));
    EXPECT_FALSE(connects(web, db, kShort));
    EXPECT_FALSE(connects(db, web, kShort));
    EXPECT_TRUE(pings(web.netns.get(), api.address));
    EXPECT_FALSE(pings(web.netns.get(), db.address));
    EXPECT_FALSE(pings(db.netns.get(), web.address));
  }

  std::unique_ptr<Networks> networks;
  NetworkInfo info;
  Attachment web, api, db;
  std::vector<Fd> servers;  // of web, api, db: TCP and UDP
};

INSTANTIATE_TEST_SUITE_P(BridgeNfCallIptables, SeparationTest, ::testing::Values('0', '1'));

TEST_P(SeparationTest, OnlyThoseWithASegmentInCommonReachEachOther) {
  prepare();
  expect_separated("as they were attached");
  networks.reset();
  networks = open();
  expect_separated("after a restart of the launcher");
  networks.reset();
  EXPECT_TRUE(on_host([&] { return os::run_nftables("flush ruleset"); }));
  EXPECT_TRUE(connects(web, db)) << "without the rules the attack works: what they are for";
  networks = open();
  expect_separated("after a restart with the kernel's tables gone");
  const Attachment more = attach(*networks, "shop.production", "web-2", {.segments = {"front"}});
  expect_separated("with one more");
  EXPECT_FALSE(connects(more, db, kShort));
  EXPECT_TRUE(on_host([&] { return networks->release("web-2"); }));
  expect_separated("when it has gone again");
}

TEST_P(SeparationTest, RulesThatTheKernelDidNotTakeAreTriedAgain) {
  prepare();
  const auto rules = [&](const std::string& command) {
    return on_host([&] { return os::run_nftables(command); }).value_or("");
  };
  std::optional<TakenTable> taken(std::in_place, host.get(), "inet");
  EXPECT_FALSE(on_host([&] { return networks->release("web-1"); }));
  const std::string name = taken->name();
  taken.reset();
  EXPECT_TRUE(on_host([&] { return networks->release("web-1"); }));
  const std::string now = rules("list " + name + "\n");
  EXPECT_NE(now.find("chain from_containers"), std::string::npos) << now;
  EXPECT_EQ(now.find(web.address), std::string::npos) << "of a container that is gone";
}

// A firewall of the host may use the bit by which we know what was let through.
TEST_P(SeparationTest, AMarkThatSomebodyElseSetsOpensNothing) {
  prepare();
  EXPECT_TRUE(on_host([&] {
    return os::run_nftables(
        "table inet theirs {\n  chain marks_all {\n    type filter hook prerouting priority mangle; policy "
        "accept;\n"
        "    meta mark set meta mark | 0x08000000\n  }\n}\n"
        "table bridge theirs {\n  chain marks_all {\n    type filter hook prerouting priority -400; policy "
        "accept;\n"
        "    meta mark set meta mark | 0x08000000\n  }\n}\n");
  }));
  expect_separated("with a mark on everything");
}

TEST_P(SeparationTest, NoFrameFindsAWayAroundIt) {
  prepare();
  const Mac gateway = inside(host.get(), [&] { return mac_in(host.get(), info.bridge.c_str()); });
  const std::string broadcast = "255.255.255.255";
  EXPECT_TRUE(datagram_arrives(web, api.address, servers[3], kEverybody)) << "the test's own frame is wrong";
  EXPECT_TRUE(datagram_arrives(web, api.address, servers[3], gateway)) << "the test's own frame is wrong";
  EXPECT_TRUE(datagram_arrives(web, broadcast, servers[3], kEverybody)) << "the test's own frame is wrong";
  EXPECT_FALSE(datagram_arrives(web, db.address, servers[5], kEverybody));
  EXPECT_FALSE(datagram_arrives(web, db.address, servers[5], mac_in(db.netns.get())));
  EXPECT_FALSE(datagram_arrives(web, db.address, servers[5], gateway)) << "passed on by the host";
  EXPECT_FALSE(datagram_arrives(web, broadcast, servers[5], kEverybody));
}

TEST_P(SeparationTest, TheGatewayReachesAllAndAllReachTheGateway) {
  prepare();
  const Fd dns = listen_in(host.get(), info.gateway, 53), inner = listen_in(host.get(), info.gateway, 15001);
  for (const Attachment* each : {&web, &api, &db}) {
    EXPECT_EQ(connect_errno(host.get(), each->address, 8080, kLong), 0);
    EXPECT_EQ(connect_errno(each->netns.get(), info.gateway, 53, kLong), 0);
    const std::string service = os::ipv4_text(os::Ipv4Prefix::parse(info.virtual_range)->first() + 7);
    EXPECT_EQ(connect_errno(each->netns.get(), service, 6379, kLong), 0);
  }
}

TEST_P(SeparationTest, WhoIsInternalHasNoWayOut) {
  prepare();
  inside(outside.get(), [] {
    EXPECT_TRUE(os::Netlink::open()->add_address("eth0", *os::Ipv4Prefix::parse("169.254.169.254/16")));
    return 0;
  });
  on_host([] {
    EXPECT_TRUE(os::Netlink::open()->add_address("uplink", *os::Ipv4Prefix::parse("169.254.0.1/16")));
    return 0;
  });
  const Fd server = listen_in(outside.get(), "203.0.113.2", 443);
  const Fd names = listen_in(outside.get(), "169.254.169.254", 53);
  EXPECT_EQ(connect_errno(api.netns.get(), "203.0.113.2", 443, kLong), 0);
  EXPECT_EQ(connect_errno(api.netns.get(), "169.254.169.254", 53, kLong), 0);
  EXPECT_EQ(connect_errno(db.netns.get(), "203.0.113.2", 443, kLong), EHOSTUNREACH);
  EXPECT_NE(connect_errno(db.netns.get(), "169.254.169.254", 53), 0);
  networks.reset();
  networks = open();
  EXPECT_EQ(connect_errno(db.netns.get(), "203.0.113.2", 443, kLong), EHOSTUNREACH);
}

TEST_P(SeparationTest, ANetworkIsSeparatedFromTheFirstWhoDiffersUntilTheLast) {
  prepare();
  ensure(*networks, "other.production");
  const Attachment first = attach(*networks, "other.production", "a-1");
  const Attachment second = attach(*networks, "other.production", "b-1", {.segments = {"default"}});
  const Fd server = listen_in(first.netns.get(), first.address, 8080);
  const auto reaches = [&](const Attachment& from, int patience = kLong) {
    return connect_errno(from.netns.get(), first.address, 8080, patience) == 0;
  };
  EXPECT_TRUE(reaches(second)) << "who says nothing is on default";
  const Attachment third = attach(*networks, "other.production", "c-1", {.segments = {"back"}});
  EXPECT_FALSE(reaches(third, kShort));
  EXPECT_TRUE(reaches(second));
  // The same container once more, of another kind: as its start says.
  const Attachment again = attach(*networks, "other.production", "c-1", {.segments = {"back", "default"}});
  EXPECT_EQ(again.address, third.address);
  EXPECT_TRUE(reaches(again));
  EXPECT_TRUE(on_host([&] { return networks->release("c-1"); }));
  EXPECT_TRUE(reaches(second));
  expect_separated("the other network all the while");
}

TEST_P(SeparationTest, DatagramsToAServiceThatSharesNoSegmentAreNotForwarded) {
  prepare();
  const std::string service = os::ipv4_text(os::Ipv4Prefix::parse(info.virtual_range)->first() + 9);
  const auto arrives = [&](const Attachment& from) {
    inside(from.netns.get(), [&] {
      const Fd client(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      const sockaddr_in to = endpoint(service, 5000);
      EXPECT_EQ(::sendto(client.get(), "ask", 3, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to), 3);
      return 0;
    });
    char buffer[16];
    return readable(servers[5].get(), 500) && ::recv(servers[5].get(), buffer, sizeof buffer, 0) == 3;
  };
  const auto set = [&](const UdpRoutes& routes) {
    EXPECT_TRUE(on_host([&] { return networks->set_udp_routes("shop.production", routes); }));
  };
  set({{{service, 5000, db.address}}, {}, {}});
  EXPECT_TRUE(arrives(api));
  EXPECT_FALSE(arrives(web));
  set({{{service, 5000, db.address}}, {}, {}, {{web.address, service}}});
  EXPECT_TRUE(arrives(web)) << "held to a release by which it may";
  EXPECT_FALSE(datagram_arrives(web, db.address, servers[5], kEverybody)) << "to the service alone";
  networks.reset();
  networks = open();
  EXPECT_TRUE(arrives(web)) << "over a restart";
  set({{{service, 5000, db.address}}, {}, {}});
  EXPECT_FALSE(arrives(web));
  EXPECT_TRUE(arrives(api));
}

TEST(Separation, NetworksWhoseMembersAllMeetHaveNoRules) {
  const auto member = [](const char* address, std::set<std::string> segments) {
    return RuledMember{address, "port", std::move(segments), false};
  };
  EXPECT_FALSE(is_separated({}));
  EXPECT_FALSE(is_separated({member("a", {"default"}), member("b", {"default", "back"})}));
  EXPECT_TRUE(is_separated({member("a", {"front"}), member("b", {"front", "back"}), member("c", {"back"})}));
}

}  // namespace
}  // namespace naru::network
