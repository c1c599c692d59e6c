#include <gmock/gmock.h>

#include <cmath>

#include "gateway/assign.h"
#include "gateway/test_world.h"

namespace naru::gateway::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string cookie_in(const std::string& answer) {
  const auto at = answer.find("Set-Cookie: naru_user=");
  return at == std::string::npos ? "" : answer.substr(at + 22, answer.find(';', at) - at - 22);
}

TEST(Cohorts, AUserWithoutACookieIsGivenOneThatKeepsItsSide) {
  World world;
  world.stable();
  world.canary(Backend::naming(), 5000);
  world.publish();
  int canary = 0;
  for (int i = 0; i < 40; ++i) {
    Client client(world.edge());
    client.send(get());
    const std::string first = client.read_answer();
    EXPECT_THAT(first, HasSubstr("; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax\r\n"));
    const std::string user = cookie_in(first);
    ASSERT_EQ(user.size(), 48U);
    client.send(get("/", "Cookie: naru_user=" + user + "\r\n"));
    const std::string second = client.read_answer();
    EXPECT_EQ(World::body_of(first), World::body_of(second));
    EXPECT_THAT(second, Not(HasSubstr("Set-Cookie")));
    canary += World::body_of(second) == "127.0.0.3";
  }
  EXPECT_GT(canary, 0);
  EXPECT_LT(canary, 40);
  const auto evidence = world.evidence();
  EXPECT_LE(evidence.stable.users_seen + evidence.canary.users_seen, 42U)
      << "cookieless requests count under one address";
  EXPECT_EQ(evidence.stable.requests + evidence.canary.requests, 80U);
}

TEST(Cohorts, SidesHoldAcrossARestartWithoutControl) {
  World world;
  world.stable();
  world.canary(Backend::naming(), 2500);
  world.publish();
  const auto sides = [&] {
    std::string out;
    Client client(world.edge());
    for (std::uint64_t user = 0; user < 200; ++user) {
      client.send(get("/", cookie(user)));
      out += World::body_of(client.read_answer()) == "127.0.0.3" ? 'c' : 's';
    }
    return out;
  };
  const std::string before = sides();
  const auto share = static_cast<double>(std::ranges::count(before, 'c'));
  EXPECT_NEAR(share, 50, 4 * std::sqrt(200 * 0.25 * 0.75));
  world.stop();
  world.start();
  EXPECT_EQ(world.steering->revision(), world.table.revision) << "the last table was on disk";
  EXPECT_EQ(sides(), before);
}

TEST(Cohorts, BaggageTellsTheSideToTheInstances) {
  World world;
  Backend& canary = world.canary();
  world.publish();
  world.ask(get("/", "Baggage: mine=1\r\n"));
  EXPECT_THAT(canary.heads().at(0), HasSubstr("Baggage: mine=1,naru-cohort=7:canary\r\n"));
}

TEST(Cohorts, AnInventedNameIsReplacedAndCountsAsItsAddress) {
  World world;
  world.stable();
  world.canary(Backend::naming(), 5000);
  world.publish();
  for (int i = 0; i < 40; ++i)
    EXPECT_NE(cookie_in(world.ask(get("/", fmt::format("Cookie: naru_user={:048x}\r\n", i)))), "");
  const auto evidence = world.evidence();
  EXPECT_EQ(evidence.stable.requests + evidence.canary.requests, 40U);
  EXPECT_LE(evidence.stable.users_seen, 1U);
  EXPECT_LE(evidence.canary.users_seen, 1U);
}

TEST(Cohorts, NamesThatOneAddressCollectsAreOneUser) {
  World world;
  world.stable();
  world.canary(Backend::naming(), 5000);
  world.publish();
  const auto seen = [&](const char* address) {
    const auto before = world.evidence();
    const std::string from = fmt::format("X-Forwarded-For: 1.1.1.1, {}\r\n", address);
    for (int i = 0; i < 40; ++i) {
      const std::string user = cookie_in(world.ask(get("/", from)));
      world.ask(get("/", from + "Cookie: naru_user=" + user + "\r\n"));
    }
    const auto after = world.evidence();
    return after.stable.users_seen + after.canary.users_seen - before.stable.users_seen -
           before.canary.users_seen;
  };
  EXPECT_LE(seen("203.0.113.9"), 4U) << "on each side the address, and what its names share";
  EXPECT_GE(seen("10.1.2.3"), 40U) << "people behind one private address are told apart";
}

