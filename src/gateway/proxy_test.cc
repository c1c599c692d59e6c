#include <gmock/gmock.h>

#include "gateway/test_world.h"

namespace naru::gateway::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(Gateway, RoutesByHostAndByHostPort) {
  World world;
  Backend& backend = world.stable();
  EXPECT_EQ(world.publish()["acked"], 2);
  EXPECT_THAT(world.ask(get("/a?b=c")), StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_EQ(World::body_of(world.ask(get("/", "", "anything"), world.host_port())), "127.0.0.2");
  ASSERT_EQ(backend.heads().size(), 2U);
  EXPECT_THAT(backend.heads()[0],
              StartsWith("GET /a?b=c HTTP/1.1\r\nHost: web.production.shop.localhost\r\n"));
}

TEST(Gateway, ARequestBeforeTheFirstTableWaitsForIt) {
  World world;
  world.stable();
  Client client(world.edge());
  client.send(get());
  world.publish();
  EXPECT_THAT(client.read_answer(), StartsWith("HTTP/1.1 200"));
}

TEST(Gateway, TellsTheInstanceWhoAskedAndBelievesNobodyElse) {
  World world;
  Backend& backend = world.stable();
  world.publish();
  world.ask(get("/",
                "X-Forwarded-For: 6.6.6.6, 127.0.0.1\r\nForwarded: for=6.6.6.6\r\nBaggage: a=1, "
                "naru-cohort=7:canary ,b=2\r\n"
                "Connection: keep-alive, x-secret\r\nX-Secret: 1\r\nTE: trailers\r\n"
                "Keep-Alive: 5\r\n"));
  const std::string head = backend.heads().at(0);
  EXPECT_THAT(head, HasSubstr("X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: "
                              "web.production.shop.localhost\r\n"));
  EXPECT_THAT(head, HasSubstr("Forwarded: for=127.0.0.1;"));
  EXPECT_THAT(head, HasSubstr("Baggage: a=1,b=2\r\n"));
  EXPECT_THAT(head, HasSubstr("Traceparent: 00-"));
  for (const char* gone : {"6.6.6.6", "naru-cohort", "X-Secret", "TE:", "Keep-Alive"})
    EXPECT_THAT(head, Not(HasSubstr(gone)));
}

TEST(Gateway, PassesTheCallersTraceOn) {
  World world;
  Backend& backend = world.stable();
  world.publish();
  const std::string trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  world.ask(get("/", "traceparent: " + trace + "\r\ntracestate: a=b\r\n"));
  world.ask(get("/", "traceparent: 00-zz\r\ntracestate: a=b\r\n"));
  EXPECT_THAT(backend.heads().at(0), HasSubstr(trace));
  EXPECT_THAT(backend.heads().at(0), HasSubstr("tracestate: a=b"));
  EXPECT_THAT(backend.heads().at(1), Not(HasSubstr("00-zz")));
  EXPECT_THAT(backend.heads().at(1), Not(HasSubstr("tracestate")));
}

TEST(Gateway, KeepsConnectionsOpenOnBothSides) {
  World world;
  Backend& backend = world.stable();
  world.publish();
  Client client(world.edge());
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(client.send(get()));
    ASSERT_THAT(client.read_answer(), StartsWith("HTTP/1.1 200"));
  }
  EXPECT_EQ(backend.connections, 1);
  ASSERT_TRUE(client.send(get() + get("/2") + get("/3"))) << "pipelined";
  for (int i = 0; i < 3; ++i) EXPECT_THAT(client.read_answer(), StartsWith("HTTP/1.1 200"));
}

