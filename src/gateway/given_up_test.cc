// Clients that leave before they are answered: what they say about a release, and what not.
#include <gmock/gmock.h>

#include "gateway/test_world.h"

namespace naru::gateway::testing {
namespace {

using ipc::Outcome;
using ipc::Side;

// Silent at every path with /hang; it hears when its caller leaves.
Backend::Serve hanging(std::string_view begin = "") {
  return [begin = std::string(begin)](Client& client, Backend& self) {
    while (client.read_until("\r\n\r\n")) {
      const std::string head = client.take(client.in.find("\r\n\r\n") + 4);
      self.saw(head);
      if (head.find(" /hang") == head.npos && !client.send(answer(self.name))) return;
      if (head.find(" /hang") != head.npos && !client.send(begin)) return;
    }
    self.saw("left");
  };
}

// The first look at a client is later than its patience and than the objective: whoever leaves has waited
// long enough, without a wait of the test's.
struct GivenUp : World {
  explicit GivenUp(milliseconds patience = 100ms, milliseconds slow = 50ms)
      : World({.client_check = 100ms, .patience = patience, .ended_side = 100ms}),
        slow_us(std::chrono::duration_cast<microseconds>(slow).count()) {}

  void begin(Side side, std::string_view answer_begins = "") {
    begins = answer_begins;
    stable(hanging(answer_begins));
    canary(hanging(answer_begins), side == Side::canary ? 10'000 : 0);
    environment().split->slow_us = slow_us;
    publish();
    slot = side == Side::canary ? 1 : 0;
  }
  // Returns when the gateway has noticed that the client left.
  void give_up(std::uint64_t user, std::string_view path = "/hang") {
    Backend& backend = *backends[slot];
    const std::size_t before = backend.heads().size();
    Client client(edge());
    client.send(get(path, cookie(user)));
    ASSERT_TRUE(eventually([&] { return backend.heads().size() > before; }));
    ASSERT_TRUE(client.read_until(begins.substr(begins.rfind('\n') + 1)));
    client.close_now();
    ASSERT_TRUE(eventually([&] { return backend.heads().size() > before + 1; }))
        << "the instance hears of it";
    ASSERT_TRUE(eventually([&] { return telemetry->service(slot).active == 0; }));
  }
  std::uint64_t given_up() const {
    return telemetry->service(slot).outcomes[static_cast<std::size_t>(Outcome::given_up)];
  }

  const std::int64_t slow_us;
  std::uint32_t slot = 0;
  std::string begins;
};

TEST(GivenUp, WhoMetNothingElseIsSlowAndBadOnWhicheverSide) {
  for (const Side side : {Side::stable, Side::canary}) {
    GivenUp world;
    world.begin(side);
    for (const std::uint64_t user : {1, 1, 1, 2}) world.give_up(user);
    const auto evidence = world.evidence();
    const ipc::SideCounters &met = evidence.side(side),
                            &other = evidence.side(side == Side::stable ? Side::canary : Side::stable);
    EXPECT_EQ(met.users_seen, 2U) << "however often he tries";
    EXPECT_EQ(met.users_bad, 2U);
    EXPECT_EQ(met.users_slow, 2U);
    EXPECT_EQ(met.requests, 4U);
    EXPECT_EQ(other.requests, 0U);
    ASSERT_EQ(evidence.failed.size(), 2U);
    EXPECT_EQ(evidence.failed[0].outcome, Outcome::given_up);
    EXPECT_EQ(evidence.failed[0].path, "/hang");
    EXPECT_EQ(evidence.failed[0].status, 0);
    EXPECT_GE(evidence.failed[0].duration_us, 100'000U);
    EXPECT_EQ(world.given_up(), 4U);
    EXPECT_EQ(world.telemetry->service(world.slot).user_requests, 4U);
    EXPECT_EQ(world.telemetry->service(world.slot).failures(), 0U)
        << "people leave for reasons of their own, too";
  }
}

TEST(GivenUp, WhoWasAnsweredBeforeIsSlowAlone) {
  GivenUp world;
  world.begin(Side::canary);
  EXPECT_EQ(World::body_of(world.ask(get("/", cookie(1)))), "127.0.0.3");
  world.give_up(1);
  const auto evidence = world.evidence();
  EXPECT_EQ(evidence.canary.users_seen, 1U);
  EXPECT_EQ(evidence.canary.users_slow, 1U);
  EXPECT_EQ(evidence.canary.users_bad, 0U);
  EXPECT_TRUE(evidence.failed.empty());
}

TEST(GivenUp, CountsWhenAnswersAreNotJudgedByTheirLatency) {
  GivenUp world(100ms, 0ms);
  world.begin(Side::canary);
  world.give_up(1);
  EXPECT_EQ(world.evidence().canary.users_slow, 1U);
  EXPECT_EQ(world.evidence().canary.users_bad, 1U);
}

TEST(GivenUp, WhoLeavesWhileAGoodReleaseMayBeSilentSaysNothing) {
  for (const auto& [patience, slow] : {std::pair{60'000ms, 50ms}, {100ms, 60'000ms}, {60'000ms, 0ms}}) {
    GivenUp world(patience, slow);
    world.begin(Side::canary);
    world.give_up(1);
    const auto evidence = world.evidence();
    EXPECT_EQ(evidence.canary.users_seen, 0U);
    EXPECT_EQ(evidence.canary.requests, 0U);
    EXPECT_EQ(evidence.canary.users_slow, 0U);
    EXPECT_EQ(world.given_up(), 1U);
  }
}

// What its instance was silent for while the body came is the client's own time.
TEST(GivenUp, WhoCutsItsOwnBodyShortSaysNothing) {
  GivenUp world;
  world.begin(Side::canary);
  Client client(world.edge());
  client.send(fmt::format(
      "POST /hang HTTP/1.1\r\nHost: web.production.shop.localhost\r\n{}Content-Length: 9\r\n\r\nab",
      cookie(1)));
  ASSERT_TRUE(World::eventually([&] { return world.backends[1]->heads().size() == 1; }));
  client.close_now();
  ASSERT_TRUE(World::eventually([&] { return world.backends[1]->heads().size() == 2; }));
  ASSERT_TRUE(World::eventually([&] { return world.telemetry->service(1).active == 0; }));
  EXPECT_EQ(world.evidence().canary.users_seen, 0U);
  EXPECT_EQ(world.given_up(), 0U);
}

TEST(GivenUp, InTheMiddleOfAnAnswerIsSlowWhenMoreWasPromised) {
  GivenUp world;
  world.begin(Side::canary, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npartial");
  world.give_up(1);
  const auto evidence = world.evidence();
  EXPECT_EQ(evidence.canary.requests, 1U);
  EXPECT_EQ(evidence.canary.users_slow, 1U);
  EXPECT_EQ(evidence.canary.users_bad, 0U);
}

TEST(GivenUp, InAStreamThatMayBeSilentSaysNothing) {
  GivenUp world(100ms, 0ms);  // its beginning is slow on no machine
  world.begin(Side::canary, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin");
  world.give_up(1);
  EXPECT_EQ(world.evidence().canary.users_seen, 1U);
  EXPECT_EQ(world.evidence().canary.users_slow, 0U);
}

}  // namespace
}  // namespace naru::gateway::testing