TEST(Cohorts, AProxyOnThisMachineSaysForWhomItAsks) {
  World world;
  Backend& backend = world.stable();
  world.publish();
  world.ask(get("/", "X-Forwarded-For: 198.51.100.7, 203.0.113.9\r\nX-Forwarded-Proto: https\r\n"));
  world.ask(get("/", "X-Forwarded-For: 198.51.100.7, nonsense\r\n"));
  EXPECT_THAT(backend.heads().at(0), HasSubstr("\r\nX-Forwarded-For: 203.0.113.9\r\n"));
  EXPECT_THAT(backend.heads().at(0), HasSubstr("\r\nX-Forwarded-Proto: https\r\n"));
  EXPECT_THAT(backend.heads().at(0), HasSubstr("Forwarded: for=203.0.113.9;"));
  EXPECT_THAT(backend.heads().at(1), HasSubstr("\r\nX-Forwarded-For: 127.0.0.1\r\n"));
  EXPECT_THAT(backend.heads().at(1), HasSubstr("\r\nX-Forwarded-Proto: http\r\n"));
}

TEST(Cohorts, AClientElsewhereIsNotBelieved) {
  const std::string bytes = get("/", "X-Forwarded-For: 10.1.2.3\r\nX-Forwarded-Proto: https\r\n");
  http1::RequestHead head;
  std::size_t scanned = 0;
  ASSERT_EQ(http1::parse_request(bytes, scanned, head).outcome, http1::Outcome::complete);
  EXPECT_EQ(visitor_of(head, "203.0.113.9", false).ip, "203.0.113.9");
  EXPECT_FALSE(visitor_of(head, "203.0.113.9", false).https);
  EXPECT_EQ(visitor_of(head, "127.0.0.1", true).ip, "10.1.2.3");
}

TEST(Cohorts, TheApplicationsOwnCookieOrHeaderCanBeTheUser) {
  World world;
  world.stable();
  world.canary(Backend::naming(), 5000);
  world.environment().split->cohort_header = "X-Account";
  world.publish();
  for (int user = 0; user < 20; ++user) {
    const std::string header = fmt::format("X-Account: {}\r\n", user);
    const std::string first = world.ask(get("/", header));
    EXPECT_THAT(first, Not(HasSubstr("Set-Cookie")));
    EXPECT_EQ(World::body_of(first), World::body_of(world.ask(get("/", header + cookie(99)))));
  }
}