TEST(Gateway, AnswersHeadWithoutABodyAndHttp10WithClose) {
  World world;
  world.stable(Backend::each([](const std::string& head, Backend&) {
    return head.starts_with("HEAD") ? std::string("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
                                    : answer("hello");
  }));
  world.publish();
  Client client(world.edge());
  client.send("HEAD / HTTP/1.1\r\nHost: web.production.shop.localhost\r\n\r\n" + get());
  const std::string head = client.read_answer(true);
  EXPECT_THAT(head, HasSubstr("Content-Length: 5"));
  EXPECT_THAT(client.read_answer(), HasSubstr("hello"));
  Client old(world.edge());
  old.send("GET / HTTP/1.0\r\nHost: web.production.shop.localhost\r\n\r\n");
  EXPECT_THAT(old.read_to_end(), HasSubstr("Connection: close"));
}

TEST(Gateway, SaysWhatIsWrongWhenNobodyCanAnswer) {
  World world;
  world.publish();
  const std::string none = world.ask(get());
  EXPECT_THAT(none, StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(none, HasSubstr("no ready instance of shop/web"));
  EXPECT_THAT(none, HasSubstr("naru app start"));
  world.stable().stop();
  world.publish();
  EXPECT_THAT(world.ask(get()), StartsWith("HTTP/1.1 502"));
}

TEST(Gateway, TellsWhatIsKnownHereToPeopleAtThisMachineWithThePortThatTheyUsed) {
  World world;
  world.publish();
  const std::string known = "web.production.shop.localhost";
  const std::string at_port = world.ask(get("/", "", "nobody.example:8080"));
  EXPECT_THAT(at_port, StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(at_port, HasSubstr("\n  http://" + known + ":8080\n"));
  EXPECT_THAT(world.ask(get("/", "", "nobody.example")), HasSubstr("\n  http://" + known + "\n"));
  EXPECT_THAT(world.ask(get("/", "", "[::1]")), HasSubstr("\n  http://" + known + "\n"));
  EXPECT_THAT(world.ask(get("/", "X-Forwarded-For: 127.0.0.1\r\n", "nobody.example")), HasSubstr(known));
}

TEST(Gateway, TellsOthersOnlyThatNothingIsKnownByThatName) {
  World world;
  world.publish();
  for (const char* proxy :
       {"X-Forwarded-For: 203.0.113.9\r\n", "X-Forwarded-For: 127.0.0.1, 10.1.2.3\r\n",
        "Forwarded: for=203.0.113.9\r\n", "X-Real-IP: 203.0.113.9\r\n", "Via: 1.1 edge\r\n"}) {
    const std::string unknown = world.ask(get("/", proxy, "nobody.example:8080"));
    EXPECT_THAT(unknown, StartsWith("HTTP/1.1 404")) << proxy;
    EXPECT_THAT(unknown, HasSubstr("Nothing is known by the host name 'nobody.example:8080'.")) << proxy;
    EXPECT_THAT(unknown, Not(HasSubstr("shop"))) << proxy;
  }
}

TEST(Gateway, MalformedHeadsNeverReachAnInstance) {
  World world;
  Backend& backend = world.stable();
  world.publish();
  const std::string host = "Host: web.production.shop.localhost\r\n";
  const std::vector<std::string> bad = {
      "GET / HTTP/1.1\n" + host + "\r\n",
      "GET / HTTP/1.1\r\nHost : web.production.shop.localhost\r\n\r\n",
      "GET / HTTP/1.1\r\n" + host + host + "\r\n",
      "GET / HTTP/1.1\r\n\r\n",
      "GET  / HTTP/1.1\r\n" + host + "\r\n",
      "GET / HTTP/1.1 \r\n" + host + "\r\n",
      "GET / HTTP/2.0\r\n" + host + "\r\n",
      "GET / http/1.1\r\n" + host + "\r\n",
      "GET /\r\n" + host + "\r\n",
      "GET\t/ HTTP/1.1\r\n" + host + "\r\n",
      "G@T / HTTP/1.1\r\n" + host + "\r\n",
      "GET / HTTP/1.1\r\n" + host + "X: a\r\n b\r\n\r\n",
      "GET / HTTP/1.1\r\n" + host + ": x\r\n\r\n",
      "GET / HTTP/1.1\r\n" + host + "X\r\n\r\n",
      "GET / HTTP/1.1\r\n" + host + std::string("X: a\0b\r\n\r\n", 11),
      "GET / HTTP/1.1\r\n" + host + "X: a\rb\r\n\r\n",
      "GET / HTTP/1.1\r\n" + host + "X: a\nY: b\r\n\r\n",
      "POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
      "POST / HTTP/1.1\r\n" + host + "Content-Length: +1\r\n\r\na",
      "POST / HTTP/1.1\r\n" + host + "Content-Length: 1,1\r\n\r\na",
      "POST / HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n",
      "POST / HTTP/1.1\r\n" + host + "Content-Length: 99999999999999999999\r\n\r\n",
      "POST / HTTP/1.1\r\n" + host + "Content-Length: 0x1\r\n\r\na",
      "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\n" + host +
          "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: identity\r\n\r\n",
      "POST / HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
      "GET http://other/ HTTP/1.1\r\n" + host + "\r\n",
      "GET x HTTP/1.1\r\n" + host + "\r\n",
      "GET /\x7f HTTP/1.1\r\n" + host + "\r\n",
      "\r\n\r\n\r\nGET / HTTP/1.1\r\n" + host + "\r\n",
      "GET / HTTP/1.1\r\n" + host + "X[]: 1\r\n\r\n",
      "GET / HTTP/1.1\r\n" + host + "X: " + std::string(70'000, 'a') + "\r\n\r\n",
      "GET /" + std::string(40'000, 'a') + " HTTP/1.1\r\n" + host + "\r\n"};
  EXPECT_GE(bad.size(), 31U);
  for (const std::string& request : bad) {
    Client client(world.edge());
    client.send(request);
    shutdown(client.fd(), SHUT_WR);
    const std::string said = client.read_to_end();
    EXPECT_THAT(said, ::testing::AnyOf(StartsWith("HTTP/1.1 4"), StartsWith("HTTP/1.1 5")))
        << request.substr(0, 200);
    if (said.empty()) continue;
    EXPECT_THAT(said, HasSubstr("Connection: close")) << request.substr(0, 200);
  }
  EXPECT_TRUE(backend.heads().empty()) << backend.heads()[0];
  EXPECT_THAT(world.ask(get()), StartsWith("HTTP/1.1 200")) << "and the gateway goes on";
}

// Echoes bodies: Content-Length as such, chunked as chunked.
Backend::Serve echo_bodies() {
  return [](Client& client, Backend& self) {
    while (client.read_until("\r\n\r\n")) {
      const std::string head = client.take(client.in.find("\r\n\r\n") + 4);
      self.saw(head);
      if (const auto at = head.find("Content-Length: "); at != std::string::npos) {
        const std::size_t length = std::stoul(head.substr(at + 16));
        if (!client.send(answer(client.take(length)))) return;
      } else {
        if (!client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")) return;
        while (client.in.find("0\r\n\r\n") == std::string::npos || !client.in.ends_with("0\r\n\r\n")) {
          if (!client.send(std::exchange(client.in, {}))) return;
          if (!client.read_some()) return;
        }
        client.send(std::exchange(client.in, {}));
      }
    }
  };
}

TEST(Gateway, CarriesLargeBodiesBothWays) {
  World world;
  world.stable(echo_bodies());
  world.publish();
  std::string body(8U << 20, 'x');
  for (std::size_t i = 0; i < body.size(); i += 997) body[i] = static_cast<char>('a' + i % 26);
  Client client(world.edge());
  for (int round = 0; round < 2; ++round) {
    std::jthread sender([&] {
      client.send(
          fmt::format("POST / HTTP/1.1\r\nHost: web.production.shop.localhost\r\nContent-Length: {}\r\n\r\n",
                      body.size()));
      client.send(body);
    });
    const std::string got = client.read_answer();
    EXPECT_TRUE(World::body_of(got) == body) << got.size();
  }
}

TEST(Gateway, CarriesChunkedBodiesWhileTheyAreStillComing) {
  World world;
  world.stable(echo_bodies());
  world.publish();
  Client client(world.edge());
  client.send(
      "POST / HTTP/1.1\r\nHost: web.production.shop.localhost\r\nTransfer-Encoding: "
      "chunked\r\n\r\n5\r\nhello\r\n");
  ASSERT_TRUE(client.read_until("hello")) << "the answer begins before the request has ended";
  client.send("6;ext=1\r\n world\r\n0\r\nTrailer: x\r\n\r\n" + get("/next", "Content-Length: 0\r\n"));
  ASSERT_TRUE(client.read_until("0\r\n\r\n"));
  EXPECT_THAT(client.in, HasSubstr(" world\r\n"));
  EXPECT_THAT(client.in, Not(HasSubstr("Trailer")));
  client.take(client.in.find("0\r\n\r\n") + 5);
  EXPECT_THAT(client.read_answer(), StartsWith("HTTP/1.1 200")) << "the next request on the same connection";
}

TEST(Gateway, AnswersExpectContinueItself) {
  World world;
  Backend& backend = world.stable(echo_bodies());
  world.publish();
  Client client(world.edge());
  client.send(
      "POST / HTTP/1.1\r\nHost: web.production.shop.localhost\r\nContent-Length: 5\r\nExpect: "
      "100-continue\r\n\r\n");
  ASSERT_TRUE(client.read_until("100 Continue\r\n\r\n"));
  client.in.clear();
  client.send("hello");
  EXPECT_THAT(client.read_answer(), HasSubstr("hello"));
  EXPECT_THAT(backend.heads()[0], Not(HasSubstr("Expect")));
}

TEST(Gateway, ABadChunkedBodyIsNamedAndNeverLooksWhole) {
  std::atomic<bool> whole{false};
  World world;
  world.stable([&](Client& client, Backend&) { whole = client.read_until("0\r\n\r\n"); });
  world.publish();
  Client client(world.edge());
  client.send(
      "POST / HTTP/1.1\r\nHost: web.production.shop.localhost\r\nTransfer-Encoding: "
      "chunked\r\n\r\n3\r\nabc\r\nzz\r\n");
  EXPECT_THAT(client.read_to_end(), StartsWith("HTTP/1.1 400"));
  EXPECT_FALSE(whole);
}

TEST(Gateway, AnAnswerThatIsCutIsCutForTheClientToo) {
  World world;
  world.stable(Backend::each([](const std::string&, Backend& self) {
    (void)self;
    return std::string("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npartial");
  }));
  world.backends[0]->stop();
  world.backends.clear();
  world.web().stable.endpoints.clear();
  world.stable([](Client& client, Backend&) {
    client.read_until("\r\n\r\n");
    client.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npartial");
  });
  world.publish();
  Client client(world.edge());
  client.send(get());
  EXPECT_THAT(client.read_to_end(), HasSubstr("partial"));
  EXPECT_TRUE(World::eventually([&] { return world.telemetry->service(0).outcomes[7] == 1; }));
}

TEST(Gateway, TunnelsWebSockets) {
  World world;
  world.stable([](Client& client, Backend& self) {
    if (!client.read_until("\r\n\r\n")) return;
    self.saw(client.take(client.in.find("\r\n\r\n") + 4));
    client.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "
        "websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhello");
    while (client.read_some()) client.send(std::exchange(client.in, {}));
  });
  world.publish();
  Client client(world.edge());
  client.send(get("/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n"));
  ASSERT_TRUE(client.read_until("hello"));
  EXPECT_THAT(client.in, StartsWith("HTTP/1.1 101"));
  EXPECT_THAT(client.in, HasSubstr("Sec-WebSocket-Accept: x"));
  client.in.clear();
  for (int i = 0; i < 20; ++i) {
    client.send("ping");
    EXPECT_EQ(client.take(4), "ping");
  }
  EXPECT_THAT(world.backends[0]->heads()[0], HasSubstr("Upgrade: websocket\r\n"));
}

TEST(Gateway, StreamsEventsAsTheyCome) {
  std::atomic<bool> go{false}, gone{false};
  World world;
  world.stable([&](Client& client, Backend&) {
    client.read_until("\r\n\r\n");
    client.send(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata: "
        "1\n\r\n");
    World::eventually([&] { return go.load(); });
    client.send("8\r\ndata: 2\n\r\n");
    client.in.clear();
    gone = !client.read_some();
  });
  world.publish();
  Client client(world.edge());
  client.send(get());
  ASSERT_TRUE(client.read_until("data: 1"));
  go = true;
  ASSERT_TRUE(client.read_until("data: 2"));
  client.close_now();
  EXPECT_TRUE(World::eventually([&] { return gone.load(); }))
      << "the instance hears that nobody listens any more";
}

}  // namespace
}  // namespace naru::gateway::testing
