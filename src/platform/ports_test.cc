#include "platform/test_world.h"

#include "route/bounds.h"
#include "route/snapshot.h"

namespace naru::platform {
namespace {

// An image may EXPOSE ten thousand: what is published is one table for all applications.
TEST(Ports, AnImageThatExposesManyPortsHoldsNobodyElseUp) {
  World world;
  for (std::uint16_t port = 10'000; port < 11'200; ++port) world.exposed.push_back(port);
  world.release(two_services());
  const auto snapshot = route::Snapshot::compile(route::table_of(world.state));
  EXPECT_TRUE(snapshot->left_out().empty()) << snapshot->left_out()[0];
  const route::Service* web = snapshot->by_host("web.production.shop.localhost");
  ASSERT_NE(web, nullptr);
  EXPECT_EQ(web->http_port(), 10'000) << "the first that may speak HTTP";
}

TEST(Ports, HostPortsOfAllApplicationsAreBounded) {
  World world = World::released();
  ApplicationSpec greedy = two_services();
  greedy.rollout.strategy = StrategyKind::all_at_once;
  for (std::size_t i = 0; i < route::kMaxHostPorts; ++i) {
    PortSpec port;
    port.container = static_cast<std::uint16_t>(1 + i);
    port.host = static_cast<std::uint16_t>(30'000 + i);
    greedy.services[0].ports.push_back(port);
  }
  EXPECT_TRUE(route::check_host_ports_fit(world.state, "shop", greedy));
  world.release(greedy);
  EXPECT_EQ(route::listeners_of(world.state).size(), route::kMaxHostPorts + 3);
  const auto refused = route::check_host_ports_fit(world.state, "other", greedy);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::too_large);
  EXPECT_TRUE(route::check_host_ports_fit(world.state, "other", two_services()));
  greedy.services[0].ports.push_back(greedy.services[0].ports.back());
  EXPECT_FALSE(route::check_host_ports_fit(world.state, "shop", greedy));
}

TEST(Ports, APortIsPublishedOnTwoAddresses) {
  World world = World::released();
  ApplicationSpec both = two_services();
  both.rollout.strategy = StrategyKind::all_at_once;
  for (const char* address : {"127.0.0.1", "::1"}) {
    PortSpec port;
    port.container = 80;
    port.host = 8'000;
    port.host_ip = address;
    both.services[0].ports.push_back(port);
  }
  world.release(both);
  const RouteTable table = route::table_of(world.state);
  std::set<std::string> listening;
  for (const ListenerSpec& listener : route::listeners_of(world.state))
    if (listener.port == 8'000) listening.insert(listener.name);
  EXPECT_EQ(listening, (std::set<std::string>{"host:8000@127.0.0.1", "host:8000@::1"}));
  ASSERT_EQ(table.host_ports.size(), 2U);
  for (const HostPortRoute& route : table.host_ports) EXPECT_TRUE(listening.contains(route.listener));
}

}  // namespace
}  // namespace naru::platform
