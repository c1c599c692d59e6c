#include "control/grants_to_drop.h"

#include <gtest/gtest.h>

#include <set>

#include "io/testing.h"

namespace naru::control {
namespace {

// Applications, a launcher that may be away, and what it was told.
class GrantsToDropTest : public ::testing::Test {
 protected:
  std::unique_ptr<GrantsToDrop> open() {
    return std::make_unique<GrantsToDrop>(
        folder.path / "drop.json", [this](const std::string& app) { return apps.contains(app); },
        [this](const std::string& app) -> Result<void> {
          if (away) return fail(Code::unavailable, "the launcher is away");
          dropped.push_back(app);
          return {};
        });
  }
  io::testing::TemporaryFolder folder;
  std::set<std::string> apps{"shop", "blog"};
  std::vector<std::string> dropped;
  bool away = false;
};

TEST_F(GrantsToDropTest, OfARemovedApplicationAreDroppedAndOfOneThatStaysNot) {
  const auto grants = open();
  ASSERT_TRUE(grants->begin("shop"));
  grants->end("shop", false);  // it was refused: conflict
  ASSERT_TRUE(grants->settle());
  EXPECT_TRUE(dropped.empty());
  ASSERT_TRUE(grants->begin("shop"));
  ASSERT_TRUE(grants->settle()) << "it is still there";
  EXPECT_TRUE(dropped.empty());
  grants->end("shop", true);
  ASSERT_TRUE(grants->settle());
  EXPECT_EQ(dropped, std::vector<std::string>{"shop"});
  ASSERT_TRUE(grants->settle());
  EXPECT_EQ(dropped.size(), 1U);
}

TEST_F(GrantsToDropTest, WaitForALauncherThatIsAwayOverARestart) {
  away = true;
  auto grants = open();
  ASSERT_TRUE(grants->begin("shop"));
  grants->end("shop", true);
  EXPECT_FALSE(grants->settle());
  grants = open();
  away = false;
  ASSERT_TRUE(grants->settle()) << "though there is one of that name again";
  EXPECT_EQ(dropped, std::vector<std::string>{"shop"});
}

TEST_F(GrantsToDropTest, AreDroppedBeforeAnotherOneOfThatNameIsMade) {
  away = true;
  const auto grants = open();
  ASSERT_TRUE(grants->begin("shop"));
  ASSERT_TRUE(grants->make_room("shop")) << "it is refused as one that exists";
  grants->end("shop", true);
  EXPECT_FALSE(grants->settle());
  const auto refused = grants->make_room("shop");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::unavailable);
  EXPECT_TRUE(grants->make_room("blog"));
  away = false;
  EXPECT_TRUE(grants->make_room("shop"));
  EXPECT_EQ(dropped, std::vector<std::string>{"shop"});
}

TEST_F(GrantsToDropTest, OfARemovalThatWasCutShortGoByWhatBecameOfIt) {
  auto grants = open();
  ASSERT_TRUE(grants->begin("shop"));
  ASSERT_TRUE(grants->begin("blog"));
  apps.erase("shop");
  grants = open();
  ASSERT_TRUE(grants->settle());
  EXPECT_EQ(dropped, std::vector<std::string>{"shop"});
}

TEST_F(GrantsToDropTest, AreNobodysWhenControlHasLostItsState) {
  apps.clear();
  ASSERT_TRUE(open()->settle());
  EXPECT_TRUE(dropped.empty());
}

}  // namespace
}  // namespace naru::control
