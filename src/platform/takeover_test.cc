// State that goes on under another name: never run twice, and found by users of both releases.
#include "platform/test_world.h"

namespace naru::platform {
namespace {

ServiceSpec writer(std::string name, std::vector<Dependency> depends_on = {}) {
  ServiceSpec spec = service(std::move(name), std::move(depends_on));
  spec.mounts = {{MountKind::volume, "data", "/data", false, 0}};
  return spec;
}

// web and whoever else, on one volume.
ApplicationSpec with(std::vector<ServiceSpec> others) {
  ApplicationSpec spec;
  spec.services = {service("web")};
  for (ServiceSpec& other : others) spec.services.push_back(std::move(other));
  spec.volumes = {"data"};
  spec.rollout.bake = 1s;
  return spec;
}

int writers(const World& world) {
  return world.count("store") + world.count("database");
}

void settle_with_one_writer(World& world) {
  for (int i = 0; i < 100; ++i) {
    world.settle(1);
    ASSERT_LE(writers(world), 1);
  }
}

std::vector<std::string> instances_of(const World& world, const std::string& name) {
  std::vector<std::string> services;
  const RouteTable table = route::table_of(world.state);
  for (const ServiceRoute& route : table.environments.front().services)
    if (route.name == name)
      for (const Endpoint& endpoint : route.stable.endpoints)
        services.push_back(world.state.instances.at(endpoint.instance).service);
  return services;
}

// A canary of web, with the state under a new name beneath both sides.
World renamed() {
  World world = World::released(with({writer("store")}));
  world.images["web"] = "a new one";
  world.push(with({writer("database")}));
  settle_with_one_writer(world);
  return world;
}

TEST(Takeover, AServiceUnderANewNameTakesItsVolumeWhenTheOldOneIsGone) {
  World world = renamed();
  ASSERT_EQ(world.current().phase, RolloutPhase::stepping) << world.current().reason;
  EXPECT_EQ(world.current().swapped, std::vector<std::string>{"database"});
  EXPECT_EQ(world.count("database"), 1);
  EXPECT_EQ(instances_of(world, "store"), std::vector<std::string>{"database"})
      << "users of the old release know the old name";
  world.must(command::Promote{"shop/production", "ada"});
  settle_with_one_writer(world);
  EXPECT_EQ(world.current().phase, RolloutPhase::done);
  EXPECT_EQ(world.count("database"), 1);
}

TEST(Takeover, ABadReleaseGivesTheVolumeBackToTheOldName) {
  World world = renamed();
  ASSERT_EQ(world.current().phase, RolloutPhase::stepping) << world.current().reason;
  world.judge(command::Outcome::roll_back, "web fails");
  settle_with_one_writer(world);
  EXPECT_EQ(world.current().phase, RolloutPhase::rolled_back);
  EXPECT_EQ(world.current().reason, "web fails; the data of database was not rolled back");
  EXPECT_EQ(world.count("store"), 1);
  EXPECT_EQ(instances_of(world, "store"), std::vector<std::string>{"store"});
}

TEST(Takeover, ARollbackByHandGoesBackToTheOldName) {
  World world = renamed();
  world.must(command::Promote{"shop/production", "ada"});
  settle_with_one_writer(world);
  world.must(command::Rollback{"shop/production", {}, "ada"});
  settle_with_one_writer(world);
  EXPECT_EQ(world.current().phase, RolloutPhase::done) << world.current().reason;
  EXPECT_EQ(world.count("store"), 1);
}

TEST(Takeover, TheDeadlineBeginsWhenTheOldOneHasGone) {
  World world = World::released(with({writer("store")}));
  world.stoppable = false;  // it takes its time
  ApplicationSpec next = with({writer("database")});
  next.rollout.ready_deadline = 4s;
  const WallTime pushed = world.now;
  world.push(next);
  while (world.now < pushed + 30s) world.settle(1);
  EXPECT_EQ(world.current().phase, RolloutPhase::preparing) << world.current().reason;
  world.stoppable = true;
  settle_with_one_writer(world);
  EXPECT_EQ(world.current().phase, RolloutPhase::done) << world.current().reason;
}

// Something else that does not stop changes nothing for who takes its time.
TEST(Takeover, TheDeadlineBeginsWhenTheOldOneHasGoneThoughAnotherHangs) {
  World world = World::released(with({writer("store")}));
  world.stoppable = false;
  world.release_new("web");
  ASSERT_EQ(world.current().phase, RolloutPhase::stepping);
  world.must(command::Promote{"shop/production", "ada"});
  world.settle();
  ASSERT_EQ(world.current().phase, RolloutPhase::done) << world.current().reason;
  ASSERT_EQ(world.count("web"), 2) << "the old one hangs";
  ApplicationSpec next = with({writer("database")});
  next.rollout.ready_deadline = 4s;
  world.push(next);
  world.settle(60);
  EXPECT_EQ(world.current().phase, RolloutPhase::preparing) << world.current().reason;
  EXPECT_EQ(world.current().swapped, std::vector<std::string>{"database"});
}

ApplicationSpec on_a_cache(std::vector<ServiceSpec> others) {
  others.push_back(writer("db", {{"cache", DependencyCondition::healthy}}));
  others.push_back(service("cache"));
  ApplicationSpec spec = with(std::move(others));
  spec.rollout.ready_deadline = 4s;
  return spec;
}

TEST(Takeover, TheOldOneServesUntilWhatTheNewOneDependsOnIsReady) {
  World world = World::released(with({writer("db")}));
  world.sick = {"cache"};
  world.push(on_a_cache({}));
  world.settle(8);
  EXPECT_EQ(world.current().phase, RolloutPhase::preparing) << world.current().reason;
  EXPECT_TRUE(world.current().swapped.empty());
  EXPECT_EQ(world.count("db"), 1);
  EXPECT_EQ(world.current().reason, "cache is not ready: nobody answers on 8080") << "not: db";
  const std::vector<std::string> before = world.started;
  world.settle();
  EXPECT_EQ(world.current().phase, RolloutPhase::rolled_back);
  EXPECT_EQ(world.current().reason,
            "cache is not ready: nobody answers on 8080, for 4.0s; see `naru logs shop/cache`");
  EXPECT_EQ(world.started, before) << "db was not touched";
  world.sick.clear();
  world.must(command::Promote{"shop/production", "ada", 2});
  world.settle();
  EXPECT_EQ(world.current().phase, RolloutPhase::stepping) << world.current().reason;
  EXPECT_EQ(world.current().swapped, std::vector<std::string>{"db"});
  EXPECT_EQ(world.count("db"), 1);
}

// The old one is there and ready, and would go under the one-shot that needs it.
TEST(Takeover, AOneShotThatNeedsWhatIsStillToBeSwappedWaitsForTheNewOne) {
  World world = World::released(with({writer("db")}));
  ApplicationSpec next = on_a_cache({service("migrate", {{"db", DependencyCondition::healthy}})});
  next.services[0].depends_on = {{"migrate", DependencyCondition::completed}};
  world.push(next);
  world.settle();
  EXPECT_EQ(world.current().phase, RolloutPhase::stepping) << world.current().reason;
  EXPECT_EQ(world.started, (std::vector<std::string>{"db", "web", "cache", "db", "migrate", "web"}));
}

TEST(Takeover, EachOfTwoMigrationsNeedsAnotherDatabaseThatGoes) {
  const auto two = [](std::string image) {
    ApplicationSpec spec = with({writer("first"), writer("second")});
    for (std::size_t i : {1U, 2U}) {
      spec.services[i].mounts[0].source = spec.services[i].name;
      spec.services[i].environment["FLAVOUR"] = image;
    }
    spec.volumes = {"first", "second"};
    return spec;
  };
  World world = World::released(two("old"));
  ApplicationSpec next = two("new");
  next.services.push_back(service("migrate-first", {{"first", DependencyCondition::healthy}}));
  next.services.push_back(service("migrate-second", {{"second", DependencyCondition::healthy}}));
  next.services[0].depends_on = {{"migrate-first", DependencyCondition::completed},
                                 {"migrate-second", DependencyCondition::completed}};
  world.push(next);
  world.settle();
  EXPECT_EQ(world.current().phase, RolloutPhase::stepping) << world.current().reason;
  EXPECT_EQ(world.current().swapped.size(), 2U);
  EXPECT_EQ(world.count("first") + world.count("second"), 2);
}

// Nobody is told to read the log of a service that was not touched.
TEST(Takeover, WhoHoldsTheSwapUpIsNamedAlsoWhenItDidNotChange) {
  World world = World::released(on_a_cache({}));
  world.sick = {"cache"};
  const auto instances = world.state.instances;
  for (const auto& [id, instance] : instances)
    if (instance.service == "cache") world.must(command::Probed{id, instance.attempt, false, "closed"});
  ApplicationSpec next = on_a_cache({});
  next.services[1].environment["FLAVOUR"] = "new";
  world.push(next);
  world.settle();
  EXPECT_EQ(world.current().phase, RolloutPhase::rolled_back);
  EXPECT_NE(world.current().reason.find("`naru logs shop/cache`"), std::string::npos)
      << world.current().reason;
  EXPECT_EQ(world.count("db"), 1);
}

// A one-shot that writes what the old one holds can run only when that has gone, and the cache waits for it:
// the new one is not made, and nobody holds it back.
TEST(Takeover, WhoIsNotMadeForWantOfAnotherGivesTheVolumeBackAfterTheDeadline) {
  World world = World::released(with({writer("store")}));
  world.sick = {"cache"};
  ApplicationSpec next = on_a_cache({writer("migrate")});
  next.services[0].depends_on = {{"migrate", DependencyCondition::completed}};
  world.push(next);
  for (int i = 0; i < 20 && world.count("cache") == 0; ++i) world.settle(1);
  ASSERT_EQ(world.started, (std::vector<std::string>{"store", "web", "migrate", "cache", "web"}));
  ASSERT_EQ(world.current().phase, RolloutPhase::preparing) << world.current().reason;
  ASSERT_EQ(world.count("store") + world.count("db"), 0);
  world.settle();
  EXPECT_EQ(world.current().phase, RolloutPhase::rolled_back) << world.current().reason;
  EXPECT_EQ(world.count("store"), 1);
}

TEST(Takeover, AReaderIsNoWriter) {
  World world = World::released(with({writer("store")}));
  ApplicationSpec next = with({service("reader")});
  next.services[1].mounts = {{MountKind::volume, "data", "/data", true, 0}};
  world.release(next);
  EXPECT_TRUE(world.current().swapped.empty());
  EXPECT_EQ(world.count("store"), 1);
  EXPECT_EQ(world.count("reader"), 1);
}

TEST(Takeover, AOneShotThatWritesTheVolumeRunsBetweenTheOldNameAndTheNew) {
  World world = World::released(with({writer("store")}));
  world.push(with({writer("migrate"), writer("database", {{"migrate", DependencyCondition::completed}})}));
  settle_with_one_writer(world);
  EXPECT_EQ(world.current().phase, RolloutPhase::done) << world.current().reason;
  EXPECT_EQ(world.started, (std::vector<std::string>{"store", "web", "migrate", "database"}));
}

// A folder of the machine that is written is state, under whatever name.
TEST(Takeover, AFolderOfTheMachineIsTakenOverAsAVolumeIs) {
  ServiceSpec store = writer("store"), database = writer("database");
  store.mounts = {{MountKind::bind, "/srv/photos", "/data", false, 0}};
  database.mounts = {{MountKind::bind, "/srv/photos/2024", "/data", false, 0}};
  EXPECT_TRUE(store.stateful());
  World world = World::released(with({store}));
  store.environment["ROUND"] = "2";
  world.push(with({store}));
  settle_with_one_writer(world);
  EXPECT_EQ(world.current().phase, RolloutPhase::done) << world.current().reason;
  world.push(with({database}));
  settle_with_one_writer(world);
  EXPECT_EQ(world.count("database"), 1) << world.current().reason;
  EXPECT_EQ(world.count("store"), 0);
  store.mounts[0].read_only = true;
  EXPECT_FALSE(store.stateful());
}

// The launcher lets a second writer in only beside one that was started as one of two.
TEST(Takeover, WhatOneReleaseLetsTwoServicesWriteTheyWriteSideBySideOnceTheFirstWasStartedAnew) {
  World world = World::released(with({writer("store")}));
  world.started.clear();
  world.push(with({writer("store"), writer("backup")}));
  world.settle();
  EXPECT_EQ(world.current().phase, RolloutPhase::done) << world.current().reason;
  EXPECT_EQ(std::ranges::count(world.started, "store"), 1);
  EXPECT_EQ(world.count("store"), 1);
  EXPECT_EQ(world.count("backup"), 1);
  world.started.clear();
  ServiceSpec other = writer("backup");
  other.environment["ROUND"] = "2";
  world.push(with({writer("store"), other}));
  world.settle();
  EXPECT_EQ(world.started, std::vector<std::string>{"backup"}) << "store shares it already";
  world.push(with({writer("store")}));
  settle_with_one_writer(world);
  EXPECT_EQ(world.current().phase, RolloutPhase::done) << world.current().reason;
  EXPECT_EQ(world.count("store"), 1);
  EXPECT_EQ(world.count("backup"), 0);
}

TEST(Takeover, TwoServicesOfOneVolumeAreToldApartByWhoDeclaresThem) {
  Release both;
  both.services = {{writer("store"), {}, {}}, {writer("backup"), {}, {}}};
  Release one;
  one.services = {{writer("backup"), {}, {}}};
  const ServiceSpec store = writer("store"), backup = writer("backup");
  Release alone;
  alone.services = {{writer("store"), {}, {}}};
  EXPECT_FALSE(excludes(both, backup, both, store));
  EXPECT_TRUE(excludes(one, backup, both, store)) << "it does not say that store may write, too";
  EXPECT_TRUE(excludes(both, backup, alone, store)) << "store was started as the only writer";
  EXPECT_TRUE(excludes(both, store, both, store)) << "one of each at most";
  ServiceSpec shared_store = store, shared_backup = backup;
  shared_store.shared = shared_backup.shared = true;
  EXPECT_TRUE(excludes(one, backup, both, shared_store));
  EXPECT_FALSE(excludes(one, shared_backup, both, shared_store));
  EXPECT_TRUE(written_by_another(both, store, store.mounts[0]));
  EXPECT_FALSE(written_by_another(one, backup, backup.mounts[0]));
}

}  // namespace
}  // namespace naru::platform
