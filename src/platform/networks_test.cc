// Who reaches whom by the networks of the compose file, as the deciders say it.
#include "platform/test_world.h"
#include "route/snapshot.h"

namespace naru::platform {
namespace {

using route::Side;

// web -> api -> db, web and db apart.
ApplicationSpec separated() {
  ApplicationSpec spec = two_services();
  spec.services.push_back(service("db"));
  spec.services[0].networks = {"front"};
  spec.services[1].networks = {"front", "back"};
  spec.services[2].networks = {"back"};
  spec.networks = {"front", "back"};
  return spec;
}

ApplicationSpec together() {
  ApplicationSpec spec = separated();
  for (ServiceSpec& each : spec.services) each.networks.clear();
  return spec;
}

ServiceSpec stateful(ServiceSpec spec) {
  spec.mounts = {{MountKind::volume, "data", "/data", false, 0}};
  return spec;
}

// "web v1" may call "db".
class Calls {
 public:
  explicit Calls(const World& world, const std::string& network = "shop/production")
      : world_(world),
        snapshot_(route::Snapshot::compile(route::table_of(world.state))),
        environment_(snapshot_->by_network(network)) {}
  bool operator()(const std::string& from, std::uint64_t version, const std::string& to,
                  Side side = Side::stable) const {
    return environment_->reaches(caller(from, version), *environment_->find(to), side);
  }
  bool outside(const std::string& from, std::uint64_t version) const {
    return environment_->reaches_outside(caller(from, version));
  }

