#include "platform/test_world.h"
#include "route/snapshot.h"

namespace naru::platform {
namespace {

TEST(Grants, AreWhatTheLauncherSaysAndEachChangeIsAnEvent) {
  World world;
  const GrantRecord net{"cap:NET_ADMIN", "ada", from_epoch_ms(5)},
      folder{"bind:/srv", "bob", from_epoch_ms(6)};
  world.must(command::GrantsListed{{{"shop", {net, folder}, "bob", {}}, {"gone", {net}, "ada", {}}}});
  EXPECT_EQ(world.state.apps.at("shop").grants, (std::vector{net, folder}));
  EXPECT_EQ(std::ranges::count(world.names, "GrantsChanged"), 1) << "an application that is no more has none";
  world.must(command::GrantsListed{{{"shop", {net, folder}, "bob", {}}}});
  EXPECT_EQ(std::ranges::count(world.names, "GrantsChanged"), 1) << "nothing changed";
  Changes changes(world.state, world.now);
  ASSERT_TRUE(decide(changes, command::GrantsListed{{{"shop", {folder}, "eve", {}}}}));
  const auto& taken = std::get<event::GrantsChanged>(changes.events().front());
  EXPECT_EQ(taken.disallowed, std::vector<std::string>{"cap:NET_ADMIN"});
  EXPECT_TRUE(taken.allowed.empty());
  EXPECT_EQ(taken.by, "eve");
  world.must(command::GrantsListed{});
  EXPECT_TRUE(world.state.apps.at("shop").grants.empty()) << "what the launcher lost nobody has";
}

// staging at once, production after it.
ApplicationSpec two_environments(DeployMode production = DeployMode::automatic) {
  ApplicationSpec spec = two_services();
  spec.rollout.strategy = StrategyKind::all_at_once;
  spec.environments = {{"staging", DeployMode::automatic, ""}, {"production", production, "staging"}};
  return spec;
}

std::uint64_t served(const World& world, const EnvKey& key) {
  const Release* release = world.state.release(world.state.environments.at(key).stable);
  return release == nullptr ? 0 : release->version;
}

TEST(Environments, AReleaseComesToProductionOnceStagingServesIt) {
  World world = World::released(two_environments());
  EXPECT_EQ(served(world, "shop/staging"), 1u);
  EXPECT_EQ(served(world, "shop/production"), 1u);
  EXPECT_EQ(world.count("web"), 2);  // a copy in each
  const Release& staged = *world.state.release(world.state.environments.at("shop/staging").stable);
  const Release& live = *world.state.release(world.production().stable);
  EXPECT_NE(staged.id, live.id);
  EXPECT_EQ(staged.services[0].image, live.services[0].image);
}

TEST(Environments, AManualOneWaitsForAPersonAfterTheOneBefore) {
  World world = World::released(two_environments(DeployMode::manual));
  EXPECT_EQ(served(world, "shop/staging"), 1u);
  EXPECT_EQ(served(world, "shop/production"), 0u);
  ASSERT_TRUE(world.production().pending);
  world.must(command::Promote{"shop/production", "ada"});
  world.settle();
  EXPECT_EQ(served(world, "shop/production"), 1u);
}

TEST(Environments, WhatStagingTookBackNeverComesToProduction) {
  World world = World::released(two_environments());
  world.broken = {"api"};
  world.release_new("api");
  EXPECT_EQ(served(world, "shop/staging"), 1u);
  EXPECT_EQ(served(world, "shop/production"), 1u);
  EXPECT_FALSE(world.production().pending);
  EXPECT_FALSE(world.production().rollout);
}

TEST(Environments, ProductionIsHandedWhatStagingServesThoughANewerOneIsOnItsWay) {
  World world = World::released(two_environments());
  world.stoppable = false;
  world.images["api"] = "better";
  world.push(world.spec);
  world.settle(60);
  ASSERT_EQ(world.current().phase, RolloutPhase::completing);
  EXPECT_FALSE(world.production().pending) << "staging is not done with v2";
  world.images["web"] = "worse";
  world.broken = {"web"};
  world.push(world.spec);
  world.settle(20);
  EXPECT_FALSE(world.production().pending);
  world.stoppable = true;
  world.settle();
  EXPECT_EQ(served(world, "shop/staging"), 2u) << "v3 was taken back";
  EXPECT_EQ(served(world, "shop/production"), 2u);
}

TEST(Environments, WhatCameBackInProductionIsNotOfferedAgain) {
  World world = World::released(two_environments());
  world.release_new("api");
  ASSERT_EQ(served(world, "shop/production"), 2u);
  world.must(command::Rollback{"shop/production", {}, "ada"});
  world.settle();
  EXPECT_EQ(served(world, "shop/staging"), 2u);
  EXPECT_EQ(served(world, "shop/production"), 1u);
}

TEST(Environments, AVersionIsKeptOrForgottenInAllOfThem) {
  World world = World::released(two_environments(DeployMode::manual));
  for (int i = 0; i < 4; ++i) {
    world.images["web"] = fmt::format("web {}", i);
    world.release_new("api");
    if (i > 0) continue;
    world.must(command::Promote{"shop/production", "ada"});  // v2; then v5 waits for a person
    world.settle();
  }
  world.must(command::Housekeep{1});
  std::map<std::uint64_t, int> kept;
  for (const auto& [id, release] : world.state.releases) ++kept[release.version];
  EXPECT_EQ(kept, (std::map<std::uint64_t, int>{{2, 2}, {4, 2}, {5, 2}}))
      << "runs; staging goes back to; newest";
  ASSERT_EQ(served(world, "shop/production"), 2u);
  world.must(command::Promote{"shop/production", "ada"});
  world.settle();
  EXPECT_EQ(served(world, "shop/production"), 5u);
}

TEST(Environments, EachIsConfiguredWithItsOwnVariables) {
  World world;
  ApplicationSpec staged = two_environments();
  staged.services[0].environment["GREETING"] = "from staging";
  world.elsewhere = {{"staging", staged}};
  world.release(two_environments());
  const Release& there = *world.state.release(world.state.environments.at("shop/staging").stable);
  EXPECT_EQ(there.find("web")->spec.environment.at("GREETING"), "from staging");
  EXPECT_TRUE(world.state.release(world.production().stable)->find("web")->spec.environment.empty());
}

TEST(Environments, VariablesMayComeBeforeThePushThatDeclaresIt) {
  World world;
  world.must(command::SetVariables{"shop/staging", {{"A", "1"}}, {}, "ada"});
  EXPECT_EQ(world.state.environments.at("shop/staging").variables.at("A"), "1");
  EXPECT_EQ(world.send(command::SetVariables{"shop/Staging", {{"A", "1"}}, {}, "ada"}).error().code,
            Code::invalid_argument);
  EXPECT_EQ(world.send(command::SetVariables{"nobody/staging", {{"A", "1"}}, {}, "ada"}).error().code,
            Code::not_found);
}

TEST(Environments, VariablesOfOneDoNotTakeTheOtherBack) {
  World world = World::released(two_environments(DeployMode::manual));
  world.must(command::Promote{"shop/production", "ada"});
  world.settle();
  world.release_new("api");
  ASSERT_EQ(served(world, "shop/staging"), 2u);
  ASSERT_EQ(served(world, "shop/production"), 1u);
  for (const char* key : {"shop/staging", "shop/production"}) {
    world.must(command::SetVariables{key, {{"A", key}}, {}, "ada"});
    EXPECT_EQ(world.state.pipelines.rbegin()->second.commit, "c2") << key;
    world.settle();
  }
}

TEST(Environments, VariablesBringNoCommitToAnEnvironmentThatSentItBack) {
  World world = World::released(two_environments());
  world.release_new("api");
  world.must(command::Rollback{"shop/production", {}, "ada"});
  world.settle();
  ASSERT_EQ(served(world, "shop/staging"), 2u);
  world.must(command::SetVariables{"shop/production", {{"A", "1"}}, {}, "ada"});
  EXPECT_EQ(world.state.pipelines.rbegin()->second.commit, "c1");
  world.must(command::SetVariables{"shop/typo", {{"A", "1"}}, {}, "ada"});
  EXPECT_EQ(world.state.pipelines.rbegin()->second.commit, "c1");
}

TEST(Environments, AVersionIsNotOfferedBeforeTheEnvironmentBeforeServesIt) {
  World world = World::released(two_environments());
  world.broken = {"api"};
  world.release_new("api");
  ASSERT_EQ(served(world, "shop/staging"), 1u);
  EXPECT_EQ(world.send(command::Promote{"shop/production", "ada", 2}).error().code, Code::conflict);
  world.broken = {};
  world.must(command::Promote{"shop/staging", "ada", 2});
  world.settle();
  EXPECT_EQ(served(world, "shop/production"), 2u);
}

TEST(Environments, OneIsRemovedAndTheOthersStay) {
  World world = World::released(two_environments());
  EXPECT_EQ(world.send(command::RemoveEnvironment{"shop/staging"}).error().code, Code::conflict) << "it runs";
  EXPECT_EQ(world.send(command::RemoveEnvironment{"shop/nowhere"}).error().code, Code::not_found);
  const auto production = world.send(command::RemoveEnvironment{"shop/production"});
  EXPECT_EQ(production.error().code, Code::conflict);
  EXPECT_NE(production.error().hint().find("naru app rm shop"), std::string::npos);
  world.must(command::StopEnvironment{"shop/staging", true});
  world.settle(20);
  world.must(command::RemoveEnvironment{"shop/staging"});
  world.settle(5);
  EXPECT_FALSE(world.state.environments.contains("shop/staging"));
  EXPECT_EQ(world.removed_networks, std::vector<std::string>{"shop/staging"});
  EXPECT_TRUE(world.state.outbox.empty());
  for (const auto& [id, release] : world.state.releases) EXPECT_EQ(release.environment, "production");
  for (const auto& [id, rollout] : world.state.rollouts) EXPECT_EQ(rollout.environment, "production");
  EXPECT_EQ(served(world, "shop/production"), 1u);
  EXPECT_EQ(world.count("web"), 1);
  world.release_new("api");  // the file declares it still: the next push makes it again
  EXPECT_EQ(served(world, "shop/staging"), 2u);
  EXPECT_EQ(served(world, "shop/production"), 2u);
}

// Else a release that waits for it would wait for ever.
TEST(Environments, WhatWaitedForARemovedOneIsPromotedByItsVersion) {
  World world = World::released(two_environments());
  world.broken = {"api"};
  world.release_new("api");
  world.must(command::StopEnvironment{"shop/staging", true});
  world.settle(20);
  EXPECT_EQ(world.send(command::Promote{"shop/production", "ada", 2}).error().code, Code::conflict);
  world.must(command::RemoveEnvironment{"shop/staging"});
  world.broken = {};
  world.settle(20);
  EXPECT_EQ(served(world, "shop/production"), 1u);
  world.must(command::Promote{"shop/production", "ada", 2});
  world.settle();
  EXPECT_EQ(served(world, "shop/production"), 2u);
}

TEST(Environments, ARemedyNamesTheEnvironment) {
  ApplicationSpec spec = two_environments();
  spec.rollout.strategy = StrategyKind::canary;
  World world = World::released(spec);
  world.judge_looks = false;
  world.release_new("api");
  const auto refused = world.send(command::Rollback{"shop/staging", {}, "ada"});
  EXPECT_NE(refused.error().hint().find("naru abort shop/staging"), std::string::npos)
      << refused.error().hint();
  const auto unknown = world.send(command::Promote{"shop/staging", "ada", 99});
  EXPECT_TRUE(unknown.error().hint().contains("naru releases shop/staging")) << unknown.error().hint();
}

TEST(Environments, WhatTheFileDeclaresAndWhatIsLeftOfEarlierOnesAreBoundedTogether) {
  World world = World::released();
  for (int i = 1; i < 7; ++i)
    world.must(command::SetVariables{fmt::format("shop/typo{}", i), {{"A", "1"}}, {}, "ada"});
  world.release(two_environments());
  EXPECT_EQ(served(world, "shop/staging"), 2u) << "eight";
  ApplicationSpec more = two_environments();
  more.environments.push_back({"qa", DeployMode::automatic, ""});
  world.release(more);
  const Pipeline& refused = world.state.pipelines.rbegin()->second;
  EXPECT_EQ(refused.state, StageState::failed);
  EXPECT_NE(refused.error.find("typo1"), std::string::npos) << refused.error;
  EXPECT_NE(refused.hint.find("naru app rm shop/typo1"), std::string::npos) << refused.hint;
  EXPECT_FALSE(world.state.environments.contains("shop/qa"));
}

TEST(Environments, ATcpPortOutsideProductionIsAssignedAndChangedWhenItIsTaken) {
  World world;
  ApplicationSpec spec = two_environments();
  spec.services[1].ports = {{6379, 6379, "", Transport::tcp, ""}};
  spec.services[0].ports = {{80, 8000, "", Transport::tcp, "http"}};
  world.release(spec);
  const std::string key = "shop/staging/api/6379";
  ASSERT_EQ(world.state.ports.size(), 1u);  // HTTP has a name at the edge
  const std::uint16_t port = world.state.ports.at(key);
  const auto listens = [&](std::uint16_t wanted) {
    return std::ranges::any_of(route::listeners_of(world.state),
                               [&](const ListenerSpec& l) { return l.port == wanted; });
  };
  EXPECT_TRUE(listens(port));
  EXPECT_TRUE(listens(6379));
  world.must(command::PortTaken{port});
  EXPECT_NE(world.state.ports.at(key), port);
  EXPECT_TRUE(listens(world.state.ports.at(key)));
  world.release(two_environments());
  EXPECT_TRUE(world.state.ports.empty());
}

// Of a service whose name leads to one of several ports: a forge with ssh, which keeps data.
TEST(Environments, EveryPortThatTheNameDoesNotLeadToIsAssigned) {
  World world;
  ApplicationSpec spec = two_environments();
  spec.services[1].ports = {{22, 222, "", Transport::tcp, ""},
                            {3000, 3000, "", Transport::tcp, ""},
                            {8088, 8088, "", Transport::tcp, ""}};
  spec.services[1].mounts = {{MountKind::volume, "data", "/data", false, 0}};
  spec.services[0].ports = {{5432, 5432, "", Transport::tcp, ""}};
  spec.volumes = {"data"};
  world.release(spec);
  std::vector<std::string> assigned;
  for (const auto& [key, port] : world.state.ports) assigned.push_back(key);
  EXPECT_EQ(assigned, (std::vector<std::string>{"shop/staging/api/22", "shop/staging/api/8088",
                                                "shop/staging/web/5432"}));
  const RouteTable table = route::table_of(world.state);
  const auto snapshot = route::Snapshot::compile(table);
  for (const char* environment : {"staging", "production"}) {
    const route::Service* api = snapshot->by_host(fmt::format("api.{}.shop.localhost", environment));
    ASSERT_NE(api, nullptr);
    EXPECT_EQ(api->http_port(), 3000) << environment;
  }
  EXPECT_EQ(snapshot->hosts(9),
            (std::vector<std::string>{"api.production.shop.localhost", "api.staging.shop.localhost"}))
      << "a database answers nobody by name";
  const std::string listener = fmt::format("host:{}", world.state.ports.at("shop/staging/api/8088"));
  const auto route = std::ranges::find(table.host_ports, listener, &HostPortRoute::listener);
  ASSERT_NE(route, table.host_ports.end());
  EXPECT_EQ(route->port, 8088);
}

TEST(Environments, ATcpPortIsKnownWhenTheReleaseIsMade) {
  World world;
  world.no_network = "none yet";
  ApplicationSpec spec = two_environments();
  spec.services[1].ports = {{6379, 6379, "", Transport::tcp, ""}};
  world.release(spec);
  ASSERT_EQ(served(world, "shop/staging"), 0u);
  ASSERT_TRUE(world.state.ports.contains("shop/staging/api/6379"));
  const std::uint16_t port = world.state.ports.at("shop/staging/api/6379");
  world.no_network.clear();
  world.settle();
  EXPECT_EQ(world.state.ports.at("shop/staging/api/6379"), port);
}

// The push that made v2 has told it; v3, which has none, waits for a person before it comes here.
TEST(Environments, APortOfWhatRollsOutIsKeptThoughANewerReleaseHasNone) {
  ApplicationSpec spec = two_services();
  spec.rollout.strategy = StrategyKind::all_at_once;
  spec.environments = {{"production", DeployMode::manual, ""}, {"late", DeployMode::automatic, "production"}};
  ApplicationSpec with_port = spec;
  with_port.services[1].ports = {{6379, 6379, "", Transport::tcp, ""}};
  World world;
  const auto deliver = [&](const ApplicationSpec& late) {
    world.elsewhere["late"] = late;
    world.release(spec);
    world.must(command::Promote{"shop/production", "ada"});
    world.settle();
  };
  deliver(spec);
  with_port.rollout.strategy = StrategyKind::canary;
  world.judge_looks = false;
  deliver(with_port);
  const Rollout* rollout = world.state.active_rollout(world.state.environments.at("shop/late"));
  ASSERT_NE(rollout, nullptr);
  ASSERT_EQ(world.state.release(rollout->to)->version, 2U);
  const std::uint16_t port = world.state.ports.at("shop/late/api/6379");
  world.elsewhere["late"] = spec;
  world.release(spec);
  ASSERT_EQ(world.state.releases.rbegin()->second.version, 3U);
  ASSERT_TRUE(world.state.ports.contains("shop/late/api/6379"));
  world.judge_looks = true;
  world.settle();
  world.must(command::Promote{"shop/late", "ada"});
  world.settle();
  EXPECT_EQ(served(world, "shop/late"), 2U);
  EXPECT_EQ(world.state.ports.at("shop/late/api/6379"), port);
}

TEST(Environments, AnAssignedPortGivesWayToOneThatAReleaseDeclaresSince) {
  World world;
  ApplicationSpec spec = two_environments();
  spec.environments[0].name = "dev";  // its name comes before production's
  spec.environments[1].after = "dev";
  spec.services[1].ports = {{6379, 6379, "", Transport::tcp, ""}};
  world.release(spec);
  const std::uint16_t port = world.state.ports.at("shop/dev/api/6379");
  spec.services[1].ports[0].host = port;
  world.release(spec);
  ASSERT_EQ(served(world, "shop/production"), 2u);
  EXPECT_NE(world.state.ports.at("shop/dev/api/6379"), port);
  const RouteTable table = route::table_of(world.state);
  const auto route =
      std::ranges::find(table.host_ports, fmt::format("host:{}", port), &HostPortRoute::listener);
  ASSERT_NE(route, table.host_ports.end());
  EXPECT_EQ(route->environment, "production");
}

}  // namespace
}  // namespace naru::platform
