#include "platform/test_world.h"

#include "platform/lane.h"

namespace naru::platform {
namespace {

TEST(Platform, TheFirstReleaseGoesToEverybody) {
  World world = World::released();
  EXPECT_EQ(world.current().phase, RolloutPhase::done);
  EXPECT_EQ(world.count("web"), 1);
  EXPECT_EQ(world.count("api"), 1);
  EXPECT_TRUE(world.state.outbox.empty());
}

TEST(Platform, ACanaryGoesThroughItsStepsAndReplacesTheOldRelease) {
  World world = World::released();
  world.release_new("api");
  ASSERT_EQ(world.current().phase, RolloutPhase::stepping);
  EXPECT_EQ(world.current().steps.back().weight.value, 500u);
  EXPECT_EQ(world.count("api"), 2);  // both revisions
  EXPECT_EQ(world.count("web"), 1);  // unchanged, shared
  for (int step = 0; step < 3; ++step) {
    world.judge(command::Outcome::promote);
    world.settle();
  }
  EXPECT_EQ(world.current().phase, RolloutPhase::done);
  EXPECT_EQ(world.production().stable, world.current().to);
  EXPECT_EQ(world.count("api"), 1);
}

// Else what starts at once would be met by users before anybody knows which answers are slow.
TEST(Platform, AStepBeginsOnceTheJudgeHasLookedAtHowSlowTheOldReleaseIs) {
  World world = World::released();
  world.judge_looks = false;
  world.release_new("api");
  EXPECT_EQ(world.current().phase, RolloutPhase::preparing);
  world.must(command::LatencyBaseline{world.current().id, 7'000});
  world.settle();
  EXPECT_EQ(world.current().phase, RolloutPhase::stepping);
  EXPECT_EQ(world.current().slow_us, 7'000);
  world.must(command::LatencyBaseline{world.current().id, 9'000});
  EXPECT_EQ(world.current().slow_us, 7'000) << "a threshold that moves is no evidence";
}

TEST(Platform, ASaltComesOfASecretThatIsChosenOnce) {
  const auto salt_of = [](const std::string& secret) {
    World world;  // the same commands at the same times: all that people can see is equal
    world.state.secret = secret;
    world.release(two_services());
    world.release_new("api");
    return world.current().salt;
  };
  EXPECT_EQ(salt_of("one").size(), 64U);
  EXPECT_EQ(salt_of("one"), salt_of("one"));
  EXPECT_NE(salt_of("one"), salt_of("two"));

  World world;
  const std::string first = world.state.secret;
  world.must(command::ChooseSecret{"another"});
  EXPECT_EQ(world.state.secret, first);
}

TEST(Platform, ABadVerdictTakesTheReleaseBack) {
  World world = World::released();
  const auto stable = world.production().stable;
  world.release_new("api");
  world.judge(command::Outcome::roll_back, "api fails");
  world.settle();
  EXPECT_EQ(world.current().phase, RolloutPhase::rolled_back);
  EXPECT_EQ(world.current().reason, "api fails");
  EXPECT_EQ(world.production().stable, stable);
  EXPECT_EQ(world.count("api"), 1);
}

TEST(Platform, AReleaseThatCrashesAtStartComesBackWithoutMeetingUsers) {
  World world = World::released();
  world.broken = {"api"};
  world.release_new("api");
  EXPECT_EQ(world.current().phase, RolloutPhase::rolled_back);
  EXPECT_NE(world.current().reason.find("api does not start: exited with 1"), std::string::npos)
      << world.current().reason;
  EXPECT_FALSE(world.happened("StepStarted"));
  EXPECT_EQ(world.count("web"), 1);
}

TEST(Platform, ASignalIsToldFromAnExitStatus) {
  for (const auto& [status, said] :
       {std::pair(137, "killed by signal 9"), std::pair(255, "exited with 255")}) {
    World world = World::released();
    world.broken = {"api"};
    world.broken_with = status;
    world.release_new("api");
    EXPECT_NE(world.current().reason.find(said), std::string::npos) << world.current().reason;
  }
}

TEST(Platform, AReleaseThatIsNeverHealthySaysWhereToLook) {
  World world = World::released();
  world.sick = {"api"};
  world.spec.rollout.ready_deadline = 4s;
  world.release_new("api");
  EXPECT_EQ(world.current().phase, RolloutPhase::rolled_back);
  EXPECT_EQ(world.current().reason,
            "api is not ready: nobody answers on 8080, for 4.0s; see `naru logs shop/api`");
}

TEST(Platform, AVolumeOfAnImageThatNoMountCoversIsWarnedOf) {
  World world;
  world.declared_volumes = {"/data", "/var/lib/queue/spool", "/cache"};
  ApplicationSpec spec = two_services();
  spec.services.resize(1);
  spec.services[0].depends_on.clear();
  spec.services[0].mounts = {{MountKind::volume, "data", "/data", false, 0},
                             {MountKind::tmpfs, "", "/var/lib/queue", false, 0}};
  spec.volumes = {"data"};
  world.release(spec);
  EXPECT_EQ(world.state.pipelines.rbegin()->second.warnings,
            std::vector<std::string>{"VOLUME /cache of the image of web is not kept: name it under "
                                     "services.web.volumes, as data:/cache"});
}

ApplicationSpec with_state(std::string flavour) {
  ApplicationSpec spec = two_services();
  ServiceSpec db = service("db");
  db.mounts = {{MountKind::volume, "data", "/data", false, 0}};
  db.environment["FLAVOUR"] = std::move(flavour);
  ServiceSpec migrate = service("migrate", {{"db", DependencyCondition::healthy}});
  spec.services.push_back(db);
  spec.services.push_back(migrate);
  spec.services[1].depends_on = {{"migrate", DependencyCondition::completed}};
  spec.volumes = {"data"};
  return spec;
}

TEST(Platform, AOneShotMayNeedAServiceThatKeepsNothing) {
  ApplicationSpec spec = two_services();
  spec.services[0].depends_on = {{"migrate", DependencyCondition::completed}};
  spec.services.push_back(service("migrate", {{"queue", DependencyCondition::started}}));
  spec.services.push_back(service("queue"));
  World world = World::released(spec);
  EXPECT_EQ(world.current().phase, RolloutPhase::done) << world.current().reason;
  EXPECT_EQ(world.started, (std::vector<std::string>{"queue", "migrate", "api", "web"}));
}

TEST(Platform, TwoOneShotsMayEachNeedAnotherService) {
  ApplicationSpec spec = two_services();
  spec.services[0].depends_on = {{"fill", DependencyCondition::completed},
                                 {"declare", DependencyCondition::completed}};
  spec.services.push_back(service("fill", {{"cache", DependencyCondition::healthy}}));
  spec.services.push_back(service("declare", {{"queue", DependencyCondition::healthy}}));
  spec.services.push_back(service("cache"));
  spec.services.push_back(service("queue"));
  World world = World::released(spec);
  EXPECT_EQ(world.current().phase, RolloutPhase::done) << world.current().reason;
}

// Thirty steps, each reached by two ways: a thousand million paths.
TEST(Platform, ALadderOfServicesIsClimbedOnce) {
  ApplicationSpec spec;
  spec.services = {service("web", {{"fill", DependencyCondition::completed}}),
                   service("fill", {{"a0", DependencyCondition::started}})};
  for (int i = 0; i < 30; ++i)
    for (const char* side : {"a", "b"}) {
      std::vector<Dependency> next;
      if (i < 29)
        next = {{fmt::format("a{}", i + 1), DependencyCondition::started},
                {fmt::format("b{}", i + 1), DependencyCondition::started}};
      spec.services.push_back(service(fmt::format("{}{}", side, i), std::move(next)));
    }
  World world;
  world.push(spec);
  world.settle(400);
  EXPECT_EQ(world.current().phase, RolloutPhase::done) << world.current().reason;
}

TEST(Platform, StateIsNeverRunTwice) {
  World world = World::released(with_state("one"));
  ASSERT_EQ(world.current().phase, RolloutPhase::done);
  world.release(with_state("two"));
  EXPECT_EQ(world.count("db"), 1);
  EXPECT_EQ(world.most_databases, 1);
  EXPECT_EQ(world.current().phase, RolloutPhase::done) << world.current().reason;
}

TEST(Platform, GoingBackSaysThatTheDataStays) {
  World world = World::released(with_state("one"));
  world.images["api"] = "a bad one";
  world.release(with_state("two"));
  ASSERT_EQ(world.current().phase, RolloutPhase::stepping);
  world.judge(command::Outcome::roll_back, "api fails");
  world.settle();
  EXPECT_EQ(world.current().phase, RolloutPhase::rolled_back);
  EXPECT_EQ(world.current().reason, "api fails; the data of db was not rolled back");

  world.images.clear();
  world.release(with_state("three"));
  ASSERT_EQ(world.current().phase, RolloutPhase::done) << world.current().reason;
  world.must(command::Rollback{"shop/production", std::nullopt, "ada"});
  world.settle();
  EXPECT_EQ(world.current().phase, RolloutPhase::done);
  EXPECT_EQ(world.current().reason, "a rollback goes to everybody; the data of db was not rolled back");
}

TEST(Platform, AOneShotThatFailsEndsTheReleaseWithNothingTouched) {
  World world = World::released(with_state("one"));
  world.broken = {"migrate"};
  world.release_new("api");
  EXPECT_EQ(world.current().phase, RolloutPhase::rolled_back);
  EXPECT_EQ(world.count("api"), 1);
}

TEST(Platform, ASecondPushInTheMiddleSupersedesCleanly) {
  World world = World::released();
  world.release_new("api");
  ASSERT_EQ(world.current().phase, RolloutPhase::stepping);
  world.release_new("api");
  EXPECT_EQ(world.current().phase, RolloutPhase::stepping);
  EXPECT_EQ(world.state.release(world.current().to)->commit, "c3");
  EXPECT_EQ(world.count("api"), 2);
}

TEST(Platform, RollingBackByHandRebuildsNothing) {
  World world = World::released();
  world.release_new("api");
  world.must(command::Promote{"shop/production", "ada"});
  world.settle();
  ASSERT_EQ(world.current().phase, RolloutPhase::done);
  world.names.clear();
  world.must(command::Rollback{"shop/production", {}, "ada"});
  world.settle();
  EXPECT_EQ(world.current().phase, RolloutPhase::done);
  EXPECT_EQ(world.state.release(world.production().stable)->version, 1u);
  EXPECT_FALSE(world.happened("BuildStarted"));
}

TEST(Platform, WhileAReleaseIsTakenBackItIsSaidToWait) {
  World world = World::released();
  world.release_new("api");
  world.must(command::Abort{"shop/production", "local"});
  EXPECT_EQ(world.current().reason, "aborted by hand, on this machine");
  for (const Command& wanted : {Command(command::Rollback{"shop/production", {}, "ada"}),
                                Command(command::Promote{"shop/production", "ada", 1})}) {
    const auto refused = world.send(wanted);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message(), "shop/production: v2 is being taken back already");
    EXPECT_NE(refused.error().hint().find("naru status shop"), std::string::npos) << refused.error().hint();
  }
  EXPECT_EQ(world.send(command::Promote{"shop/production", "ada"}).error().message(),
            "shop/production: v2 is being taken back; there is nothing to promote");
}

TEST(Platform, AReleaseThatCameBackIsOfferedAgainAsACanary) {
  World world = World::released();
  world.release_new("api");
  world.judge(command::Outcome::roll_back);
  world.settle();
  const auto nothing = world.send(command::Promote{"shop/production", "ada"});
  EXPECT_EQ(nothing.error().code, Code::conflict);
  EXPECT_NE(nothing.error().hint().find("naru promote shop v2"), std::string::npos) << nothing.error().hint();
  const std::size_t builds = world.state.pipelines.size();
  world.must(command::Promote{"shop/production", "ada", 2});
  world.settle();
  EXPECT_EQ(world.state.release(world.current().to)->version, 2U);
  EXPECT_EQ(world.current().phase, RolloutPhase::stepping);
  EXPECT_FALSE(world.current().is_rollback);
  EXPECT_EQ(world.state.pipelines.size(), builds);
  EXPECT_EQ(world.send(command::Promote{"shop/production", "ada", 1}).error().code, Code::conflict)
      << "another one is under way";
  EXPECT_NE(
      world.send(command::Rollback{"shop/production", {}, "ada"}).error().hint().find("naru abort shop"),
      std::string::npos);
  world.must(command::Promote{"shop/production", "ada", 2});  // the same: as without a version
  world.settle();
  EXPECT_EQ(world.state.release(world.production().stable)->version, 2U);
  EXPECT_EQ(world.send(command::Promote{"shop/production", "ada", 2}).error().code, Code::conflict);
  EXPECT_EQ(world.send(command::Promote{"shop/production", "ada", 9}).error().code, Code::not_found);
}

TEST(Platform, AVirtualAddressOfAServiceThatNobodyKeepsIsUsedAgain) {
  World world = World::released();
  world.spec.rollout.strategy = StrategyKind::all_at_once;
  for (int i = 0; i < 10; ++i) {
    ApplicationSpec renamed = world.spec;
    renamed.services.clear();
    for (int k = 0; k < 60; ++k) renamed.services.push_back(service(fmt::format("s{}-{}", i, k)));
    world.push(renamed);
    world.settle(20);
    ASSERT_EQ(world.state.release(world.production().stable)->version, static_cast<std::uint64_t>(i + 2))
        << i;
    world.must(command::Housekeep{2});
  }
  std::set<std::string> addresses;
  for (const ReleaseService& one : world.state.release(world.production().stable)->services)
    addresses.insert(world.production().virtual_addresses.at(one.spec.name));
  EXPECT_EQ(addresses.size(), 60U);
  EXPECT_FALSE(addresses.contains(""));
}

TEST(Platform, AServiceForWhichNoVirtualAddressIsLeftIsSaid) {
  World world = World::released();
  world.spec.rollout.strategy = StrategyKind::all_at_once;
  for (int i = 0; i < 10 && world.current().phase != RolloutPhase::rolled_back; ++i) {
    ApplicationSpec renamed = world.spec;
    renamed.services.clear();
    for (int k = 0; k < 60; ++k) renamed.services.push_back(service(fmt::format("s{}-{}", i, k)));
    world.push(renamed);
    world.settle(20);
  }
  EXPECT_EQ(world.current().phase, RolloutPhase::rolled_back);
  EXPECT_NE(world.current().reason.find("no virtual address"), std::string::npos) << world.current().reason;
}

TEST(Platform, AManualReleaseWaitsForAPerson) {
  World world;
  ApplicationSpec spec = two_services();
  spec.deploy = DeployMode::manual;
  world.release(spec);
  EXPECT_TRUE(world.state.rollouts.empty());
  world.must(command::Promote{"shop/production", "ada"});
  world.settle();
  EXPECT_EQ(world.current().phase, RolloutPhase::done);
}

TEST(Platform, AContainerThatDiesStartsAgain) {
  World world = World::released();
  const Instance before = world.state.instances.begin()->second;
  world.must(command::ContainerExited{before.container(), 137, true});
  EXPECT_EQ(world.state.instances.at(before.id).phase, InstancePhase::waiting);
  world.settle();
  EXPECT_EQ(world.state.instances.at(before.id).phase, InstancePhase::ready);
  EXPECT_EQ(world.state.instances.at(before.id).attempt, before.attempt + 1);
}

TEST(Platform, WhatUsedUpItsMemoryIsToldTheLimitAndTheKeyThatRaisesIt) {
  World world;
  ApplicationSpec spec = two_services();
  for (ServiceSpec& service : spec.services) service.resources.memory_bytes = 48 << 20;
  world.release(spec);
  const Instance limited = world.state.instances.begin()->second;
  world.must(command::ContainerExited{limited.container(), 137, true});
  EXPECT_EQ(world.state.instances.at(limited.id).error,
            "killed: it reached its memory limit of 48 MiB (raise deploy.resources.limits.memory)");
  World free = World::released();
  const Instance other = free.state.instances.begin()->second;
  free.must(command::ContainerExited{other.container(), 137, true});
  EXPECT_EQ(free.state.instances.at(other.id).error,
            "killed: the machine's memory was used up (it has no memory limit of its own)");
}

TEST(Platform, AnInstanceStopsOnlyWhenItsLastRequestsHaveHadTheirTime) {
  World world = World::released();
  world.release_new("api");
  world.acknowledges = false;  // the gateway still sends requests to the old one
  world.must(command::Promote{"shop/production", "ada"});
  world.settle();
  EXPECT_EQ(world.count("api"), 2);
  world.acknowledges = true;
  world.settle(3);
  EXPECT_EQ(world.count("api"), 2);
  world.settle();
  EXPECT_EQ(world.count("api"), 1);
}

TEST(Platform, AListOfContainersSaysNothingOfWhatStartedSinceItWasAskedFor) {
  World world = World::released();
  const Instance before = world.state.instances.begin()->second;
  world.must(command::ContainersListed{{}, before.started - 1ms});
  EXPECT_EQ(world.state.instances.at(before.id).phase, InstancePhase::ready);
  world.must(command::ContainersListed{{}, before.started + 1ms});
  EXPECT_EQ(world.state.instances.at(before.id).phase, InstancePhase::waiting);
}

TEST(Platform, ARollbackByHandKeepsTheReleaseThatWaitsForAPerson) {
  World world;
  world.spec = two_services();
  world.spec.deploy = DeployMode::manual;
  for (int i = 0; i < 2; ++i) {
    world.release_new("api");
    world.must(command::Promote{"shop/production", "ada"});
    world.settle();
    if (world.current().active()) world.must(command::Promote{"shop/production", "ada"});
    world.settle();
  }
  world.release_new("api");
  world.must(command::Rollback{"shop/production", {}, "ada"});
  world.settle();
  EXPECT_EQ(world.state.release(world.production().stable)->commit, "c1");
  ASSERT_TRUE(world.production().pending);
  EXPECT_EQ(world.state.release(world.production().pending)->commit, "c3");
}

TEST(Platform, AOneShotThatEndsWhileItsEnvironmentStopsIsNotRunAgain) {
  World world;
  world.push(with_state("one"));
  while (world.oneshot() == nullptr) world.settle(1);
  const Instance migrate = *world.oneshot();
  world.must(command::StopEnvironment{"shop/production", true});
  world.must(command::ContainerExited{migrate.container(), 0, false});
  world.settle();
  EXPECT_TRUE(world.state.instances.empty());
  world.must(command::StopEnvironment{"shop/production", false});
  world.settle();
  EXPECT_EQ(world.current().phase, RolloutPhase::done);
  EXPECT_EQ(std::ranges::count(world.started, "migrate"), 0);
}

TEST(Platform, AOneShotThatHadEndedBeforeItWasStoppedIsDoneAndNeverTwiceAtOnce) {
  for (const bool had_ended : {true, false}) {
    World world;
    world.push(with_state("one"));
    while (world.oneshot() == nullptr) world.settle(1);
    const Instance migrate = *world.oneshot();
    world.must(command::InstanceStarted{0, migrate.id, 1, "10.88.0.9", 42});
    // Stopped and started again before anybody has heard what became of it.
    world.must(command::StopEnvironment{"shop/production", true});
    ASSERT_EQ(world.oneshot()->phase, InstancePhase::stopping);
    world.must(command::StopEnvironment{"shop/production", false});
    EXPECT_EQ(
        std::ranges::count_if(world.state.instances, [](const auto& row) { return row.second.oneshot; }), 1);
    world.must(command::InstanceStopped{0, migrate.id, had_ended ? std::optional(0) : std::nullopt});
    world.settle();
    EXPECT_EQ(world.current().phase, RolloutPhase::done);
    EXPECT_EQ(std::ranges::count(world.started, "migrate"), had_ended ? 0 : 1);
  }
}

TEST(Platform, AReleaseThatDoesNotRunIsNotGivenToEverybody) {
  World world = World::released();
  world.release_new("api");
  ASSERT_EQ(world.current().phase, RolloutPhase::stepping);
  const Instance canary = std::ranges::max_element(world.state.instances, {}, [](const auto& row) {
                            return row.second.created;
                          })->second;
  world.broken = {"api"};
  world.must(command::ContainerExited{canary.container(), 1, false});
  world.must(command::Promote{"shop/production", "ada"});
  world.settle(20);
  EXPECT_EQ(world.current().phase, RolloutPhase::stepping);
  EXPECT_NE(world.current().reason.find("api is not ready: exited with 1"), std::string::npos)
      << world.current().reason;
  world.broken.clear();
  world.settle();
  EXPECT_EQ(world.current().phase, RolloutPhase::done);
}

TEST(Platform, ActionsOfOneInstanceShareALaneAndBuildsDoNot) {
  const auto lane = [](ActionKind kind, std::string subject, std::string detail = "") {
    return lane_of({1, kind, std::move(subject), std::move(detail)});
  };
  EXPECT_EQ(lane(ActionKind::remove_container, "shop-web-1.2"),
            lane(ActionKind::start_instance, "shop-web-1", "3"));
  EXPECT_EQ(lane(ActionKind::stop_instance, "shop-web-1"),
            lane(ActionKind::start_instance, "shop-web-1", "3"));
  EXPECT_NE(lane(ActionKind::stop_instance, "shop-web-1"), lane(ActionKind::stop_instance, "shop-web-11"));
  EXPECT_EQ(lane(ActionKind::publish_routes, "7"), lane(ActionKind::publish_routes, "8"));
  EXPECT_EQ(lane(ActionKind::ensure_network, "shop/production"),
            lane(ActionKind::remove_network, "shop/production"));
  EXPECT_NE(lane(ActionKind::build_service, "4", "web"), lane(ActionKind::build_service, "4", "api"));
}

TEST(Platform, APipelineThatFailedIsTriedAgainByHand) {
  World world;
  EXPECT_EQ(world.send(command::RetryPipeline{"shop", {}}).error().code, Code::not_found);
  EXPECT_EQ(world.send(command::RetryPipeline{"blog", {}}).error().code, Code::not_found);
  world.unreadable = "the registry is down";
  world.push(two_services());
  world.settle(4);
  const Pipeline failed = world.state.pipelines.rbegin()->second;
  EXPECT_EQ(failed.state, StageState::failed);
  EXPECT_EQ(failed.hint, "mend it");
  EXPECT_EQ(world.send(command::RetryPipeline{"shop", 999}).error().code, Code::not_found);
  world.unreadable.clear();
  world.must(command::RetryPipeline{"shop", {}});
  EXPECT_EQ(world.send(command::RetryPipeline{"shop", failed.id}).error().code, Code::conflict)
      << "one is under way";
  EXPECT_NE(world.send(command::RetryPipeline{"shop", {}}).error().message().find(" of shop is "),
            std::string::npos);
  world.settle();
  const Pipeline& again = world.state.pipelines.rbegin()->second;
  EXPECT_NE(again.id, failed.id);
  EXPECT_EQ(again.commit, failed.commit);
  EXPECT_EQ(again.state, StageState::succeeded);
  EXPECT_TRUE(world.production().stable);
  EXPECT_EQ(world.send(command::RetryPipeline{"shop", {}}).error().code, Code::conflict) << "it succeeded";
  EXPECT_EQ(world.send(command::RetryPipeline{"shop", failed.id}).error().code, Code::conflict)
      << "a newer one was delivered";
}

TEST(Platform, ANetworkThatCannotBeMadeIsTheReasonOfTheRollout) {
  World world;
  world.no_network = "no free /22 in 10.88.0.0/13";
  world.push(two_services());
  world.settle(10);
  EXPECT_EQ(world.current().phase, RolloutPhase::preparing);
  EXPECT_NE(world.current().reason.find("the network of production cannot be made: no free /22"),
            std::string::npos)
      << world.current().reason;
  EXPECT_EQ(std::ranges::count(world.names, "NetworkFailed"), 1) << "each try says the same: told once";
  world.no_network.clear();
  world.settle();
  EXPECT_TRUE(world.production().stable);
  EXPECT_EQ(world.production().network_error, "");
}

TEST(Platform, AContainerThatCannotBeStoppedDoesNotHoldTheRolloutForEver) {
  World world = World::released();
  world.images["web"] = "two";
  world.stoppable = false;
  ApplicationSpec next = two_services();
  next.rollout.strategy = StrategyKind::all_at_once;
  world.push(next);
  world.settle(60);
  EXPECT_EQ(world.current().phase, RolloutPhase::completing) << "it has its time";
  world.settle(200);
  EXPECT_EQ(world.current().phase, RolloutPhase::done);
  EXPECT_NE(world.current().reason.find("does not stop: a process of it hangs, it is tried again"),
            std::string::npos)
      << world.current().reason;
  const auto stopping = [&] {
    return std::ranges::count_if(world.state.instances,
                                 [](const auto& row) { return row.second.phase == InstancePhase::stopping; });
  };
  EXPECT_GT(stopping(), 0) << "somebody still tries";
  world.stoppable = true;
  world.settle(10);
  EXPECT_EQ(stopping(), 0);
}

TEST(Platform, ATelemetrySlotThatIsGivenBackComesLastAgain) {
  World world;
  std::set<std::uint32_t> before;
  for (int release = 1; release <= 4; ++release) {
    world.images["web"] = std::to_string(release);
    ApplicationSpec next = two_services();
    next.rollout.strategy = StrategyKind::all_at_once;
    world.push(next);
    world.settle();
    const std::string key = std::ranges::find_if(world.state.slots, [](const auto& row) {
                              return row.first.find("/web/") != std::string::npos;
                            })->first;
    EXPECT_TRUE(before.insert(world.state.slots.at(key)).second) << key;
  }
}

TEST(Platform, NamesAndStatesThatDoNotFitAreRefused) {
  World world;
  for (const char* name : {"", "Shop", "-x", "a_b", "x-", "abcdefghijklmnopqrstuvwxyz", "../etc"})
    EXPECT_FALSE(world.send(command::CreateApp{name})) << name;
  EXPECT_EQ(world.send(command::CreateApp{"shop"}).error().code, Code::already_exists);
  EXPECT_EQ(world.send(command::Push{"nope", "refs/heads/main", "c", "", ""}).error().code, Code::not_found);
  EXPECT_EQ(world.send(command::Promote{"shop/production", "ada"}).error().code, Code::conflict);
  EXPECT_EQ(world.send(command::Abort{"shop/production", "ada"}).error().code, Code::conflict);
  EXPECT_EQ(world.send(command::Rollback{"shop/production", 9, "ada"}).error().code, Code::conflict);
}

}  // namespace
}  // namespace naru::platform
