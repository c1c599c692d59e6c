// A host for the tests of networks: real bridges, veth pairs and nftables in a network namespace that each
// test makes for itself. Needs root.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "network/networks.h"
#include "os/netlink.h"
#include "os/nftables.h"

namespace naru::network {

// Runs `body` on a thread inside the namespace.
template <class F>
auto inside(int netns, F body) {
  using R = decltype(body());
  std::optional<R> result;
  std::thread([&] {
    if (::setns(netns, CLONE_NEWNET) == 0) result.emplace(body());
  }).join();
  EXPECT_TRUE(result.has_value());
  return std::move(*result);
}

inline sockaddr_in endpoint(const std::string& address, std::uint16_t port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  ::inet_pton(AF_INET, address.c_str(), &out.sin_addr);
  return out;
}

inline Fd listen_in(int netns, const std::string& address, std::uint16_t port, int type = SOCK_STREAM) {
  return inside(netns, [&] {
    Fd socket(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
    const int yes = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    const sockaddr_in at = endpoint(address, port);
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0)
        << address << ":" << port;
    if (type == SOCK_STREAM) {
      EXPECT_EQ(::listen(socket.get(), 16), 0);
    }
    return socket;
  });
}

// 0, or the errno of the connect (ETIMEDOUT after `patience`). A lost first SYN comes again after a second.
inline constexpr int kShort = 300, kLong = 5000;
inline int connect_errno(int netns, const std::string& address, std::uint16_t port, int patience = kShort) {
  return inside(netns, [&] {
    const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const sockaddr_in to = endpoint(address, port);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) return 0;
    if (errno != EINPROGRESS) return errno;
    pollfd entry{socket.get(), POLLOUT, 0};
    if (::poll(&entry, 1, patience) == 0) return ETIMEDOUT;
    int error = 0;
    socklen_t length = sizeof error;
    ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    return error;
  });
}

inline bool readable(int fd, int milliseconds) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, milliseconds) == 1;
}

// RFC 1071; `sum`: of what stands beside the words.
inline std::uint16_t internet_checksum(std::span<const std::uint16_t> words, std::uint32_t sum = 0) {
  for (const std::uint16_t word : words) sum += word;
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

// Out of eth0 of the namespace that the caller is in.
inline void put_frame(const auto& frame, std::uint16_t ether_type) {
  const Fd raw(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ether_type)));
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = static_cast<int>(::if_nametoindex("eth0"));
  EXPECT_EQ(::sendto(raw.get(), &frame, sizeof frame, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to),
            static_cast<ssize_t>(sizeof frame));
}

// A raw UDP frame out of a container, as one with CAP_NET_RAW can send it.
using Mac = std::array<std::uint8_t, 6>;
inline constexpr Mac kEverybody{255, 255, 255, 255, 255, 255};
inline void send_frame(int netns, const Mac& source_mac, const std::string& source, const std::string& target,
                       std::uint16_t port, const Mac& target_mac = kEverybody) {
  inside(netns, [&] {
    struct [[gnu::packed]] {
      std::uint8_t to[6] = {}, from[6] = {};
      std::uint16_t type = htons(0x0800);
      std::uint8_t version = 0x45, tos = 0;
      std::uint16_t length = htons(32), id = 0, fragment = 0;
      std::uint8_t ttl = 64, protocol = IPPROTO_UDP;
      std::uint16_t sum = 0;
      std::uint32_t saddr = 0, daddr = 0;
      std::uint16_t sport = htons(4000), dport = 0, udp_length = htons(12), udp_sum = 0;
      char data[4] = {'e', 'v', 'i', 'l'};
    } frame;
    std::ranges::copy(target_mac, frame.to);
    std::ranges::copy(source_mac, frame.from);
    frame.saddr = endpoint(source, 0).sin_addr.s_addr;
    frame.daddr = endpoint(target, 0).sin_addr.s_addr;
    frame.dport = htons(port);
    std::array<std::uint16_t, 10> words{};
    std::memcpy(words.data(), &frame.version, 20);
    frame.sum = internet_checksum(words);
    put_frame(frame, 0x0800);
    return 0;
  });
}

inline Mac mac_in(int netns, const char* link = "eth0") {
  return inside(netns, [&] {
    const Fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strncpy(request.ifr_name, link, IFNAMSIZ - 1);
    EXPECT_EQ(::ioctl(any.get(), SIOCGIFHWADDR, &request), 0);
    Mac mac{};
    std::memcpy(mac.data(), request.ifr_hwaddr.sa_data, mac.size());
    return mac;
  });
}

