#include "control/probe_users.h"

#include <gtest/gtest.h>

#include "platform/test_world.h"

namespace naru::control {
namespace {

std::string field(const io::FetchRequest& request, std::string_view name) {
  for (const auto& header : request.headers)
    if (header.name == name) return header.value;
  return "";
}

TEST(ProbeUsers, AskWhileAStepIsLiveAndAtNoOtherTime) {
  ApplicationSpec spec = platform::two_services();
  spec.rollout.probe = ProbeSpec{"web", "/search?q=a", 7};
  platform::World world = platform::World::released(spec);
  EXPECT_TRUE(probe_targets(world.state).empty()) << "nothing is on trial";
  world.release_new("web");
  const auto targets = probe_targets(world.state);
  ASSERT_EQ(targets.size(), 1U);
  EXPECT_EQ(targets[0].host, "web.production.shop.localhost");
  EXPECT_EQ(targets[0].probe.rate, 7U);
  EXPECT_EQ(targets[0].user_cookie, "naru_user");
  world.judge(command::Outcome::roll_back);
  world.settle();
  EXPECT_TRUE(probe_targets(world.state).empty());
}

TEST(ProbeUsers, AreNotThereWithoutAProbe) {
  platform::World world = platform::World::released();
  world.release_new("web");
  EXPECT_TRUE(probe_targets(world.state).empty());
}

TEST(ProbeUsers, AreUsersAsTheApplicationTellsThemApart) {
  ProbeTarget target{7, "web.production.shop.localhost", {"web", "/search?q=a", 20}, "naru_user", ""};
  const io::FetchRequest request = probe_request(target, "127.0.0.1:8080", "0123");
  EXPECT_EQ(request.url, "http://127.0.0.1:8080/search?q=a");
  EXPECT_EQ(field(request, "Host"), "web.production.shop.localhost");
  EXPECT_EQ(field(request, "Cookie"), "naru_user=0123");
  target.user_cookie.clear();
  target.user_header = "X-User";
  EXPECT_EQ(field(probe_request(target, "127.0.0.1:8080", "0123"), "X-User"), "0123");
  EXPECT_EQ(field(probe_request(target, "127.0.0.1:8080", "0123"), "Cookie"), "");
}

}  // namespace
}  // namespace naru::control
