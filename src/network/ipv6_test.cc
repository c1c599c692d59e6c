// Naru's networks carry no IPv6: what a container sends all the same arrives nowhere.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include <cstring>
#include <thread>

#include "network/networks.h"
#include "network/test_host.h"
#include "os/netlink.h"
#include "os/nftables.h"

namespace naru::network {
namespace {

std::string sysctl_of(const std::string& link, const std::string& name) {
  return "/proc/sys/net/ipv6/conf/" + link + "/" + name;
}

// The link-local address of `link`, as soon as it is one that answers; {} when there is none within
// `patience`.
std::optional<in6_addr> link_local_of(const std::string& link, milliseconds patience) {
  const MonoTime deadline = SystemClock().mono() + patience;
  do {
    std::ifstream table("/proc/thread-self/net/if_inet6");
    for (std::string address, index, prefix, scope, flags, name;
         table >> address >> index >> prefix >> scope >> flags >> name;) {
      constexpr unsigned kTentative = 0x40;
      if (name != link || (std::stoul(flags, nullptr, 16) & kTentative) != 0) continue;
      in6_addr out{};
      for (std::size_t i = 0; i < 16; ++i)
        out.s6_addr[i] = static_cast<std::uint8_t>(std::stoul(address.substr(2 * i, 2), nullptr, 16));
      return out;
    }
    std::this_thread::yield();
  } while (SystemClock().mono() < deadline);
  return std::nullopt;
}

// A UDP frame over IPv6 out of a container, to a neighbour whose hardware address it knows.
void send_ipv6_frame(int netns, const Mac& target_mac, const in6_addr& target, std::uint16_t port) {
  struct [[gnu::packed]] {
    std::uint8_t to[6] = {}, from[6] = {};
    std::uint16_t type = htons(0x86dd);
    std::uint32_t version = htonl(6U << 28);
    std::uint16_t length = htons(12);
    std::uint8_t next = IPPROTO_UDP, hops = 64;
    std::uint8_t saddr[16] = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}, daddr[16] = {};
    std::uint16_t sport = htons(4000), dport = 0, udp_length = htons(12), udp_sum = 0;
    char data[4] = {'e', 'v', 'i', 'l'};
  } frame;
  const Mac source_mac = mac_in(netns);
  std::ranges::copy(target_mac, frame.to);
  std::ranges::copy(source_mac, frame.from);
  std::ranges::copy(target.s6_addr, frame.daddr);
  frame.dport = htons(port);
  std::array<std::uint16_t, 22>
      words{};  // addresses and datagram, with the pseudo header's length and protocol
  std::memcpy(words.data(), frame.saddr, 44);
  frame.udp_sum = internet_checksum(words, htons(12) + htons(IPPROTO_UDP));
  inside(netns, [&] {
    put_frame(frame, 0x86dd);
    return 0;
  });
}

// Three things stand in its way, each alone: the bridge has no IPv6, its ports pass none on, the host takes
// none.
TEST_P(NetworksTest, NothingReachesTheHostOverIpv6) {
  if (!std::filesystem::exists("/proc/sys/net/ipv6")) GTEST_SKIP() << "this kernel has no IPv6";
  const auto networks = open();
  const NetworkInfo info = ensure(*networks, "shop.production");
  const Attachment web = attach(*networks, "shop.production", "web-1");
  const auto value_of = [&](const char* name) {
    return on_host([&] {
      char is = 0;
      std::ifstream(sysctl_of(info.bridge, name)) >> is;
      return is;
    });
  };
  EXPECT_EQ(value_of("disable_ipv6"), '1');
  const auto set = [&](const char* name, char value) {
    on_host([&] {
      std::ofstream(sysctl_of(info.bridge, name)) << value;
      return 0;
    });
    return value_of(name) == value;
  };
  ASSERT_TRUE(set("accept_dad", '0') && set("disable_ipv6", '0'));
  const auto address = on_host([&] { return link_local_of(info.bridge, 10s); });
  ASSERT_TRUE(address);
  const Fd listener = on_host([&] {
    Fd socket(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_port = htons(5000);
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any), 0);
    return socket;
  });
  const Mac bridge_mac = mac_in(host.get(), info.bridge.c_str());
  const auto arrives = [&](int patience) {
    send_ipv6_frame(web.netns.get(), bridge_mac, *address, 5000);
    char buffer[16];
    return readable(listener.get(), patience) && ::recv(listener.get(), buffer, sizeof buffer, 0) == 4;
  };
  const auto nft = [&](const std::string& command) {
    return on_host([&] {
      auto said = os::run_nftables(command + "\n");
      EXPECT_TRUE(said) << said.error().message();
      return said.value_or("");
    });
  };
  const std::string tables = nft("list tables bridge");
  const auto at = tables.find("naru_");
  ASSERT_NE(at, std::string::npos) << "this kernel has no nftables for bridges";
  const std::string name = tables.substr(at, tables.find('\n', at) - at);
  EXPECT_FALSE(arrives(200));
  const std::string ports = nft("list table bridge " + name);
  nft("delete table bridge " + name);
  EXPECT_FALSE(arrives(200)) << "the host's own rules";
  nft("delete table inet " + name);
  EXPECT_TRUE(arrives(5000)) << "the test's own frame is wrong";
  nft(ports);
  EXPECT_FALSE(arrives(200)) << "the rules of the ports";
}

TEST_P(NetworksTest, BridgesThatKeepIpv6AreToldOfOnce) {
  if (!std::filesystem::exists("/proc/sys/net/ipv6")) GTEST_SKIP() << "this kernel has no IPv6";
  const auto notices = on_host([&] {
    std::ofstream(sysctl_of("default", "disable_ipv6")) << '0';
    // For this thread alone, as in a container of somebody else.
    EXPECT_EQ(::unshare(CLONE_NEWNS), 0);
    EXPECT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    EXPECT_EQ(::mount("/proc/sys", "/proc/sys", nullptr, MS_BIND, nullptr), 0);
    EXPECT_EQ(::mount(nullptr, "/proc/sys", nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr), 0);
    const auto networks = Networks::open({.data = folder}).value();
    EXPECT_TRUE(networks->ensure("shop.production") && networks->ensure("shop.staging"));
    return networks->notices();
  });
  EXPECT_EQ(
      std::ranges::count_if(notices, [](const std::string& text) { return text.contains("disable_ipv6"); }),
      1);
  const auto usual = open();
  ensure(*usual, "shop.production");
  EXPECT_TRUE(
      std::ranges::none_of(usual->notices(), [](const std::string& text) { return text.contains("ipv6"); }));
}

}  // namespace
}  // namespace naru::network