TEST(Cohorts, AFailingCanaryIsReplacedByStableAndCountedAgainstTheCanary) {
  World world;
  world.stable();
  world.canary(Backend::each(
      [](const std::string&, Backend&) { return answer("broken", "500 Internal Server Error"); }));
  world.publish();
  const std::string got = world.ask(get("/item?x=1", cookie(1)));
  EXPECT_THAT(got, StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(World::body_of(got), "127.0.0.2");
  const auto evidence = world.evidence();
  EXPECT_EQ(evidence.canary.users_bad, 1U);
  EXPECT_EQ(evidence.stable.requests, 0U) << "only the first attempt is evidence";
  ASSERT_EQ(evidence.failed.size(), 1U);
  EXPECT_EQ(evidence.failed[0].path, "/item");
  EXPECT_EQ(evidence.failed[0].status, 500);
  EXPECT_EQ(evidence.failed[0].side, ipc::Side::canary);
  EXPECT_EQ(evidence.failed[0].service, "web");
  EXPECT_EQ(evidence.failed[0].trace_id.size(), 32U);
  EXPECT_EQ(world.telemetry->service(1).outcomes[4], 1U);
}

// Fails as the path says.
void fail_by_path(Client& client, Backend& self) {
  if (!client.read_until("\r\n\r\n")) return;
  const std::string head = client.take(client.in.find("\r\n\r\n") + 4);
  self.saw(head);
  const std::string_view path = std::string_view(head).substr(head.find('/'));
  if (path.starts_with("/500 ")) client.send(answer("", "500 Internal Server Error"));
  if (path.starts_with("/malformed ")) client.send("220 mail.example ESMTP\r\n\r\n");
  if (path.starts_with("/silent ")) client.read_to_end();
}

std::string request(std::string_view method, std::string_view path, std::uint64_t user) {
  return fmt::format("{} {} HTTP/1.1\r\nHost: web.production.shop.localhost\r\n{}\r\n", method, path,
                     cookie(user));
}

TEST(Cohorts, WhateverOfASafeRequestFailsOnTheCanaryIsAskedOfStable) {
  World world({.first_byte = 300ms});
  Backend& stable = world.stable(Backend::each([](const std::string&, Backend&) { return answer(""); }));
  world.canary(fail_by_path);
  world.publish();
  std::uint64_t user = 0;
  for (const char* method : {"GET", "HEAD", "OPTIONS"})
    for (const char* path : {"/500", "/malformed", "/closed", "/silent"}) {
      EXPECT_THAT(world.ask(request(method, path, ++user)), StartsWith("HTTP/1.1 200")) << method << path;
      ASSERT_EQ(stable.heads().size(), user) << method << path;
      EXPECT_THAT(stable.heads().back(), StartsWith(fmt::format("{} {} HTTP/1.1", method, path)));
      EXPECT_EQ(world.evidence().canary.users_bad, user) << method << path;
    }
  EXPECT_EQ(world.telemetry->service(1).outcomes[6], 3U) << "the silent ones";
}

TEST(Cohorts, WhatIsNotSafeAndFailsOnTheCanaryIsNotRepeated) {
  World world({.first_byte = 300ms});
  Backend& stable = world.stable();
  world.canary(fail_by_path);
  world.publish();
  std::uint64_t user = 0;
  for (const char* method : {"POST", "PUT", "DELETE"})
    for (const auto& [path, status] :
         {std::pair{"/500", "500"}, {"/malformed", "502"}, {"/closed", "502"}, {"/silent", "504"}}) {
      EXPECT_THAT(world.ask(request(method, path, ++user)), StartsWith(fmt::format("HTTP/1.1 {}", status)))
          << method << path;
      EXPECT_EQ(world.evidence().canary.users_bad, user) << method << path;
    }
  EXPECT_TRUE(stable.heads().empty());
}

TEST(Cohorts, ACrashedCanaryCostsNobodyARequest) {
  World world;
  world.stable();
  Backend& canary = world.canary();
  world.publish();
  EXPECT_EQ(World::body_of(world.ask(get("/", cookie(1)))), "127.0.0.3");
  canary.stop();
  EXPECT_EQ(World::body_of(world.ask(get("/", cookie(2)))), "127.0.0.2");
  EXPECT_EQ(World::body_of(world.ask("POST / HTTP/1.1\r\nHost: web.production.shop.localhost\r\n" +
                                     cookie(3) + "Content-Length: 2\r\n\r\nab")),
            "127.0.0.2")
      << "nothing was sent, so anything may be sent elsewhere";
  EXPECT_EQ(world.evidence().canary.users_bad, 2U);
}

TEST(Cohorts, RetriesStayWithinTheirBudget) {
  World world;
  Backend& stable = world.stable();
  world.canary(Backend::each(
      [](const std::string&, Backend&) { return answer("broken", "500 Internal Server Error"); }));
  world.publish();
  Client client(world.edge());
  int failed = 0;
  constexpr int kRequests = 400;
  const MonoTime start = std::chrono::steady_clock::now();
  for (int i = 0; i < kRequests; ++i) {
    client.send(get("/", cookie(static_cast<std::uint64_t>(i))));
    failed += client.read_answer().starts_with("HTTP/1.1 500");
  }
  const double passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_GE(static_cast<double>(stable.heads().size()), kRequests * 0.2);
  EXPECT_LE(static_cast<double>(stable.heads().size()), 12 + kRequests * 0.2 + 10 * passed);
  EXPECT_EQ(failed + static_cast<int>(stable.heads().size()), kRequests);
}

TEST(Cohorts, SlowIsCountedOncePerUser) {
  World world;
  world.stable();
  world.canary();
  world.environment().split->slow_us = 1;
  world.publish();
  for (int i = 0; i < 3; ++i) world.ask(get("/", cookie(1)));
  EXPECT_EQ(world.evidence().canary.users_slow, 1U);
  EXPECT_EQ(world.evidence().canary.users_seen, 1U);
  EXPECT_EQ(world.evidence().canary.requests, 3U);
}

TEST(Cohorts, AnUnchangedServiceStillCountsItsUsersBySide) {
  World world;
  world.stable();
  world.environment().split = Split{7, 1, 2, "salt", kEverybody, 0, 0, "", ""};
  world.publish();
  world.ask(get("/", cookie(1)));
  EXPECT_EQ(world.evidence().canary.users_seen, 1U);
}

// The inner listener stands on the virtual address itself: without a redirection that is what the caller
// meant.
struct InnerWorld : World {
  InnerWorld() {
    stop();
    add_listener("inner:shop.production", ListenerKind::inner, bound("127.0.0.9", service_port));
    web().virtual_address = "127.0.0.9";
    environment().callers = {{"127.0.0.1", "cart", 2}};
    ServiceRoute cart{"cart", "127.0.0.10", {}, {}, {}, false};
    cart.stable = {1, 5, {}};
    environment().services.push_back(cart);
    start();
  }
  std::string call(std::string_view more = "") {
    Client client(service_port, "127.0.0.9");
    client.send(get("/", more, "web"));
    return body_of(client.read_answer());
  }
};

TEST(InnerCalls, FollowTheBaggageThenTheCallersReleaseThenADraw) {
  InnerWorld world;
  world.stable();
  world.canary(Backend::naming(), 0);
  world.publish();
  EXPECT_EQ(world.call("Baggage: naru-cohort=7:canary\r\n"), "127.0.0.3");
  EXPECT_EQ(world.call("Baggage: naru-cohort=6:canary\r\n"), "127.0.0.2") << "of an earlier rollout";
  EXPECT_EQ(world.telemetry->service(5).inner_calls, 2U) << "charged to the caller";
  EXPECT_EQ(world.telemetry->service(5).inner_without_cohort, 1U);
  const auto canary = std::exchange(world.web().canary, std::nullopt);
  world.publish();
  world.call();
  EXPECT_EQ(world.telemetry->service(5).inner_calls, 2U) << "an unchanged service is nobody's choice";
  world.web().canary = canary;
  world.environment().services[1].canary = RouteSide{2, 6, {}};
  world.publish();
  EXPECT_EQ(world.call(), "127.0.0.3") << "cart of release 2 calls web of release 2";
  world.environment().services[1].canary.reset();
  world.environment().split->weight = kEverybody;
  world.publish();
  EXPECT_EQ(world.call(), "127.0.0.3") << "everybody";
  EXPECT_EQ(world.evidence().canary.requests + world.evidence().stable.requests, 0U)
      << "evidence is counted at the edge only";
}

// A retry between services would hide the failure: no user would meet it, and the release would pass.
TEST(InnerCalls, ATcpConnectionThatTheCanaryRefusesIsNotTakenBackToStable) {
  InnerWorld world;
  world.web().ports[0].app_protocol = "tcp";
  world.stable([](Client& client, Backend&) { client.send("hello"); });
  world.canary().stop();
  world.environment().services[1].canary = RouteSide{2, 6, {}};
  world.publish();
  EXPECT_EQ(Client(world.service_port, "127.0.0.9").take(5), "") << "of release 2, as its caller";
  world.environment().split->weight = kEverybody;
  world.publish();
  EXPECT_EQ(Client(world.host_port()).take(5), "hello") << "a user at the edge is taken back";
}

TEST(InnerCalls, AreLeftOutOfTheRequestsAndTheLatencyOfUsers) {
  InnerWorld world;
  world.stable();
  world.publish();
  for (int i = 0; i < 3; ++i) world.call();
  world.ask(get("/", cookie(1)));
  EXPECT_EQ(world.telemetry->service(0).latency.total(), 4U);
  EXPECT_EQ(world.telemetry->edge_latency(0, 0).total(), 1U);
  EXPECT_EQ(world.telemetry->service(0).requests(), 4U);
  EXPECT_EQ(world.telemetry->service(0).user_requests, 1U);
}

}  // namespace
}  // namespace naru::gateway::testing
