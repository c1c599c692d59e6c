#include "network/firewalls.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

#include "os/nftables.h"

namespace naru::network {
namespace {

using Names = std::vector<std::string>;

// As `nft list chains` prints them: without their rules.
constexpr std::string_view kChains = R"(table ip filter {
	chain INPUT {
		type filter hook input priority filter; policy drop;
	}
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
	}
	chain DOCKER-USER {
	}
}
table inet naru_abcde {
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
}
table inet firewalld {
	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy accept;
	}
	chain filter_FORWARD_IN_ZONES {
	}
}
)";

TEST(Firewalls, AreFoundAtTheForwardHook) {
  EXPECT_EQ(forward_chains(kChains), (Names{"ip filter FORWARD", "inet firewalld filter_FORWARD"}));
  EXPECT_EQ(forward_drops(kChains), (Names{"ip filter FORWARD"})) << "by its policy alone";
  for (const char* cut : {"", "table", "table x", "table x\nhook forward", "}", "chain c {\n}\n}"}) {
    EXPECT_TRUE(forward_chains(cut).empty()) << cut;
    EXPECT_TRUE(forward_drops(cut).empty()) << cut;
  }
}

// What stands in a name goes into a command of root's.
TEST(Firewalls, NamesThatNftDoesNotReadAreNotAskedFor) {
  const auto of = [](const std::string& name) {
    return forward_chains("table ip x {\n\tchain " + name +
                          " {\n\t\ttype filter hook forward priority 0; policy drop;\n\t}\n}\n");
  };
  EXPECT_EQ(of("c"), (Names{"ip x c"}));
  for (const char* name : {"c; flush ruleset", "a b", "\"c\"", "c\x01", "c{"})
    EXPECT_TRUE(of(name).empty()) << name;
}

TEST(Firewalls, AreBounded) {
  std::string many;
  for (int i = 0; i < 100; ++i)
    many += fmt::format(
        "table ip t{} {{\n\tchain c {{\n\t\ttype filter hook forward priority 0; policy drop;\n\t}}\n}}\n",
        i);
  EXPECT_EQ(forward_drops(many).size(), kMostForwardChains);
}

// As `nft list chain inet firewalld filter_FORWARD` prints it.
constexpr std::string_view kFirewalld = R"(table inet firewalld {
	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		ip6 daddr { ::/96, ::ffff:0.0.0.0/96, 2002::/24 } reject with icmpv6 addr-unreachable
		jump filter_FORWARD_IN_ZONES
		jump filter_FORWARD_OUT_ZONES
		reject with icmpx admin-prohibited
	}
}
)";

TEST(Firewalls, AreNamedWhenTheirLastRuleStopsEverything) {
  EXPECT_EQ(forward_drops(kFirewalld), (Names{"inet firewalld filter_FORWARD"}));
  const auto drops = [](const std::string& last) {
    return !forward_drops(
                "table ip filter {\n\tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy "
                "accept;\n\t\tiifname \"eth0\" drop\n\t\t" +
                last + "\n\t}\n}\n")
                .empty();
  };
  EXPECT_TRUE(drops("drop"));
  EXPECT_TRUE(drops("counter packets 12 bytes 3456 reject with icmp host-prohibited"));
  EXPECT_TRUE(drops("counter log prefix \"no way: \" level info reject"));
  EXPECT_TRUE(drops("counter packets 0 bytes 0 drop comment \"the rest\""));
  for (const char* open :
       {"accept", "iifname \"eth9\" drop", "counter packets 0 bytes 0", "jump DOCKER-USER", "return", "log",
        "log prefix \"drop", "ct state invalid counter packets 0 bytes 0 drop", "# xt_NFLOG"})
    EXPECT_FALSE(drops(open)) << open;
}

// Real nft, in a network namespace of the test's own. Needs root.
TEST(Firewalls, AreFoundWithTheirRules) {
  std::thread([] {
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    EXPECT_EQ(find_forward_drops().value(), Names{});
    std::string rules(kChains);
    rules.insert(rules.find("priority filter + 10; policy accept;") + 36,
                 "\n\t\treject with icmpx admin-prohibited");
    ASSERT_TRUE(os::run_nftables(rules));
    EXPECT_EQ(find_forward_drops().value(), (Names{"ip filter FORWARD", "inet firewalld filter_FORWARD"}));
  }).join();
}

TEST(Firewalls, OurOwnAreNeverNamed) {
  std::string ours(kFirewalld);
  ours.replace(ours.find("firewalld"), 9, "naru_abcde");
  EXPECT_TRUE(forward_drops(ours).empty());
  EXPECT_TRUE(forward_chains(ours).empty());
}

}  // namespace
}  // namespace naru::network
