#include "container/user.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace naru::container {
namespace {

constexpr std::string_view kPasswd =
    "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:1000:1001:App:/srv/app:/bin/sh\n1234:x:5:6::/five:/bin/"
    "sh\n";
constexpr std::string_view kGroup = "root:x:0:\nweb:x:33:app,other\nlogs:x:44:app\nbad:x:notanumber:app\n";

Identity of(std::string_view user) {
  const auto identity = resolve_user(user, kPasswd, kGroup);
  EXPECT_TRUE(identity) << user;
  return identity.value_or(Identity{});
}

TEST(User, IsResolvedByNameAndNumberAsImagesSay) {
  EXPECT_EQ(of(""), (Identity{0, 0, {0}, "/root"}));
  EXPECT_EQ(of("app"), (Identity{1000, 1001, {1001, 33, 44}, "/srv/app"}));
  EXPECT_EQ(of("1000"), (Identity{1000, 1001, {1001, 33, 44}, "/srv/app"}));
  EXPECT_EQ(of("app:web"), (Identity{1000, 33, {33}, "/srv/app"}));
  EXPECT_EQ(of("app:7"), (Identity{1000, 7, {7}, "/srv/app"}));
  EXPECT_EQ(of("4242"), (Identity{4242, 0, {0}, "/"}));
  EXPECT_EQ(of("1234"), (Identity{5, 6, {6}, "/five"})) << "a name that is a number wins";
}

TEST(User, ThatDoesNotExistIsRefusedByName) {
  EXPECT_EQ(resolve_user("ghost", kPasswd, kGroup).error().code, Code::not_found);
  EXPECT_EQ(resolve_user("app:ghosts", kPasswd, kGroup).error().code, Code::not_found);
  EXPECT_EQ(resolve_user("4294967295", kPasswd, kGroup).error().code, Code::not_found);
  for (const char* bad : {":", ":web", "app:", "a\nb"})
    EXPECT_EQ(resolve_user(bad, kPasswd, kGroup).error().code, Code::invalid_argument) << bad;
}

TEST(User, SurvivesGarbageInTheImagesFiles) {
  Rng rng(7);
  for (int round = 0; round < 300; ++round) {
    std::string garbage;
    for (std::uint64_t i = rng.below(400); i > 0; --i) garbage += "root:x0123456789:,\n\0app"[rng.below(23)];
    [[maybe_unused]] const auto any = resolve_user("app:web", garbage, garbage);
    EXPECT_TRUE(resolve_user("12", garbage, garbage)) << "a number needs no file";
  }
}

TEST(User, HasABoundedNumberOfGroups) {
  std::string groups;
  for (int i = 1; i < 5000; ++i) groups += fmt::format("g{}:x:{}:app\n", i, i);
  const auto identity = resolve_user("app", kPasswd, groups);
  ASSERT_TRUE(identity);
  EXPECT_EQ(identity->groups.size(), kMaxGroups);
}

}  // namespace
}  // namespace naru::container
