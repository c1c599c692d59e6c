// Where datagrams between services go, as the deciders say it.
#include "platform/test_world.h"

namespace naru::platform {
namespace {

PortSpec udp(std::uint16_t port) {
  return {port, std::nullopt, "", Transport::udp, ""};
}

// web calls api over UDP.
ApplicationSpec with_udp() {
  ApplicationSpec spec = two_services();
  spec.services[1].ports = {udp(5353)};
  return spec;
}

std::string address_of(const World& world, const std::string& service, std::uint64_t version) {
  for (const auto& [id, instance] : world.state.instances)
    if (instance.service == service && world.state.release(instance.release)->version == version)
      return instance.address;
  return "nowhere";
}

std::vector<UdpTarget> to(const World& world, const std::string& address) {
  return {{world.production().virtual_addresses.at("api"), 5353, address}};
}

TEST(Udp, ADeclaredPortLeadsToAReadyInstance) {
  const World world = World::released(with_udp());
  EXPECT_EQ(world.udp.targets, to(world, address_of(world, "api", 1)));
  EXPECT_TRUE(world.udp.canary.empty());
  EXPECT_TRUE(world.state.outbox.empty());
}

TEST(Udp, WithoutADeclaredPortTheLauncherIsNotAsked) {
  const World world = World::released();
  EXPECT_FALSE(world.happened("UdpRoutesChanged"));
}

TEST(Udp, OneOfSeveralInstancesGetsThemAndAnotherOneWhenItDies) {
  ApplicationSpec spec = with_udp();
  spec.services[1].replicas = 2;
  spec.services[1].ports.push_back(udp(5353));  // said twice, in ports and in expose
  World world = World::released(spec);
  ASSERT_EQ(world.udp.targets.size(), 1U);
  const UdpTarget before = world.udp.targets[0];
  for (const auto& [id, instance] : std::map(world.state.instances))
    if (instance.service == "api" && instance.address != before.address)
      world.must(command::ContainerExited{instance.container(), 1, false});
  world.settle();
  EXPECT_EQ(world.udp.targets, (std::vector{before}));
  for (const auto& [id, instance] : std::map(world.state.instances))
    if (instance.address == before.address)
      world.must(command::ContainerExited{instance.container(), 1, false});
  const UdpRoutes now = route::udp_routes_of(world.state, "shop/production");
  ASSERT_EQ(now.targets.size(), 1U) << "the other one, at once";
  EXPECT_NE(now.targets[0].address, before.address);
}

TEST(Udp, InAStepEverybodyStaysWithTheOldReleaseButInstancesOfTheNewOne) {
  World world = World::released(with_udp());
  world.images["web"] = world.images["api"] = "new";
  world.release(with_udp());
  ASSERT_EQ(world.current().phase, RolloutPhase::stepping);
  EXPECT_EQ(world.udp.targets, to(world, address_of(world, "api", 1)));
  EXPECT_EQ(world.udp.canary, to(world, address_of(world, "api", 2)));
  EXPECT_EQ(world.udp.canary_callers,
            (std::vector{address_of(world, "api", 2), address_of(world, "web", 2)}));
  for (int step = 0; step < 3; ++step) {
    world.judge(command::Outcome::promote);
    world.settle();
  }
  EXPECT_EQ(world.udp.targets, to(world, address_of(world, "api", 2)));
  EXPECT_TRUE(world.udp.canary.empty() && world.udp.canary_callers.empty());
}

TEST(Udp, ANewReleasesServicesFindEachOtherOnAPortThatIsNew) {
  World world = World::released();
  world.images["web"] = "new";
  world.release(with_udp());
  ASSERT_EQ(world.current().phase, RolloutPhase::stepping);
  EXPECT_TRUE(world.udp.targets.empty());
  EXPECT_EQ(world.udp.canary, to(world, address_of(world, "api", 2)));
  world.judge(command::Outcome::roll_back);
  world.settle();
  EXPECT_TRUE(world.udp.empty());
}

TEST(Udp, AnInstanceStopsOnlyWhenNoDatagramGoesThereAnyMore) {
  World world = World::released(with_udp());
  world.release_new("api");
  world.launcher_sets_udp = false;  // the kernel still sends to the old one
  world.must(command::Promote{"shop/production", "ada"});
  world.settle();
  EXPECT_EQ(world.count("api"), 2);
  world.launcher_sets_udp = true;
  world.settle();
  EXPECT_EQ(world.count("api"), 1);
  EXPECT_EQ(world.udp.targets, to(world, address_of(world, "api", 2)));
}

TEST(Udp, AKernelThatCannotIsToldAndHoldsNothingUp) {
  World world;
  world.no_udp = "the kernel cannot";
  world.release(with_udp());
  EXPECT_EQ(world.current().phase, RolloutPhase::done);
  EXPECT_EQ(world.production().udp_error, "the kernel cannot");
  EXPECT_EQ(std::ranges::count(world.names, "UdpRoutesRefused"), 1) << "each try says the same: told once";
  world.images["api"] = "new";
  world.push(world.spec);
  world.settle();
  world.must(command::Promote{"shop/production", "ada"});
  world.settle();
  EXPECT_EQ(world.count("api"), 1) << "what never got a datagram need not wait for the last one";
  world.no_udp.clear();
  world.settle(5);
  EXPECT_EQ(world.production().udp_error, "");
  EXPECT_EQ(world.udp.targets, to(world, address_of(world, "api", 2)));
}

TEST(Udp, WhatChangedWhileItWasOnItsWayIsSentAgain) {
  World world = World::released(with_udp());
  world.launcher_sets_udp = false;
  const Instance api = std::ranges::find_if(world.state.instances, [](const auto& row) {
                         return row.second.service == "api";
                       })->second;
  world.must(command::ContainerExited{api.container(), 1, false});
  const std::string digest = route::digest_of(route::udp_routes_of(world.state, "shop/production"));
  const auto asked = [&] {
    return std::ranges::find_if(
        world.state.outbox, [](const auto& row) { return row.second.kind == ActionKind::set_udp_routes; });
  };
  ASSERT_NE(asked(), world.state.outbox.end());
  world.settle(20);  // it is ready again, elsewhere
  EXPECT_EQ(
      std::ranges::count_if(world.state.outbox,
                            [](const auto& row) { return row.second.kind == ActionKind::set_udp_routes; }),
      1);
  world.must(command::UdpRoutesSet{asked()->first, "shop/production", digest});
  EXPECT_NE(asked(), world.state.outbox.end());
  world.launcher_sets_udp = true;
  world.settle(5);
  EXPECT_EQ(world.udp.targets, to(world, address_of(world, "api", 1)));
}

TEST(Udp, AnApplicationThatGoesTakesItsTargetsAlong) {
  World world = World::released(with_udp());
  world.must(command::StopEnvironment{"shop/production"});
  world.settle();
  EXPECT_TRUE(world.udp.empty());
  world.must(command::RemoveApp{"shop"});
  world.must(command::UdpRoutesSet{999'999, "shop/production", "old news"});
  world.settle(3);
  EXPECT_TRUE(world.state.outbox.empty());
}

}  // namespace
}  // namespace naru::platform
