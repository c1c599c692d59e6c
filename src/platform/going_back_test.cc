// What a rollback may not do, whose host port it is, and when a deadline runs.
#include "platform/test_world.h"

namespace naru::platform {
namespace {

constexpr std::uint16_t kPort = 6379;

ApplicationSpec publishing(std::optional<std::uint16_t> port, DeployMode deploy = DeployMode::automatic) {
  ApplicationSpec spec;
  spec.services = {service("web"), service("cache")};
  spec.services[1].ports = {{kPort, port, "", Transport::tcp, ""}};
  spec.rollout.strategy = StrategyKind::all_at_once;
  spec.deploy = deploy;
  return spec;
}

// `blog`, which sorts before `shop`.
void push_blog(World& world, ApplicationSpec spec) {
  world.spec = std::move(spec);
  world.must(command::Push{"blog", "refs/heads/main", fmt::format("b{}", ++world.pushes), "a change", "bob"});
}

std::string owner_of_the_port(const World& world) {
  for (const HostPortRoute& route : route::table_of(world.state).host_ports)
    if (route.listener == fmt::format("host:{}", kPort)) return route.app;
  return "nobody";
}

TEST(GoingBack, AHostPortIsNotTakenFromWhoHasItNow) {
  World world;
  world.must(command::CreateApp{"blog"});
  push_blog(world, publishing(kPort));
  world.settle();
  push_blog(world, publishing({}));
  world.settle();
  world.release(publishing(kPort));
  ASSERT_EQ(owner_of_the_port(world), "shop");
  const auto refused = world.send(command::Rollback{"blog/production", {}, "bob"});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::port_taken);
  EXPECT_EQ(refused.error().message(),
            "blog/production: v1: host port 6379 of cache belongs to service cache of shop");
  EXPECT_EQ(owner_of_the_port(world), "shop");
  world.release(publishing({}));
  EXPECT_TRUE(world.send(command::Rollback{"blog/production", {}, "bob"})) << "it is free again";
}

TEST(GoingBack, AReleaseThatWaitsIsNotPromotedToAnothersPort) {
  World world;
  world.must(command::CreateApp{"blog"});
  push_blog(world, publishing(kPort, DeployMode::manual));
  world.settle();
  world.release(publishing(kPort));
  EXPECT_EQ(world.send(command::Promote{"blog/production", "bob"}).error().code, Code::port_taken);
  EXPECT_EQ(owner_of_the_port(world), "shop");
}

TEST(GoingBack, OfTwoThatWantAPortAtOnceTheSecondComesBack) {
  World world;
  world.must(command::CreateApp{"blog"});
  push_blog(world, publishing({}));
  world.settle();
  ApplicationSpec slow = publishing(kPort);
  slow.rollout.strategy = StrategyKind::canary;
  push_blog(world, slow);
  world.settle();
  ASSERT_EQ(world.current().phase, RolloutPhase::stepping);
  const RolloutId canary = world.current().id;
  world.release(publishing(kPort));
  EXPECT_EQ(world.state.rollouts.at(canary).phase, RolloutPhase::rolled_back);
  EXPECT_EQ(world.state.rollouts.at(canary).reason,
            "host port 6379 of cache belongs to service cache of shop");
  EXPECT_EQ(owner_of_the_port(world), "shop");
}

TEST(GoingBack, ARollbackGoesOnlyToWhatServedEverybody) {
  World world = World::released();
  world.broken = {"api"};
  world.release_new("api");  // v2 never served
  world.broken.clear();
  world.release_new("api");
  world.must(command::Promote{"shop/production", "ada"});
  world.settle();
  ASSERT_EQ(world.state.release(world.production().stable)->version, 3U);
  const auto refused = world.send(command::Rollback{"shop/production", 2, "ada"});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::conflict);
  EXPECT_NE(refused.error().message().find("v2 never served everybody"), std::string::npos);
  EXPECT_NE(std::string(refused.error().hint()).find("naru promote shop v2"), std::string::npos);
  EXPECT_TRUE(world.send(command::Rollback{"shop/production", 1, "ada"}));
}

// Of the release that waits for `api` to become ready, for four seconds at most.
World waiting() {
  World world = World::released();
  world.sick = {"api"};
  world.spec.rollout.ready_deadline = 4s;
  world.images["api"] = "a new one";
  world.push(world.spec);
  world.settle(5);
  EXPECT_EQ(world.current().phase, RolloutPhase::preparing);
  return world;
}

TEST(GoingBack, NoDeadlineRunsWhileTheEnvironmentIsStopped) {
  World world = waiting();
  world.must(command::StopEnvironment{"shop/production", true});
  world.settle(40);
  world.sick.clear();
  world.must(command::StopEnvironment{"shop/production", false});
  world.settle(20);
  EXPECT_EQ(world.current().phase, RolloutPhase::stepping) << world.current().reason;
}

TEST(GoingBack, NoDeadlineRunsWhileNaruIsDown) {
  World world = waiting();
  world.now += 60s;
  world.must(command::ControlStarted{});
  world.settle(2);
  EXPECT_EQ(world.current().phase, RolloutPhase::preparing) << world.current().reason;
  world.settle(20);
  EXPECT_EQ(world.current().phase, RolloutPhase::rolled_back) << "it has had its time now";
}

TEST(GoingBack, WhatIsStoppedDoesNotWaitForAGatewayThatNeverAnswers) {
  World world = World::released();
  world.acknowledges = false;
  world.must(command::StopEnvironment{"shop/production", true});
  world.settle(20);
  EXPECT_EQ(world.containers.size(), 2U) << "users may still be sent there";
  world.settle(20);
  EXPECT_TRUE(world.containers.empty());
  EXPECT_TRUE(world.state.instances.empty());
}

TEST(GoingBack, ASixteenthCanaryWaitsForEvidenceOfItsOwn) {
  World world = World::released();
  for (RolloutId id = 9'001; id <= 9'015; ++id) {
    Rollout& other = world.state.rollouts[id];
    other.id = id;
    other.app = "others";
    other.phase = RolloutPhase::stepping;
    other.evidence_slot = static_cast<std::uint32_t>(id - 9'001);
  }
  world.release_new("api");
  const Rollout& ours = world.state.rollouts.at(*world.production().rollout);
  EXPECT_EQ(ours.phase, RolloutPhase::preparing);
  EXPECT_EQ(ours.reason, "15 releases are being judged, the most at once: it waits for one of them to end");
  world.state.rollouts.at(9'005).phase = RolloutPhase::done;
  world.settle(5);
  ASSERT_EQ(ours.phase, RolloutPhase::stepping);
  for (const auto& [id, other] : world.state.rollouts)
    EXPECT_TRUE(id == ours.id || other.phase != RolloutPhase::stepping ||
                other.evidence_slot != ours.evidence_slot);
}

}  // namespace
}  // namespace naru::platform
