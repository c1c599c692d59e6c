// Calls between services that share no network, and callers that the table does not name yet.
#include "base/rng.h"
#include "gateway/dns_service.h"
#include "gateway/test_world.h"

namespace naru::gateway::testing {
namespace {

Bounds impatient() {
  Bounds bounds;
  bounds.caller = 300ms;
  return bounds;
}

// The caller is 127.0.0.1, an instance of `cart`; `web` answers at 127.0.0.9 as at its virtual address.
struct CallersWorld : World {
  explicit CallersWorld(Bounds of = {}) : World(of) {
    stop();
    add_listener("inner:shop.production", ListenerKind::inner, bound("127.0.0.9", service_port));
    add_listener("dns-tcp:shop.production", ListenerKind::dns_tcp, bound("127.0.0.1"));
    web().virtual_address = "127.0.0.9";
    ServiceRoute cart{"cart", "127.0.0.10", {}, {}, {}, false};
    cart.stable = {1, 5, {}};
    environment().services.push_back(cart);
    environment().reaches = {{{"cart"}, true}, {{"cart", "web"}, true}, {{"cart", "web"}, false}};
    start();
  }
  // Of the caller: for users of the old release, of the new one.
  void caller(std::optional<std::uint32_t> reach, std::optional<std::uint32_t> canary_reach) {
    environment().callers = {{"127.0.0.1", "cart", 0, reach, canary_reach}};
    publish();
  }
  // A whole exchange; "reset" when the connection ended so, "" when it ended otherwise.
  std::string call() {
    Client client(service_port, "127.0.0.9");
    client.send(get("/", "", "web"));
    const std::string got = body_of(client.read_answer());
    return got.empty() && errno == ECONNRESET ? "reset" : got;
  }
  int dns_code(std::string_view name) {
    std::string bytes("\0\7\1\0\0\1\0\0\0\0\0\0", 12);
    while (!name.empty()) {
      const std::string_view label = name.substr(0, name.find('.'));
      bytes += static_cast<char>(label.size());
      bytes += label;
      name.remove_prefix(std::min(label.size() + 1, name.size()));
    }
    bytes += std::string("\0\0\1\0\1", 5);
    Client client(port_of_socket(sockets.back().get()));
    client.send(std::string{0, static_cast<char>(bytes.size())} + bytes);
    const std::string got = client.take(2 + 12);
    return got.size() < 14 ? -1 : got[5] & 15;
  }
};

TEST(Callers, AreResetWhereTheyShareNoNetworkAndCounted) {
  CallersWorld world;
  world.stable();
  world.caller(1, 1);
  EXPECT_EQ(world.call(), "127.0.0.2");
  EXPECT_EQ(world.steering->refused_calls(), 0U);
  world.caller(0, 0);
  EXPECT_EQ(world.call(), "reset");
  EXPECT_EQ(world.steering->refused_calls(), 1U);
  EXPECT_EQ(world.ask(get()).substr(0, 12), "HTTP/1.1 200") << "users of the edge reach it";
  world.web().ports[0].app_protocol = "tcp";
  world.publish();
  EXPECT_EQ(world.call(), "reset");
}

TEST(Callers, LoseAKeptConnectionsNextRequestWithTheNetwork) {
  CallersWorld world;
  world.stable();
  world.caller(1, 1);
  Client client(world.service_port, "127.0.0.9");
  client.send(get("/", "", "web"));
  EXPECT_EQ(World::body_of(client.read_answer()), "127.0.0.2");
  world.caller(0, 0);
  client.send(get("/", "", "web"));
  EXPECT_EQ(client.read_answer(), "");
}

TEST(Callers, OfBothReleasesAreHeldToTheUsers) {
  CallersWorld world;
  world.stable();
  world.canary(Backend::naming(), 0);
  world.caller(1, 0);
  EXPECT_EQ(world.call(), "127.0.0.2");
  world.environment().split->weight = kEverybody;
  world.publish();
  EXPECT_EQ(world.call(), "reset");
  world.web().ports[0].app_protocol = "tcp";
  world.publish();
  EXPECT_EQ(world.call(), "reset");
  world.caller(0, 1);
  EXPECT_EQ(world.call(), "127.0.0.3");
}

TEST(Callers, WhomTheTableDoesNotNameYetWaitForIt) {
  CallersWorld world;
  world.stable();
  world.publish();
  std::string answer;
  int code = 0;
  std::thread early([&] { answer = world.call(); });
  std::thread asking([&] { code = world.dns_code("web"); });
  EXPECT_TRUE(World::eventually([&] { return world.held_requests() == 2U; }));
  world.caller(1, 1);
  early.join();
  asking.join();
  EXPECT_EQ(answer, "127.0.0.2");
  EXPECT_EQ(code, 0);
}

TEST(Callers, WhomTheTableNeverNamesReachNothing) {
  CallersWorld world(impatient());
  world.stable();
  world.environment().reaches.clear();
  world.publish();
  EXPECT_EQ(world.call(), "reset");
  EXPECT_EQ(world.dns_code("web"), 2) << "not NXDOMAIN: nobody knows yet";
  EXPECT_EQ(world.dns_code("example.org"), 2);
}

TEST(Callers, KnowNoNameOfWhatTheyShareNoNetworkWith) {
  CallersWorld world;
  world.caller(1, 1);
  EXPECT_EQ(world.dns_code("web"), 0);
  EXPECT_EQ(world.dns_code("web.production.shop"), 0);
  world.caller(0, 0);
  EXPECT_EQ(world.dns_code("cart"), 0);
  for (const char* name :
       {"web", "WEB", "web.production.shop", "web.production.shop.localhost", "web.internal"})
    EXPECT_EQ(world.dns_code(name), 3) << name;
  world.caller(0, 1);
  EXPECT_EQ(world.dns_code("web"), 0) << "for users of one of the two releases";
}

TEST(Callers, WhoAreInternalAskNobodyOutside) {
  const format::DnsQuery query = *format::parse_dns_query(
      std::string("\0\7\1\0\0\1\0\0\0\0\0\0\7secrets\7example\3org\0\0\1\0\1", 12 + 21 + 4));
  CallersWorld world;
  world.environment().callers = {{"127.0.0.1", "cart", 0, 2, 2}, {"127.0.0.2", "web", 0, 1, 1}};
  const auto snapshot = route::Snapshot::compile(world.table);
  const route::Environment* environment = snapshot->by_network("shop.production");
  EXPECT_EQ(decide_dns(query, environment, environment->caller(0x7f000001)).kind, DnsDecision::Kind::refuse);
  EXPECT_EQ(decide_dns(query, environment, environment->caller(0x7f000002)).kind, DnsDecision::Kind::forward);
}

TEST(Callers, OfATableThatContradictsItselfAreLeftOutWithTheirEnvironment) {
  CallersWorld world;
  world.environment().callers = {{"127.0.0.1", "cart", 0, 3, std::nullopt}};
  const auto snapshot = route::Snapshot::compile(world.table);
  EXPECT_EQ(snapshot->by_network("shop.production"), nullptr);
  EXPECT_EQ(snapshot->left_out().size(), 1U);
}

}  // namespace
}  // namespace naru::gateway::testing