 private:
  route::CallerView caller(const std::string& service, std::uint64_t version) const {
    for (const auto& [id, instance] : world_.state.instances)
      if (instance.service == service && world_.state.release(instance.release)->version == version &&
          env_key(instance.app, instance.environment) == environment_->network)
        return environment_->caller(*route::parse_ipv4(instance.address));
    ADD_FAILURE() << "there is no " << service << " v" << version;
    return {};
  }
  const World& world_;
  std::shared_ptr<const route::Snapshot> snapshot_;
  const route::Environment* environment_;
};

TEST(NetworksOfServices, LetThroughWhoSharesOneAndNobodyElse) {
  const World world = World::released(separated());
  const Calls may(world);
  EXPECT_TRUE(may("web", 1, "api"));
  EXPECT_TRUE(may("api", 1, "web"));
  EXPECT_TRUE(may("api", 1, "db"));
  EXPECT_FALSE(may("web", 1, "db"));
  EXPECT_FALSE(may("db", 1, "web"));
  EXPECT_TRUE(may("web", 1, "web"));
  EXPECT_TRUE(may.outside("db", 1));
}

TEST(NetworksOfServices, CostNothingWhereTheySeparateNothing) {
  ApplicationSpec spec = together();
  spec.services[1].networks = {"default", "back"};
  spec.networks = {"back"};
  for (const ApplicationSpec& one : {together(), spec}) {
    const World world = World::released(one);
    EXPECT_TRUE(route::table_of(world.state).environments[0].reaches.empty());
    EXPECT_TRUE(Calls(world)("web", 1, "db"));
  }
}

TEST(NetworksOfServices, AnInternalServiceAsksForNoNamesOutside) {
  ApplicationSpec spec = together();
  spec.services[2].internal = true;
  const World world = World::released(spec);
  EXPECT_FALSE(Calls(world).outside("db", 1));
  EXPECT_TRUE(Calls(world).outside("api", 1));
  EXPECT_TRUE(Calls(world)("db", 1, "api"));
}

TEST(NetworksOfServices, AnInstanceIsHeldToItsOwnRevision) {
  World world = World::released(separated());
  ApplicationSpec next = separated();
  next.services[0].networks = {"front", "back"};
  world.release(next);
  ASSERT_EQ(world.current().phase, RolloutPhase::stepping);
  for (const Side side : {Side::stable, Side::canary}) {
    EXPECT_FALSE(Calls(world)("web", 1, "db", side));
    EXPECT_TRUE(Calls(world)("web", 2, "db", side));
  }
  world.judge(command::Outcome::roll_back);
  world.settle();
  EXPECT_FALSE(Calls(world)("web", 1, "db"));
}

TEST(NetworksOfServices, WhoServesBothSidesIsHeldToTheReleaseOfTheUser) {
  World world = World::released(separated());
  ApplicationSpec next = separated();
  next.services[2].networks = {"vault"};
  next.networks.emplace_back("vault");
  world.release(next);
  ASSERT_EQ(world.current().phase, RolloutPhase::stepping);
  EXPECT_TRUE(Calls(world)("api", 1, "db", Side::stable));
  EXPECT_FALSE(Calls(world)("api", 1, "db", Side::canary)) << "what the new release would do to everybody";
  world.must(command::Promote{"shop/production", "ada"});
  world.settle();
  EXPECT_FALSE(Calls(world)("api", 1, "db"));
}

// A stateful service is recreated before users meet anything else of the release: those of the old one, whose
// instances are on other networks than the new database, must not lose it meanwhile.
TEST(NetworksOfServices, AReleaseThatBringsThemCutsOffNobodyOfTheOneBefore) {
  ApplicationSpec before = together(), after = separated();
  before.services[2] = stateful(before.services[2]);
  after.services[2] = stateful(after.services[2]);
  before.volumes = after.volumes = {"data"};
  World world = World::released(before);
  world.release(after);
  ASSERT_EQ(world.current().phase, RolloutPhase::stepping);
  const Calls may(world);
  EXPECT_TRUE(may("api", 1, "db")) << "the new one, which is on back alone";
  EXPECT_TRUE(may("web", 1, "db"));
  EXPECT_TRUE(may("api", 2, "db", Side::canary));
  EXPECT_FALSE(may("web", 2, "db", Side::canary));
  EXPECT_FALSE(may("web", 2, "db", Side::stable));
  world.must(command::Promote{"shop/production", "ada"});
  world.settle();
  EXPECT_TRUE(Calls(world)("api", 2, "db"));
  EXPECT_FALSE(Calls(world)("web", 2, "db"));
}

TEST(NetworksOfServices, TheKernelIsToldOfThoseWhoMaySendDatagramsAllTheSame) {
  ApplicationSpec before = together(), after = separated();
  for (ApplicationSpec* spec : {&before, &after}) {
    spec->services[2] = stateful(spec->services[2]);
    spec->services[2].ports = {{5353, std::nullopt, "", Transport::udp, ""}};
    spec->volumes = {"data"};
  }
  World world = World::released(before);
  EXPECT_TRUE(world.udp.exceptions.empty());
  world.release(after);
  ASSERT_EQ(world.current().phase, RolloutPhase::stepping);
  std::vector<UdpException> expected;
  for (const auto& [id, instance] : world.state.instances)
    if (instance.service != "db" && world.state.release(instance.release)->version == 1)
      expected.push_back({instance.address, world.production().virtual_addresses.at("db")});
  ASSERT_EQ(expected.size(), 2U);
  EXPECT_EQ(world.udp.exceptions, expected) << "web and api of the old release";
  world.must(command::Promote{"shop/production", "ada"});
  world.settle();
  EXPECT_TRUE(world.udp.exceptions.empty());
}

TEST(NetworksOfServices, HoldInEveryEnvironment) {
  World world;
  ApplicationSpec spec = separated();
  spec.environments = {{"staging", DeployMode::automatic, ""}};
  world.elsewhere["staging"] = spec;
  world.release(spec);
  for (const char* network : {"shop/production", "shop/staging"}) {
    SCOPED_TRACE(network);
    EXPECT_TRUE(Calls(world, network)("api", 1, "db"));
    EXPECT_FALSE(Calls(world, network)("web", 1, "db"));
  }
}

}  // namespace
}  // namespace naru::platform
