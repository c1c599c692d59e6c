#include "platform/platform.h"

#include <gtest/gtest.h>

#include "platform/lane.h"

namespace naru::platform {
namespace {

ServiceSpec service(std::string name, std::vector<Dependency> depends_on = {}) {
  ServiceSpec spec;
  spec.name = std::move(name);
  spec.depends_on = std::move(depends_on);
  return spec;
}

ApplicationSpec two_services() {
  ApplicationSpec spec;
  spec.services = {service("web", {{"api", DependencyCondition::healthy}}), service("api")};
  spec.rollout.bake = 1s;
  return spec;
}

// A tiny world in which every action succeeds at once, unless a test says otherwise.
class World {
 public:
  World() {
    must(command::CreateApp{"shop"});
    settle();
  }

  Result<void> send(Command command) {
    Changes changes(state, now);
    auto result = decide(changes, command);
    for (const Event& event : changes.events()) names.emplace_back(event_name(event));
    return result;
  }
  void must(Command command) {
    const auto result = send(std::move(command));
    ASSERT_TRUE(result) << result.error().message();
  }

  // Of an application whose first release, c1, serves everybody.
  static World released(ApplicationSpec application = two_services()) {
    World world;
    world.release(std::move(application));
    return world;
  }
  // Commits are c1, c2 and so on.
  void push(ApplicationSpec application) {
    spec = std::move(application);
    must(command::Push{"shop", "refs/heads/main", fmt::format("c{}", ++pushes), "a change", "ada"});
  }
  void release(ApplicationSpec application) {
    push(std::move(application));
    settle();
  }
  // The same application, but for the image of one service.
  void release_new(const std::string& service) {
    images[service] = fmt::format("after c{}", pushes);
    release(spec);
  }

  // Carries out the outbox until nothing is left to do, with time passing.
  void settle(int rounds = 200) {
    for (int i = 0; i < rounds; ++i) {
      const auto outbox = state.outbox;
      for (const auto& [id, action] : outbox) carry_out(action);
      for (const auto& [id, instance] : std::map(state.instances)) probe(instance);
      now += 500ms;
      must(command::Tick{});
      most_databases = std::max(most_databases, count("db"));
    }
  }

  void judge(command::Outcome outcome, std::string reason = "because") {
    const Rollout& rollout = current();
    must(command::Judged{rollout.id, rollout.step, outcome, std::move(reason), {}, {}});
  }
  const Rollout& current() const { return state.rollouts.rbegin()->second; }
  const Environment& production() const { return state.environments.at("shop/production"); }
  int count(const std::string& name) const {
    return static_cast<int>(
        std::ranges::count_if(containers, [&](const auto& c) { return c.second == name; }));
  }
  bool happened(const std::string& name) const { return std::ranges::find(names, name) != names.end(); }

  State state;
  WallTime now = from_epoch_ms(1'000'000);
  ApplicationSpec spec;
  int pushes = 0;
  std::set<std::string> broken;                   // services whose new containers exit with 1
  std::map<std::string, std::string> images;      // service -> what its image's digest is of
  std::map<std::string, std::string> containers;  // id -> service
  std::vector<std::string> names;
  std::vector<std::string> started;  // services of containers, in order
  bool acknowledges = true;          // the gateway
  int most_databases = 0;

 private:
  void carry_out(const Action& action) {
    switch (action.kind) {
      case ActionKind::plan_pipeline:
        return must(command::PlanFinished{action.id, std::stoull(action.subject), "", spec, {}});
      case ActionKind::build_service: {
        ImageInfo image;
        image.manifest = Digest::of_sha256(images[action.detail] + action.detail);
        return must(
            command::BuildFinished{action.id, std::stoull(action.subject), action.detail, false, "", image});
      }
      case ActionKind::ensure_network:
        return must(command::NetworkReady{
            action.id,
            action.subject,
            {"shop.production", "br0", "10.88.0.0/23", "10.88.0.1", "10.88.2.0/23", 9}});
      case ActionKind::start_instance:
        return start(action);
      case ActionKind::stop_instance:
        containers.erase(action.subject);
        return must(command::InstanceStopped{action.id, action.subject});
      case ActionKind::remove_container:
        return must(command::ContainerRemoved{action.id});
      case ActionKind::publish_routes:
        if (!acknowledges) return;
        return must(command::RoutesAcked{action.id, state.counters.routes_revision});
    }
  }
  void start(const Action& action) {
    const auto attempt = static_cast<std::uint32_t>(std::stoul(action.detail));
    const auto found = state.instances.find(action.subject);
    if (found == state.instances.end())
      return must(command::InstanceStarted{action.id, action.subject, attempt, "", 0});
    const Instance instance = found->second;
    containers[instance.id] = instance.service;
    started.push_back(instance.service);
    must(command::InstanceStarted{action.id, instance.id, attempt, "10.88.0.9", 42});
    const bool bad = broken.contains(instance.service);
    if (!instance.oneshot && !bad) return;
    containers.erase(instance.id);
    must(command::ContainerExited{instance.container(), bad ? 1 : 0, false});
  }
  void probe(const Instance& instance) {
    if (instance.phase == InstancePhase::running)
      must(command::Probed{instance.id, instance.attempt, true, ""});
  }
};

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

TEST(Platform, StateIsNeverRunTwice) {
  World world = World::released(with_state("one"));
  ASSERT_EQ(world.current().phase, RolloutPhase::done);
  world.release(with_state("two"));
  EXPECT_EQ(world.count("db"), 1);
  EXPECT_EQ(world.most_databases, 1);
  EXPECT_EQ(world.current().phase, RolloutPhase::done) << world.current().reason;
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
  const auto oneshot = [&] {
    return std::ranges::find_if(world.state.instances, [](const auto& row) { return row.second.oneshot; });
  };
  while (oneshot() == world.state.instances.end()) world.settle(1);
  const Instance migrate = oneshot()->second;
  world.must(command::StopEnvironment{"shop/production", true});
  world.must(command::ContainerExited{migrate.container(), 0, false});
  world.settle();
  EXPECT_TRUE(world.state.instances.empty());
  world.must(command::StopEnvironment{"shop/production", false});
  world.settle();
  EXPECT_EQ(world.current().phase, RolloutPhase::done);
  EXPECT_EQ(std::ranges::count(world.started, "migrate"), 0);
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
  EXPECT_NE(lane(ActionKind::build_service, "4", "web"), lane(ActionKind::build_service, "4", "api"));
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
