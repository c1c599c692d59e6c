// UDP between services, through the kernel's own translation.
#include "network/ruleset.h"
#include "network/test_host.h"
#include "os/nftables.h"

namespace naru::network {
namespace {

class UdpTest : public NetworksTest {
 protected:
  void prepare(UdpSupport most = UdpSupport::full) {
    networks = open(most);
    const NetworkInfo info = ensure(*networks, "shop.production");
    wanted = os::ipv4_text(os::Ipv4Prefix::parse(info.virtual_range)->first() + 9);
    web = attach(*networks, "shop.production", "web-1");
    old_clock = attach(*networks, "shop.production", "clock-1");
    new_clock = attach(*networks, "shop.production", "clock-2");
    old_server = listen_in(old_clock.netns.get(), old_clock.address, 5353, SOCK_DGRAM);
    new_server = listen_in(new_clock.netns.get(), new_clock.address, 5353, SOCK_DGRAM);
  }
  Result<void> set(const UdpRoutes& routes) {
    return on_host([&] { return networks->set_udp_routes("shop.production", routes); });
  }
  UdpTarget to(const Attachment& clock) const { return {wanted, 5353, clock.address}; }
  // Connected: only an answer from the virtual address arrives.
  Fd client_in(const Attachment& where) const {
    return inside(where.netns.get(), [&] {
      Fd client(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      const sockaddr_in to = endpoint(wanted, 5353);
      EXPECT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
      return client;
    });
  }
  // "old" or "new", as the server that answered says; "refused" by ICMP; "" when nobody did.
  std::string ask(const Fd& client) const {
    if (::send(client.get(), "ask", 3, 0) != 3) return "refused";
    for (const auto& [server, answer] : {std::pair(&old_server, "old"), std::pair(&new_server, "new")}) {
      char buffer[16];
      sockaddr_in from{};
      socklen_t length = sizeof from;
      if (!readable(server->get(), 300)) continue;
      EXPECT_EQ(
          ::recvfrom(server->get(), buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &length),
          3);
      EXPECT_EQ(::sendto(server->get(), answer, 3, 0, reinterpret_cast<const sockaddr*>(&from), length), 3);
    }
    char buffer[16];
    if (!readable(client.get(), 1000)) return "";
    const ssize_t count = ::recv(client.get(), buffer, sizeof buffer, 0);
    return count < 0 ? "refused" : std::string(buffer, static_cast<std::size_t>(count));
  }

  std::unique_ptr<Networks> networks;
  std::string wanted;  // the virtual address
  Attachment web, old_clock, new_clock;
  Fd old_server, new_server;
};

INSTANTIATE_TEST_SUITE_P(BridgeNfCallIptables, UdpTest, ::testing::Values('0', '1'));

TEST_P(UdpTest, ADatagramToAVirtualAddressGoesToItsTargetAndTheAnswerComesBackFromIt) {
  prepare();
  const Fd client = client_in(web);
  EXPECT_EQ(ask(client), "refused") << "nobody is there yet";
  ASSERT_TRUE(set({{to(old_clock)}, {}, {}}));
  EXPECT_EQ(ask(client), "old");
  EXPECT_EQ(ask(client_in(web)), "old");
}

TEST_P(UdpTest, AClientThatGoesOnSendingFromOnePortFollowsItsService) {
  prepare();
  ASSERT_TRUE(set({{to(old_clock)}, {}, {}}));
  const Fd client = client_in(web);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask(client), "old");
  ASSERT_TRUE(set({{to(new_clock)}, {}, {}}));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask(client), "new");
  ASSERT_TRUE(set({{to(old_clock)}, {}, {}}));
  EXPECT_EQ(ask(client), "old");
  ASSERT_TRUE(set({}));
  const std::string answer = ask(client);
  EXPECT_TRUE(answer == "refused" || answer.empty()) << answer;  // the kernel limits how often it refuses
}

TEST_P(UdpTest, AnInstanceOfTheNewReleaseReachesTheNewOne) {
  prepare();
  const Attachment new_web = attach(*networks, "shop.production", "web-2");
  const Fd before = client_in(new_web);
  ASSERT_TRUE(set({{to(old_clock)}, {}, {}}));
  EXPECT_EQ(ask(before), "old");
  ASSERT_TRUE(set({{to(old_clock)}, {new_web.address}, {to(new_clock)}}));
  EXPECT_EQ(ask(before), "new");
  EXPECT_EQ(ask(client_in(web)), "old");
  ASSERT_TRUE(set({{to(old_clock)}, {new_web.address}, {}}));
  EXPECT_EQ(ask(before), "old") << "what the new release has no other of is the same for all";
}

TEST_P(UdpTest, TargetsHoldOverARestartOfTheLauncherAndOfTheMachine) {
  prepare();
  ASSERT_TRUE(set({{to(old_clock)}, {}, {}}));
  const Fd client = client_in(web);
  EXPECT_EQ(ask(client), "old");
  networks.reset();
  EXPECT_TRUE(on_host([&] { return os::run_nftables("flush ruleset"); }));
  networks = open();
  EXPECT_EQ(ask(client), "old");
  ASSERT_TRUE(set({{to(new_clock)}, {}, {}}));
  EXPECT_EQ(ask(client), "new");
}

TEST_P(UdpTest, OtherEnvironmentsReachNothing) {
  prepare();
  ASSERT_TRUE(set({{to(old_clock)}, {}, {}}));
  ensure(*networks, "other.production");
  const Attachment stranger = attach(*networks, "other.production", "web-9");
  EXPECT_EQ(ask(client_in(stranger)), "refused");
}

TEST_P(UdpTest, AKernelWithoutZonesForwardsAndSaysWhatIsMissing) {
  prepare(UdpSupport::new_only);
  ASSERT_TRUE(set({{to(old_clock)}, {}, {}}));
  EXPECT_EQ(ask(client_in(web)), "old");
  ASSERT_TRUE(set({{to(new_clock)}, {}, {}}));
  EXPECT_EQ(ask(client_in(web)), "new");
  ASSERT_EQ(networks->notices().empty(), false);
  EXPECT_NE(networks->notices().back().find("CONFIG_NF_CONNTRACK_ZONES"), std::string::npos);
}

TEST_P(UdpTest, AKernelThatCannotForwardRefusesTargetsAndSaysSo) {
  prepare(UdpSupport::none);
  const auto refused = set({{to(old_clock)}, {}, {}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::unsupported);
  EXPECT_NE(refused.error().message().find("CONFIG_NFT_NAT"), std::string::npos);
  EXPECT_TRUE(set({})) << "who needs none has them";
  EXPECT_EQ(ask(client_in(web)), "refused");
}

}  // namespace
}  // namespace naru::network
