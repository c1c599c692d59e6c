#include "platform/test_world.h"

namespace naru::platform {
namespace {

// `count` releases of new images, one after the other, each given to everybody at once.
void release_all(World& world, int count) {
  for (int i = 0; i < count; ++i) {
    world.images["api"] = world.images["web"] = fmt::format("of c{}", world.pushes + 1);
    ApplicationSpec spec = two_services();
    spec.rollout.steps.clear();
    world.push(std::move(spec));
    world.settle(30);
  }
}
std::vector<std::uint64_t> versions(const State& state) {
  std::vector<std::uint64_t> out;
  for (const auto& [id, release] : state.releases) out.push_back(release.version);
  return out;
}

TEST(Retention, TheNewestReleasesStayAndTheOthersGoWithTheirPipelinesAndRollouts) {
  World world;
  release_all(world, 5);
  world.must(command::Housekeep{2});
  EXPECT_EQ(versions(world.state), (std::vector<std::uint64_t>{4, 5}));
  EXPECT_EQ(world.state.pipelines.size(), 2U);
  ASSERT_EQ(world.state.rollouts.size(), 1U) << "the one from v4 to v5; what names a forgotten one is gone";
  EXPECT_EQ(world.state.release(world.current().from)->version, 4U);
  world.names.clear();
  world.must(command::Housekeep{2});
  EXPECT_TRUE(world.names.empty()) << "there is nothing left to forget";
}

TEST(Retention, AReleaseWhoseUnchangedServiceRunsOnStays) {
  World world;
  release_all(world, 1);
  for (int i = 0; i < 4; ++i) world.release_new("api");
  world.must(command::Housekeep{2});
  EXPECT_EQ(versions(world.state), (std::vector<std::uint64_t>{1, 4, 5})) << "v1 started the web that runs";
}

TEST(Retention, WhatAnEnvironmentRunsAndGoesBackToStaysHoweverOldItIs) {
  World world;
  release_all(world, 2);
  world.broken.insert("api");
  release_all(world, 4);
  ASSERT_EQ(world.state.release(world.production().stable)->version, 2U);
  world.must(command::Housekeep{1});
  EXPECT_EQ(versions(world.state), (std::vector<std::uint64_t>{1, 2, 6}));
  world.broken.clear();
  world.must(command::Rollback{"shop/production", std::nullopt, "ada"});
  world.settle(30);
  EXPECT_EQ(world.state.release(world.production().stable)->version, 1U);
  const auto forgotten = world.send(command::Rollback{"shop/production", 4, "ada"});
  ASSERT_FALSE(forgotten);
  EXPECT_TRUE(forgotten.error().hint().contains("naru releases shop")) << forgotten.error().hint();
}

TEST(Retention, TheNewestPushStaysSoThatTheBranchIsNotBuiltAgain) {
  World world;
  release_all(world, 1);
  world.broken.insert("api");
  release_all(world, 1);  // c2: where the branch stands; v1 runs on
  world.broken.clear();
  for (int i = 0; i < 5; ++i) {
    world.must(command::SetVariables{"shop/production", {{"ROUND", std::to_string(i)}}, {}, "ada"});
    world.settle(30);
  }
  world.must(command::Housekeep{1});
  world.names.clear();
  world.must(command::Push{"shop", "refs/heads/main", "c2", "a change", "ada", true});
  EXPECT_FALSE(world.happened("PipelineCreated"));
}

TEST(Retention, WhatIsUnderWayStays) {
  World world;
  release_all(world, 1);
  ApplicationSpec spec = two_services();
  world.images["api"] = "c2";
  world.push(spec);
  world.settle(20);
  ASSERT_EQ(world.current().phase, RolloutPhase::stepping);
  spec.deploy = DeployMode::manual;
  for (int i = 3; i <= 5; ++i) {
    world.push(spec);
    world.settle(5);
  }
  world.must(command::Housekeep{1});
  EXPECT_EQ(versions(world.state), (std::vector<std::uint64_t>{1, 2, 5}));
  world.must(command::Abort{"shop/production", "ada"});
  world.settle(40);
  EXPECT_EQ(world.state.release(world.production().stable)->version, 1U);
}

TEST(Platform, ARemovedApplicationTakesItsNetworkAndItsBuildsAlong) {
  World world;
  release_all(world, 1);
  world.must(command::StopEnvironment{"shop/production", true});
  world.settle(20);
  world.push(two_services());
  world.must(command::RemoveApp{"shop"});
  for (const auto& [id, action] : world.state.outbox) EXPECT_NE(action.kind, ActionKind::plan_pipeline);
  world.settle(3);
  EXPECT_EQ(world.removed_networks, std::vector<std::string>{"shop/production"});
  EXPECT_TRUE(world.state.outbox.empty());
  EXPECT_TRUE(world.state.pipelines.empty());
  const std::uint64_t before = world.state.counters.next_id;
  world.must(command::CreateApp{"shop"});
  EXPECT_EQ(world.state.apps.at("shop").first_id, before);
}

TEST(Platform, ANetworkOfARemovedApplicationIsNotTakenForTheNextOnes) {
  World world;
  world.push(two_services());
  while (world.state.outbox.empty() || world.state.outbox.rbegin()->second.kind != ActionKind::ensure_network)
    world.settle(1);
  const ActionId asked = world.state.outbox.rbegin()->first;
  world.must(command::RemoveApp{"shop"});
  world.must(command::CreateApp{"shop"});
  world.must(command::NetworkReady{asked, "shop/production", {"shop.production", "old", "", "", "", 0}});
  EXPECT_FALSE(world.production().network);
}

}  // namespace
}  // namespace naru::platform
