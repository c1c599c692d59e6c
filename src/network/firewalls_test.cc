#include "network/firewalls.h"

#include <gtest/gtest.h>

namespace naru::network {
namespace {

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
}
)";

TEST(Firewalls, AreNamedWhenTheyDropWhatIsForwarded) {
  EXPECT_EQ(forward_drops(kChains), (std::vector<std::string>{"ip filter"}));
  EXPECT_TRUE(forward_drops("").empty());
  EXPECT_TRUE(forward_drops("table").empty());
  EXPECT_TRUE(forward_drops("table x\nhook forward").empty());
}

}  // namespace
}  // namespace naru::network
