// Real bridges, veth pairs and nftables in a network namespace that the test makes for itself: the machine's
// own network is not touched. Needs root.
#include "network/networks.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "network/record.h"
#include "network/ruleset.h"
#include "network/test_host.h"
#include "os/netlink.h"
#include "os/nftables.h"

namespace naru::network {
namespace {

INSTANTIATE_TEST_SUITE_P(BridgeNfCallIptables, NetworksTest, ::testing::Values('0', '1'));

TEST_P(NetworksTest, ContainersOfOneEnvironmentReachEachOther) {
  const auto networks = open();
  ensure(*networks, "shop.production");
  const Attachment web = attach(*networks, "shop.production", "web-1");
  const Attachment cart = attach(*networks, "shop.production", "cart-1");
  EXPECT_NE(web.address, cart.address);
  const Fd server = listen_in(cart.netns.get(), cart.address, 8080);
  EXPECT_EQ(connect_errno(web.netns.get(), cart.address, 8080, kLong), 0);
}

TEST_P(NetworksTest, AContainerCannotSpeakInTheNameOfAnother) {
  const auto networks = open();
  const NetworkInfo info = ensure(*networks, "shop.production");
  const Attachment victim = attach(*networks, "shop.production", "cart-1");
  const Attachment other = attach(*networks, "shop.production", "web-1");
  const Attachment evil = attach(*networks, "shop.production", "evil-1");
  const Fd listener = listen_in(victim.netns.get(), victim.address, 5000, SOCK_DGRAM);
  const auto own_mac = mac_in(evil.netns.get()), other_mac = mac_in(other.netns.get());
  const auto arrives = [&](const auto& mac, const std::string& source) {
    send_frame(evil.netns.get(), mac, source, victim.address, 5000);
    char buffer[16];
    return readable(listener.get(), 200) && ::recv(listener.get(), buffer, sizeof buffer, 0) == 4;
  };
  EXPECT_TRUE(arrives(own_mac, evil.address)) << "the test's own frame is wrong";
  EXPECT_FALSE(arrives(own_mac, other.address));
  EXPECT_FALSE(arrives(own_mac, info.gateway));
  EXPECT_FALSE(arrives(other_mac, evil.address));
  // After a restart, and whatever else comes and goes, it holds.
  const auto again = open();
  EXPECT_TRUE(arrives(own_mac, evil.address));
  EXPECT_FALSE(arrives(own_mac, other.address));
  // Without the rules the attack works: what they are for.
  EXPECT_TRUE(on_host([&] {
    const auto tables = os::run_nftables("list tables bridge\n").value();
    const auto at = tables.find("naru_");
    return os::run_nftables("delete table bridge " + tables.substr(at, tables.find('\n', at) - at) + "\n");
  }));
  EXPECT_TRUE(arrives(own_mac, other.address));
  EXPECT_TRUE(arrives(other_mac, evil.address));
  // The next container heals what somebody flushed.
  const Attachment late = attach(*again, "shop.production", "late-1");
  EXPECT_FALSE(arrives(own_mac, other.address));
  EXPECT_EQ(connect_errno(late.netns.get(), victim.address, 1, kLong), ECONNREFUSED);
}

TEST_P(NetworksTest, AnArrivalWhosePortTheKernelDoesNotTakeIsRefusedAndTriedAgain) {
  auto networks = open();
  ensure(*networks, "shop.production");
  const Attachment web = attach(*networks, "shop.production", "web-1");
  const auto expect_whole = [&](const char* when) {
    const Attachment late = attach(*networks, "shop.production", "late-1");
    const Fd listener = listen_in(late.netns.get(), late.address, 5000, SOCK_DGRAM);
    const auto mac = mac_in(web.netns.get());
    send_frame(web.netns.get(), mac, "10.88.0.77", late.address, 5000);
    EXPECT_FALSE(readable(listener.get(), 200)) << when << ": in the name of another";
    send_frame(web.netns.get(), mac, web.address, late.address, 5000);
    EXPECT_TRUE(readable(listener.get(), 5000)) << when << ": in its own";
    EXPECT_TRUE(networks->notices().empty() || networks->notices().front().starts_with("net.ipv4")) << when;
  };
  std::optional<TakenTable> taken(std::in_place, host.get(), "bridge");
  const auto refused = on_host([&] { return networks->attach("shop.production", "late-1"); });
  ASSERT_FALSE(refused) << "nobody would hold it to its address";
  EXPECT_EQ(refused.error().code, Code::busy) << refused.error().message();
  EXPECT_FALSE(on_host([&] { return networks->release("late-1"); }))
      << "its port stays in the kernel's table";
  taken.reset();
  expect_whole("when the kernel takes them again");
  EXPECT_TRUE(on_host([&] { return networks->release("late-1"); }));
  taken.emplace(host.get(), "bridge");
  networks.reset();
  networks = open();
  taken.reset();
  expect_whole("after a launcher that began meanwhile");
}

TEST_P(NetworksTest, ANetworkWhoseRulesTheKernelDidNotTakeHasThemAtTheNextAsking) {
  const auto networks = open();
  std::optional<TakenTable> taken(std::in_place, host.get(), "inet");
  const std::string list = "list " + taken->name() + "\n";
  EXPECT_FALSE(on_host([&] { return networks->ensure("shop.production"); }));
  EXPECT_FALSE(on_host([&] { return networks->ensure("shop.production"); })) << "nothing has changed";
  taken.reset();
  const NetworkInfo info = ensure(*networks, "shop.production");
  const auto rules = [&] { return on_host([&] { return os::run_nftables(list); }).value_or(""); };
  EXPECT_NE(rules().find(info.gateway), std::string::npos) << rules();
  const Attachment web = attach(*networks, "shop.production", "web-1");
  const Fd dns = listen_in(host.get(), info.gateway, 53), control = listen_in(host.get(), "0.0.0.0", 7070);
  EXPECT_EQ(connect_errno(web.netns.get(), info.gateway, 53, kLong), 0);
  EXPECT_EQ(connect_errno(web.netns.get(), info.gateway, 7070), ECONNREFUSED);
  EXPECT_TRUE(on_host([&] { return networks->release("web-1"); }));
  taken.emplace(host.get(), "inet");
  EXPECT_FALSE(on_host([&] { return networks->remove("shop.production"); }));
  taken.reset();
  EXPECT_TRUE(on_host([&] { return networks->remove("shop.production"); }));
  EXPECT_NE(rules().find("chain from_containers"), std::string::npos) << rules();
  EXPECT_EQ(rules().find(info.gateway), std::string::npos) << rules();
}

TEST_P(NetworksTest, IsolatedContainersReachTheGatewayAndNotEachOther) {
  const auto networks = open();
  const NetworkInfo info = ensure(*networks, "naru-builds");
  const auto isolated = [&](const std::string& id) {
    return on_host([&] { return networks->attach("naru-builds", id, {.isolated = true}).value(); });
  };
  const Attachment first = isolated("build-1"), second = isolated("build-2");
  const Fd server = listen_in(first.netns.get(), first.address, 8080);
  const Fd gateway = listen_in(host.get(), info.gateway, info.inner_port);
  EXPECT_NE(connect_errno(second.netns.get(), first.address, 8080, 1500), 0);
  EXPECT_EQ(connect_errno(second.netns.get(), info.gateway, info.inner_port, kLong), 0);
}

TEST_P(NetworksTest, EnvironmentsDoNotReachEachOther) {
  const auto networks = open();
  ensure(*networks, "shop.production");
  const NetworkInfo staging = ensure(*networks, "shop.staging");
  const Attachment web = attach(*networks, "shop.production", "web-1");
  const Attachment other = attach(*networks, "shop.staging", "web-2");
  const Fd server = listen_in(other.netns.get(), other.address, 8080);
  const Fd gateway = listen_in(host.get(), staging.gateway, staging.inner_port);
  EXPECT_NE(connect_errno(web.netns.get(), other.address, 8080), 0);
  EXPECT_NE(connect_errno(web.netns.get(), staging.gateway, staging.inner_port), 0);
  const std::string foreign = os::ipv4_text(os::Ipv4Prefix::parse(staging.virtual_range)->first() + 5);
  EXPECT_NE(connect_errno(web.netns.get(), foreign, 80), 0);
}

TEST_P(NetworksTest, TheVirtualRangeLeadsToTheInnerListenerWithItsOriginalDestination) {
  const auto networks = open();
  const NetworkInfo info = ensure(*networks, "shop.production");
  const Attachment web = attach(*networks, "shop.production", "web-1");
  const Fd inner = listen_in(host.get(), info.gateway, info.inner_port);
  const std::string wanted = os::ipv4_text(os::Ipv4Prefix::parse(info.virtual_range)->first() + 7);
  ASSERT_EQ(connect_errno(web.netns.get(), wanted, 6379, kLong), 0);
  const Fd accepted(::accept4(inner.get(), nullptr, nullptr, SOCK_CLOEXEC));
  sockaddr_in original{};
  socklen_t length = sizeof original;
  ASSERT_EQ(::getsockopt(accepted.get(), SOL_IP, SO_ORIGINAL_DST, &original, &length), 0);
  EXPECT_EQ(os::ipv4_text(ntohl(original.sin_addr.s_addr)), wanted);
  EXPECT_EQ(ntohs(original.sin_port), 6379);
  sockaddr_in from{};
  length = sizeof from;
  ASSERT_EQ(::getpeername(accepted.get(), reinterpret_cast<sockaddr*>(&from), &length), 0);
  EXPECT_EQ(os::ipv4_text(ntohl(from.sin_addr.s_addr)), web.address);  // the caller is known by its address
}

TEST_P(NetworksTest, OfTheHostOnlyDnsAndTheInnerListenerAreReachable) {
  const auto networks = open();
  const NetworkInfo info = ensure(*networks, "shop.production");
  const Attachment web = attach(*networks, "shop.production", "web-1");
  const Fd dns = listen_in(host.get(), info.gateway, 53);
  const Fd control = listen_in(host.get(), "0.0.0.0", 7070);
  EXPECT_EQ(connect_errno(web.netns.get(), info.gateway, 53, kLong), 0);
  EXPECT_EQ(connect_errno(web.netns.get(), info.gateway, 7070), ECONNREFUSED);
  EXPECT_EQ(connect_errno(web.netns.get(), "203.0.113.1", 7070), ECONNREFUSED);
  EXPECT_NE(connect_errno(web.netns.get(), "127.0.0.1", 7070), 0);
}

TEST_P(NetworksTest, ContainersReachTheOutsideBehindTheHostsAddressAndNobodyReachesIn) {
  const auto networks = open();
  ensure(*networks, "shop.production");
  const Attachment web = attach(*networks, "shop.production", "web-1");
  const Fd server = listen_in(outside.get(), "203.0.113.2", 443);
  ASSERT_EQ(connect_errno(web.netns.get(), "203.0.113.2", 443, kLong), 0);
  sockaddr_in from{};
  socklen_t length = sizeof from;
  const Fd accepted(::accept4(server.get(), reinterpret_cast<sockaddr*>(&from), &length, SOCK_CLOEXEC));
  EXPECT_EQ(os::ipv4_text(ntohl(from.sin_addr.s_addr)), "203.0.113.1");
  // A neighbour that routes our subnet to this host still does not come in.
  inside(outside.get(), [&] {
    auto netlink = os::Netlink::open();
    EXPECT_TRUE(netlink->add_default_route(*os::parse_ipv4("203.0.113.1")));
    return 0;
  });
  const Fd listening = listen_in(web.netns.get(), web.address, 8080);
  EXPECT_NE(connect_errno(outside.get(), web.address, 8080), 0);
  EXPECT_EQ(connect_errno(host.get(), web.address, 8080, kLong), 0);  // the gateway does
}

TEST_P(NetworksTest, TheLinkLocalAddressesOfTheMachineAreNotTheContainers) {
  const auto add = [](int netns, const char* link, const char* address) {
    inside(netns, [&] {
      EXPECT_TRUE(os::Netlink::open()->add_address(link, *os::Ipv4Prefix::parse(address)));
      return 0;
    });
  };
  add(outside.get(), "eth0", "169.254.169.254/16");
  add(host.get(), "uplink", "169.254.0.1/16");
  const auto networks = open();
  ensure(*networks, "shop.production");
  const Attachment web = attach(*networks, "shop.production", "web-1");
  const Fd metadata = listen_in(outside.get(), "169.254.169.254", 80);
  EXPECT_EQ(connect_errno(host.get(), "169.254.169.254", 80, kLong), 0);
  EXPECT_EQ(connect_errno(web.netns.get(), "169.254.169.254", 80, kLong), EHOSTUNREACH);
}

TEST_P(NetworksTest, AnAddressStaysWithItsContainerAcrossARestartOfEverything) {
  auto networks = open();
  const NetworkInfo before = ensure(*networks, "shop.production");
  const std::string address = attach(*networks, "shop.production", "web-1").address;
  networks.reset();
  // A reboot: the links are gone.
  on_host([&] {
    auto netlink = os::Netlink::open();
    EXPECT_TRUE(netlink->remove_link(before.bridge));
    return 0;
  });
  networks = open();
  ASSERT_EQ(networks->list().size(), 1U);
  EXPECT_EQ(networks->list()[0].gateway, before.gateway);
  EXPECT_EQ(attach(*networks, "shop.production", "web-1").address, address);
  EXPECT_NE(attach(*networks, "shop.production", "web-2").address, address);
}

TEST_P(NetworksTest, LeftoversOfOursGoAtOpenAndOthersLinksStay) {
  auto networks = open();
  const NetworkInfo info = ensure(*networks, "shop.production");
  networks.reset();
  std::filesystem::remove_all(folder + "/networks");
  on_host([&] {
    auto netlink = os::Netlink::open();
    EXPECT_TRUE(netlink->create_bridge("nzzzzzbother", 0x020000000001));
    return 0;
  });
  networks = open();
  on_host([&] {
    auto netlink = os::Netlink::open();
    EXPECT_FALSE(netlink->link(info.bridge));
    EXPECT_TRUE(netlink->link("nzzzzzbother"));
    return 0;
  });
}

TEST_P(NetworksTest, ReleaseAndRemoveLeaveNothing) {
  const auto networks = open();
  const NetworkInfo info = ensure(*networks, "shop.production");
  const Attachment web = attach(*networks, "shop.production", "web-1");
  auto refused = on_host([&] { return networks->remove("shop.production"); });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::conflict);
  EXPECT_TRUE(on_host([&] { return networks->keep_only({"somebody-else"}); }));
  EXPECT_TRUE(on_host([&] { return networks->release("web-1"); }));
  EXPECT_TRUE(on_host([&] { return networks->remove("shop.production"); }));
  EXPECT_TRUE(on_host([&] { return networks->remove("shop.production"); }));
  EXPECT_TRUE(networks->list().empty());
  on_host([&] {
    auto netlink = os::Netlink::open();
    const auto links = netlink->links();
    for (const os::Link& link : *links) EXPECT_TRUE(link.name == "lo" || link.name == "uplink") << link.name;
    return 0;
  });
  EXPECT_TRUE(on_host([&] { return networks->remove_all(); }));
  EXPECT_EQ(*on_host([&] { return os::run_nftables("list ruleset\n"); }), "");
}

TEST_P(NetworksTest, AClearedHostHasNothingOfItAndTheNextOneMakesTheSameAgain) {
  auto networks = open();
  const auto made = on_host([&] { return networks->ensure("shop.production"); });
  ASSERT_TRUE(made);
  EXPECT_TRUE(on_host([&] { return networks->clear_host(); }));
  const auto ours = [&] {
    return on_host([&] {
      auto netlink = os::Netlink::open();
      const auto links = netlink->links();
      std::vector<std::string> names;
      for (const os::Link& link : *links)
        if (link.name != "lo" && link.name != "uplink") names.push_back(link.name);
      return names;
    });
  };
  EXPECT_TRUE(ours().empty());
  EXPECT_EQ(*on_host([&] { return os::run_nftables("list ruleset\n"); }), "");
  networks = open();
  EXPECT_EQ(ours(), std::vector<std::string>{made->bridge});
  EXPECT_EQ(networks->list().front().subnet, made->subnet);
  EXPECT_TRUE(on_host([&] { return networks->remove_all(); }));
}

TEST_P(NetworksTest, TwoNarusOnOneHostCoexist) {
  const std::string second_folder = folder + "/second";
  std::filesystem::create_directories(second_folder);
  const auto first = open();
  const auto second = on_host([&] { return std::move(*Networks::open({.data = second_folder})); });
  const NetworkInfo a = ensure(*first, "shop.production");
  const NetworkInfo b = ensure(*second, "shop.production");
  EXPECT_NE(a.bridge, b.bridge);
  EXPECT_NE(a.gateway, b.gateway);
  const Attachment web = attach(*first, "shop.production", "web-1");
  const Attachment other = attach(*second, "shop.production", "web-1");
  const Fd server = listen_in(other.netns.get(), other.address, 8080);
  EXPECT_NE(connect_errno(web.netns.get(), other.address, 8080), 0);
}

TEST_P(NetworksTest, SubnetsThatTheHostRoutesAreLeftAlone) {
  on_host([&] {
    auto netlink = os::Netlink::open();
    EXPECT_TRUE(netlink->create_bridge("vpn", 0x020000000002));
    EXPECT_TRUE(netlink->add_address("vpn", *os::Ipv4Prefix::parse("10.88.3.1/21")));
    EXPECT_TRUE(netlink->set_up("vpn"));
    return 0;
  });
  const auto networks = open();
  EXPECT_EQ(ensure(*networks, "shop.production").subnet, "10.88.8.0/23");
  const auto none =
      on_host([&] { return Networks::open({.data = folder + "/x", .pools = {"10.88.0.0/21"}}); });
  const auto exhausted = on_host([&] { return (*none)->ensure("a.b"); });
  ASSERT_FALSE(exhausted);
  EXPECT_EQ(exhausted.error().code, Code::network_exhausted);
}

TEST_P(NetworksTest, AddressesThatSomebodyListensOnAreLeftAlone) {
  // As the supervisor of another Naru does, whose bridge is gone.
  const auto listen_without_interface = [&](const std::string& address, int type) {
    return on_host([&] {
      Fd socket(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
      const int yes = 1;
      ::setsockopt(socket.get(), IPPROTO_IP, IP_FREEBIND, &yes, sizeof yes);
      const sockaddr_in at = endpoint(address, 53);
      EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
      if (type == SOCK_STREAM) {
        EXPECT_EQ(::listen(socket.get(), 1), 0);
      }
      return socket;
    });
  };
  const Fd dns = listen_without_interface("10.88.0.1", SOCK_DGRAM);
  const Fd inner = listen_without_interface("10.88.4.1", SOCK_STREAM);
  const Fd everywhere = listen_in(host.get(), "0.0.0.0", 8080);
  const auto networks = open();
  EXPECT_EQ(ensure(*networks, "shop.production").subnet, "10.88.8.0/23");
}

TEST_P(NetworksTest, LoopbackOnlyHasNoWayOut) {
  const auto networks = open();
  const Attachment alone = attach(*networks, "", "job-1");
  EXPECT_EQ(alone.address, "");
  EXPECT_EQ(connect_errno(alone.netns.get(), "203.0.113.2", 443), ENETUNREACH);
}

TEST_P(NetworksTest, ForgedIdsAndTargetsAreRefused) {
  const auto networks = open();
  for (const char* id : {"", "../x", "a/b", "A", ".a", "a..b", "a b", "-a", "a\n"}) {
    EXPECT_EQ(on_host([&] { return networks->ensure(id); }).error().code, Code::invalid_argument) << id;
    EXPECT_EQ(on_host([&] { return networks->attach("", id); }).error().code, Code::invalid_argument) << id;
  }
  EXPECT_EQ(on_host([&] { return networks->attach("none.such", "web-1"); }).error().code, Code::not_found);
  ensure(*networks, "shop.production");
  const auto set = [&](const UdpRoutes& routes) {
    return on_host([&] { return networks->set_udp_routes("shop.production", routes); }).error().code;
  };
  for (const UdpTarget& bad :
       {UdpTarget{"10.88.2.5", 0, "10.88.0.5"}, UdpTarget{"8.8.8.8", 53, "10.88.0.5"},
        UdpTarget{"10.88.2.5", 53, "127.0.0.1"}, UdpTarget{"10.88.2.5 . 1 : 1.1.1.1", 53, "10.88.0.5"}}) {
    EXPECT_EQ(set({{bad}, {}, {}}), Code::invalid_argument);
    EXPECT_EQ(set({{}, {}, {bad}}), Code::invalid_argument);
  }
  const UdpTarget good{"10.88.2.5", 53, "10.88.0.5"};
  EXPECT_EQ(set({{good, good}, {}, {}}), Code::invalid_argument);
  EXPECT_EQ(set({{}, {"10.88.4.1"}, {good}}), Code::invalid_argument);
  EXPECT_EQ(set({{}, {"10.88.0.7, 10.88.0.8"}, {good}}), Code::invalid_argument);
  EXPECT_EQ(set({std::vector<UdpTarget>(513, good), {}, {}}), Code::too_large);
  for (const UdpException& bad :
       {UdpException{"10.88.4.5", "10.88.2.5"}, UdpException{"10.88.0.5", "10.88.0.6"},
        UdpException{"10.88.0.5 }", "10.88.2.5"}})
    EXPECT_EQ(set({{good}, {}, {}, {bad}}), Code::invalid_argument);
  EXPECT_EQ(set({{good}, {}, {}, std::vector<UdpException>(4097, {"10.88.0.5", "10.88.2.5"})}),
            Code::too_large);
}

TEST_P(NetworksTest, AFileOfGarbageIsSetAsideAndTheRestGoesOn) {
  open();
  const auto write = [&](const std::string& name, const std::string& text) {
    std::ofstream(folder + "/networks/" + name) << text;
  };
  write("a.b.json", "{{{");
  write("c.d.json", R"({"info": {"id": "../etc", "subnet": "10.88.0.0/23"}})");
  write("e.f.json", R"({"info": {"id": "e.f", "subnet": "garbage"}})");
  write("g.h.json", R"({"info": 7, "leases": []})");
  const auto networks = open();
  EXPECT_TRUE(networks->list().empty());
  EXPECT_GE(networks->notices().size(), 4U);
  EXPECT_TRUE(std::filesystem::exists(folder + "/networks/a.b.json.bad"));
  ensure(*networks, "a.b");
}

TEST(Ruleset, IsTheSameForTheSameNetworks) {
  const NetworkInfo info{"a.b", "nxxxxxbyyyyyyyy", "10.88.0.0/23", "10.88.0.1", "10.88.2.0/23", 15001};
  const std::vector<RuledNetwork> networks{{info, {{{"10.88.2.5", 53, "10.88.0.3"}}, {}, {}}}};
  const std::string text = render_ruleset("naru_x", "nxxxxxb", 15001, networks);
  EXPECT_EQ(text, render_ruleset("naru_x", "nxxxxxb", 15001, networks));
  EXPECT_TRUE(text.starts_with("add table inet naru_x\ndelete table inet naru_x\n"));
  EXPECT_NE(text.find("10.88.2.5 . 53 : 10.88.0.3 . 53"), std::string::npos);
}

TEST(Record, AddressesAreNotReusedAtOnceAndEndNamed) {
  Record record;
  record.info = {"a.b", "br", "10.0.0.0/29", "10.0.0.1", "10.0.1.0/29", 1};
  record.leases["a"] = *next_free_address(record);
  EXPECT_EQ(record.leases["a"], "10.0.0.2");
  record.leases.erase("a");
  EXPECT_EQ(*next_free_address(record), "10.0.0.3");
  for (const char* id : {"b", "c", "d", "e", "f"}) record.leases[id] = *next_free_address(record);
  EXPECT_FALSE(next_free_address(record));
}

TEST(Record, LeasesAreKeptBesideItAndWhatAPowerCutLeftOfThemIsIgnored) {
  std::string folder = ::testing::TempDir() + "naru-record-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  Record record;
  record.info = {"a.b", "br", "10.0.0.0/29", "10.0.0.1", "10.0.1.0/29", 1};
  ASSERT_TRUE(save_record(folder, record));
  record.leases["web-1"] = *next_free_address(record);
  ASSERT_TRUE(save_leases(folder, record));
  EXPECT_EQ(load_records(folder)->records.at("a.b").leases, record.leases);
  EXPECT_EQ(load_records(folder)->records.at("a.b").next, record.next);
  record.leases.clear();
  ASSERT_TRUE(save_leases(folder, record));
  EXPECT_TRUE(load_records(folder)->records.at("a.b").leases.empty());
  for (const char* torn : {"", "{\"leases\": {", "{\"leases\": [7]}", "7"}) {
    std::ofstream(folder + "/a.b.leases") << torn;
    const auto loaded = load_records(folder);
    ASSERT_TRUE(loaded);
    EXPECT_TRUE(loaded->records.at("a.b").leases.empty()) << torn;
    EXPECT_TRUE(loaded->unreadable.empty()) << torn;
  }
  ASSERT_TRUE(remove_record(folder, "a.b"));
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  std::filesystem::remove_all(folder);
}

TEST(Ipv4, ReadsBlocksAndRefusesGarbage) {
  EXPECT_EQ(os::Ipv4Prefix::parse("10.88.0.1/13")->text(), "10.88.0.1/13");
  EXPECT_TRUE(os::Ipv4Prefix::parse("10.0.0.0/8")->overlaps(*os::Ipv4Prefix::parse("10.88.0.0/22")));
  EXPECT_FALSE(os::Ipv4Prefix::parse("10.88.0.0/22")->overlaps(*os::Ipv4Prefix::parse("10.88.4.0/22")));
  for (const char* bad : {"", "/", "10.0.0.0/", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/-1", "10.0.0.0/8x",
                          "::1/64", "10.0.0.0/008"})
    EXPECT_EQ(os::Ipv4Prefix::parse(bad).error().code, Code::invalid_argument) << bad;
}

}  // namespace
}  // namespace naru::network
