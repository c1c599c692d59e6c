// What setting an environment's variables delivers again, and what not.
#include "platform/test_world.h"

namespace naru::platform {
namespace {

TEST(Variables, VariablesThatAreSetDuringACanaryAreDeliveredWithItsCommit) {
  World world = World::released();
  world.release_new("api");
  ASSERT_EQ(world.current().phase, RolloutPhase::stepping);
  world.must(command::SetVariables{"shop/production", {{"A", "1"}}, {}, "ada"});
  EXPECT_EQ(world.state.pipelines.rbegin()->second.commit, "c2");
  world.settle();
  EXPECT_EQ(world.state.release(world.current().to)->version, 3U);
  EXPECT_EQ(world.state.release(world.current().to)->commit, "c2");
}

TEST(Variables, VariablesThatAreSetAfterACanaryCameBackAreDeliveredWithWhatRuns) {
  World world = World::released();
  world.stoppable = false;  // it takes a while to come back
  world.release_new("api");
  world.judge(command::Outcome::roll_back);
  ASSERT_EQ(world.current().phase, RolloutPhase::rolling_back);
  world.must(command::SetVariables{"shop/production", {{"A", "1"}}, {}, "ada"});
  EXPECT_EQ(world.state.pipelines.rbegin()->second.commit, "c1");
}

TEST(Variables, VariablesThatAreSetAfterGoingBackByHandDoNotBringTheNewerCommitAgain) {
  World world = World::released();
  world.spec.rollout.strategy = StrategyKind::all_at_once;
  world.release_new("api");
  world.must(command::Rollback{"shop/production", {}, "ada"});
  world.must(command::SetVariables{"shop/production", {{"A", "1"}}, {}, "ada"});
  EXPECT_EQ(world.state.pipelines.rbegin()->second.commit, "c1") << "on its way back";
  world.settle();
  world.must(command::SetVariables{"shop/production", {{"A", "2"}}, {}, "ada"});
  EXPECT_EQ(world.state.pipelines.rbegin()->second.commit, "c1") << "back";
}

TEST(Variables, AVariableThatDoesNotChangeDeliversNothingAgain) {
  World world = World::released();
  world.must(command::SetVariables{"shop/production", {{"A", "1"}}, {}, "ada"});
  world.settle();
  const auto pipelines = world.state.pipelines.size(), releases = world.state.releases.size();
  world.names.clear();
  world.must(command::SetVariables{"shop/production", {{"A", "1"}}, {"NOPE"}, "ada"});
  EXPECT_EQ(world.state.pipelines.size(), pipelines);
  EXPECT_FALSE(world.happened("VariablesSet"));
  world.must(command::SetVariables{"shop/production", {{"A", "1"}, {"B", "2"}}, {}, "ada"});
  EXPECT_EQ(world.state.pipelines.size(), pipelines + 1) << "one of them does";
  world.settle();
  world.must(command::SetVariables{"shop/production", {}, {"B", "NOPE"}, "ada"});
  EXPECT_EQ(world.state.pipelines.size(), pipelines + 2);
  EXPECT_FALSE(world.production().variables.contains("B"));
  EXPECT_EQ(world.state.releases.size(), releases + 1) << "the last one is not made yet";
}

TEST(Variables, AVariableThatTheCommitDoesNotSeeIsKeptAndDeliversNothingAgain) {
  World world = World::released();
  const auto pipelines = world.state.pipelines.size();
  world.must(command::SetVariables{"shop/production", {{"A", "1"}}, {}, "ada", "c1"});
  EXPECT_EQ(world.production().variables.at("A"), "1");
  EXPECT_EQ(world.state.pipelines.size(), pipelines);
  world.must(command::SetVariables{"shop/production", {{"A", "2"}}, {}, "ada", "c0"});
  EXPECT_EQ(world.state.pipelines.size(), pipelines + 1) << "another commit than the one that was looked at";
}

}  // namespace
}  // namespace naru::platform