// Somebody else has the host's only table of `family` until this goes: nobody can change what its owner holds
// (nft(8), flags owner). The table goes with it.
class TakenTable {
 public:
  TakenTable(int netns, const std::string& family) {
    const auto rules = [&](const std::string& command) {
      return inside(netns, [&] { return os::run_nftables(command); }).value_or("");
    };
    const std::string tables = rules("list tables " + family + "\n");
    name_ = tables.substr(0, tables.find('\n'));
    EXPECT_TRUE(name_.starts_with("table " + family + " naru_")) << tables;
    owner_ = inside(netns, [] { return ::popen("nft -i >/dev/null 2>&1", "we"); });
    std::fprintf(owner_, "delete %s\nadd %s { flags owner; }\n", name_.c_str(), name_.c_str());
    std::fflush(owner_);
    const std::string list = "list " + name_ + "\n";
    for (int i = 0; i < 500 && rules(list).find("owner") == std::string::npos; ++i)
      std::this_thread::sleep_for(10ms);
    EXPECT_NE(rules(list).find("owner"), std::string::npos) << "the test's own table";
  }
  TakenTable(const TakenTable&) = delete;
  TakenTable& operator=(const TakenTable&) = delete;
  ~TakenTable() { ::pclose(owner_); }
  const std::string& name() const { return name_; }  // "table inet naru_abcde"

 private:
  std::string name_;
  std::FILE* owner_ = nullptr;
};

// A host of its own: a namespace with an uplink to an "outside" namespace, and a data folder.
class NetworksTest : public ::testing::TestWithParam<char> {
 protected:
  void SetUp() override {
    char name[] = "/tmp/naru-networks-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder = name;
    auto host_made = os::create_network_namespace();
    auto outside_made = os::create_network_namespace();
    ASSERT_TRUE(host_made && outside_made) << "needs root";
    host = std::move(host_made->fd);
    outside = std::move(outside_made->fd);
    os::Netlink& netlink = host_made->inside;
    ASSERT_TRUE(netlink.create_veth("uplink", "eth0", outside.get(), 0));
    ASSERT_TRUE(netlink.add_address("uplink", *os::Ipv4Prefix::parse("203.0.113.1/24")));
    ASSERT_TRUE(outside_made->inside.add_address("eth0", *os::Ipv4Prefix::parse("203.0.113.2/24")));
    ASSERT_TRUE(outside_made->inside.set_up("eth0"));
    ASSERT_TRUE(netlink.add_default_route(*os::parse_ipv4("203.0.113.2")));
    set_bridge_nf(GetParam());
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  // Without br_netfilter there is nothing to set, which is like 0.
  void set_bridge_nf(char value) {
    const char is = inside(host.get(), [&] {
      char read_back = '0';
      for (const char* name : {"iptables", "ip6tables"}) {
        const std::string path = std::string("/proc/sys/net/bridge/bridge-nf-call-") + name;
        if (!std::filesystem::exists(path)) return '-';
        std::ofstream(path) << value;
        std::ifstream(path) >> read_back;
        if (read_back != value) return read_back;
      }
      return read_back;
    });
    if (is == '-' && value == '1') GTEST_SKIP() << "this kernel has no br_netfilter (or has not loaded it)";
    ASSERT_TRUE(is == value || is == '-')
        << "bridge-nf-call-iptables is " << is << " and cannot be set to " << value;
  }
  std::unique_ptr<Networks> open(UdpSupport most_udp = UdpSupport::full) {
    return inside(host.get(), [&] {
      auto opened = Networks::open({.data = folder, .most_udp = most_udp});
      EXPECT_TRUE(opened) << opened.error().message();
      return std::move(*opened);
    });
  }
  // Networks acts on the namespace of the calling thread.
  template <class F>
  auto on_host(F body) {
    return inside(host.get(), body);
  }
  Attachment attach(Networks& networks, const std::string& network, const std::string& container,
                    AttachOptions wanted = {}) {
    return on_host([&] {
      auto attached = networks.attach(network, container, wanted);
      EXPECT_TRUE(attached) << attached.error().message();
      return std::move(*attached);
    });
  }
  NetworkInfo ensure(Networks& networks, const std::string& id) {
    return on_host([&] {
      auto info = networks.ensure(id);
      EXPECT_TRUE(info) << info.error().message();
      return *info;
    });
  }

  std::string folder;
  Fd host, outside;
};

}  // namespace naru::network
