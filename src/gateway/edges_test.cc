// Corners of HTTP/1 at which requests are lost, doubled, mixed up or mistaken for whole.
#include <gmock/gmock.h>

#include "gateway/test_world.h"

namespace naru::gateway::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr std::string_view kHost = "Host: web.production.shop.localhost\r\n";

TEST(Retries, AnInstanceThatTakesNoConnectionIsAvoided) {
  World world;
  world.stable();
  world.web().stable.endpoints.push_back({"gone", "127.0.0.4"});  // nothing listens there
  world.publish();
  for (int i = 0; i < 60; ++i) EXPECT_THAT(world.ask(get()), StartsWith("HTTP/1.1 200")) << i;
  for (int i = 0; i < 20; ++i)
    EXPECT_THAT(world.ask(fmt::format("POST / HTTP/1.1\r\n{}Content-Length: 0\r\n\r\n", kHost)),
                StartsWith("HTTP/1.1 200"))
        << "nothing was sent, so anything may be sent elsewhere";
}

TEST(Retries, ATcpConnectionAvoidsAnInstanceThatTakesNone) {
  World world;
  world.web().ports[0].app_protocol = "tcp";
  world.stable([](Client& client, Backend&) { client.send("hello"); });
  world.web().stable.endpoints.push_back({"gone", "127.0.0.4"});
  world.publish();
  for (int i = 0; i < 40; ++i) {
    Client client(world.host_port());
    EXPECT_EQ(client.take(5), "hello") << i;
  }
}

// A kept connection that dies when it is used again: once more on a new one, and only what may be done twice.
TEST(Retries, AKeptConnectionThatDiesIsReplacedOnceAndOnlyForWhatMayBeRepeated) {
  std::atomic<int> asked{0};
  World world;
  // Every second request on a connection is read and never answered.
  Backend& backend = world.stable([&](Client& client, Backend& self) {
    for (int i = 0; client.read_until("\r\n\r\n"); ++i) {
      self.saw(client.take(client.in.find("\r\n\r\n") + 4));
      ++asked;
      if (i == 1) return;
      client.send(answer(self.name));
    }
  });
  world.publish();
  Client client(world.edge());
  const auto status = [&](const std::string& method) {
    client.send(fmt::format("{} / HTTP/1.1\r\n{}Content-Length: 0\r\n\r\n", method, kHost));
    return client.read_answer().substr(9, 3);
  };
  EXPECT_EQ(status("GET"), "200");
  EXPECT_EQ(status("GET"), "200");
  EXPECT_EQ(asked, 3) << "the second was read twice";
  EXPECT_EQ(status("POST"), "502") << "on the connection that answered the second";
  EXPECT_EQ(asked, 4) << "and not repeated";
  EXPECT_EQ(status("PUT"), "200") << "a new connection";
  EXPECT_EQ(status("PUT"), "200");
  EXPECT_EQ(asked, 7);
  EXPECT_EQ(backend.connections, 4);
}

TEST(Retries, AnAnswerThatHasBegunIsNotAskedForAgain) {
  std::atomic<int> asked{0};
  World world;
  world.stable([&](Client& client, Backend& self) {
    for (int i = 0; client.read_until("\r\n\r\n"); ++i) {
      client.take(client.in.find("\r\n\r\n") + 4);
      ++asked;
      client.send(i == 0 ? answer(self.name) : "HTTP/1.1 20");
      if (i == 1) return;
    }
  });
  world.publish();
  Client client(world.edge());
  client.send(get());
  EXPECT_THAT(client.read_answer(), StartsWith("HTTP/1.1 200"));
  client.send(get());
  EXPECT_THAT(client.read_answer(), StartsWith("HTTP/1.1 502"));
  EXPECT_EQ(asked, 2);
}

TEST(Retries, ACanaryIsRetriedAtMostOnce) {
  World world;
  const auto broken = [](Client& client, Backend& self) {
    if (client.read_until("\r\n\r\n")) self.saw(client.in);
  };
  Backend& stable = world.stable(broken);
  Backend& canary = world.canary(broken);
  world.publish();
  EXPECT_THAT(world.ask(get()), StartsWith("HTTP/1.1 502"));
  EXPECT_EQ(canary.heads().size(), 1U);
  EXPECT_EQ(stable.heads().size(), 1U);
  EXPECT_THAT(world.ask(fmt::format("DELETE / HTTP/1.1\r\n{}\r\n", kHost)), StartsWith("HTTP/1.1 502"));
  EXPECT_EQ(stable.heads().size(), 1U) << "idempotent, but not safe: it may have been carried out";
  EXPECT_EQ(world.telemetry->service(0).failures(), 1U) << "of its old release, too";
  EXPECT_EQ(world.telemetry->service(0).user_failures, 0U) << "but of each user's request only the first";
}

TEST(Retries, ASecondAnswerThatIsCutIsTheOldReleasesFailureButNoEvidence) {
  World world;
  world.stable([](Client& client, Backend&) {
    client.read_until("\r\n\r\n");
    client.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npartial");
  });
  world.canary(
      Backend::each([](const std::string&, Backend&) { return answer("", "503 Service Unavailable"); }));
  world.publish();
  Client client(world.edge());
  client.send(get());
  EXPECT_THAT(client.read_to_end(), HasSubstr("partial"));
  EXPECT_TRUE(World::eventually([&] { return world.telemetry->service(0).outcomes[7] == 1; }));
  EXPECT_EQ(world.telemetry->service(0).user_failures, 0U);
  EXPECT_EQ(world.evidence().stable.requests, 0U);
  EXPECT_EQ(world.evidence().canary.failed_requests, 1U);
}

// The write of the rest fails, and the answer lies in the socket.
TEST(EarlyAnswers, AnInstanceThatRefusesABodyAndClosesIsHeard) {
  World world;
  world.stable([](Client& client, Backend&) {
    client.read_until("\r\n\r\n");
    client.send(answer("too much", "413 Payload Too Large", "Connection: close\r\n"));
  });
  world.publish();
  for (int i = 0; i < 20; ++i) {
    Client client(world.edge());
    client.send(fmt::format("POST / HTTP/1.1\r\n{}Content-Length: 50000000\r\n\r\n", kHost));
    std::jthread sender([&] { client.send(std::string(1U << 20, 'x')); });
    EXPECT_THAT(client.read_answer(), StartsWith("HTTP/1.1 413"));
  }
}

TEST(HalfClosed, ARequestIsAnsweredThoughItsClientHasEndedItsSide) {
  std::atomic<int> left{0};
  World world({.client_check = 20ms});
  world.stable([&](Client& client, Backend&) {
    if (!client.read_until("\r\n\r\n")) return;
    if (client.in.starts_with("GET /left")) {
      client.in.clear();
      left += !client.read_some();
      return;
    }
    World::eventually([&] { return left == 2; });
    client.send(answer("late"));
  });
  world.publish();
  Client last(world.edge()), open(world.edge()), old(world.edge());
  last.send(get("/", "Connection: close\r\n"));
  open.send(get());
  old.send(fmt::format("GET / HTTP/1.0\r\n{}\r\n", kHost));
  for (const Client* client : {&last, &open, &old}) shutdown(client->fd(), SHUT_WR);
  // Those that are not there any more are told from them: the instance hears of it. By then the others were
  // looked at too.
  for (const char* more : {"", "Connection: close\r\n"}) {
    Client gone(world.edge());
    gone.send(get("/left", more));
    gone.close_now();
  }
  for (Client* client : {&last, &open, &old}) {
    const std::string said = client->read_to_end();
    EXPECT_THAT(said, HasSubstr("HTTP/1.1 200 OK"));
    EXPECT_THAT(said, HasSubstr("late"));
    EXPECT_EQ(said.starts_with("HTTP/1.1 100 Continue\r\n\r\n"), client != &old) << "HTTP/1.0 knows none";
  }
  EXPECT_EQ(left, 2);
}

TEST(HalfClosed, AnAnswerThatPausesIsCarriedToItsEnd) {
  World world;
  world.stable([](Client& client, Backend&) {
    client.read_until("\r\n\r\n");
    const bool chunked = client.in.starts_with("GET /chunked");
    client.send(chunked ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n"
                        : "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nbegin");
    // Longer than until the gateway looks whether anybody still listens.
    pollfd one{client.fd(), POLLIN, 0};
    poll(&one, 1, 1'500);
    client.send(chunked ? "3\r\nend\r\n0\r\n\r\n" : "end");
  });
  world.publish();
  Client length(world.edge()), chunked(world.edge());
  length.send(get("/length"));
  chunked.send(get("/chunked"));
  for (const Client* client : {&length, &chunked}) shutdown(client->fd(), SHUT_WR);
  EXPECT_THAT(length.read_to_end(), HasSubstr("beginend"));
  EXPECT_THAT(chunked.read_to_end(), HasSubstr("3\r\nend\r\n0\r\n\r\n"));
}

TEST(HalfClosed, TcpPassesTheEndOfOneSideOn) {
  World world;
  world.web().ports[0].app_protocol = "tcp";
  world.stable([](Client& client, Backend&) {
    const std::string all = client.read_to_end();
    client.send(fmt::format("{} bytes", all.size()));
  });
  world.publish();
  Client client(world.host_port());
  client.send(std::string(100'000, 'x'));
  shutdown(client.fd(), SHUT_WR);
  EXPECT_EQ(client.read_to_end(), "100000 bytes");
}

// To an HTTP/1.0 client the end of the connection is the end of the body.
TEST(Http10, ABodyThatWasCutEndsWithAResetNotWithAnEnd) {
  World world;
  world.stable([](Client& client, Backend&) {
    client.read_until("\r\n\r\n");
    const bool whole = client.in.starts_with("GET /whole");
    client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    client.send(whole ? "0\r\n\r\n" : "5\r\nhe");
  });
  world.publish();
  for (const bool whole : {true, false}) {
    Client client(world.edge());
    client.send(fmt::format("GET {} HTTP/1.0\r\n{}\r\n", whole ? "/whole" : "/cut", kHost));
    std::string got;
    char buffer[1024];
    ssize_t n = 0;
    while ((n = recv(client.fd(), buffer, sizeof buffer, 0)) > 0)
      got.append(buffer, static_cast<std::size_t>(n));
    const int error = n < 0 ? errno : 0;
    if (whole) {
      EXPECT_THAT(got, AllOf(HasSubstr("\r\n\r\nhello"), Not(HasSubstr("Transfer-Encoding"))));
      EXPECT_TRUE(got.ends_with("hello")) << "without chunks";
    }
    EXPECT_EQ(error, whole ? 0 : ECONNRESET);
  }
}

TEST(Http10, ARequestWithoutAHostGetsOneAtAHostPort) {
  World world;
  Backend& backend = world.stable();
  world.publish();
  Client client(world.host_port());
  client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_THAT(client.read_answer(), HasSubstr("Connection: keep-alive"));
  client.send("GET /2 HTTP/1.0\r\n\r\n");
  EXPECT_THAT(client.read_to_end(), HasSubstr("Connection: close"));
  for (const std::string& head : backend.heads()) EXPECT_THAT(head, HasSubstr("HTTP/1.1\r\nHost: web\r\n"));
}

TEST(Bodiless, AnswersThatHaveNoBodyEndWithTheirHead) {
  World world;
  world.stable(Backend::each([](const std::string& head, Backend&) -> std::string {
    if (head.find(" /204 ") != head.npos) return "HTTP/1.1 204 No Content\r\n\r\n";
    if (head.find(" /204-length ") != head.npos)
      return "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n";
    if (head.find(" /304 ") != head.npos)
      return "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nETag: \"x\"\r\n\r\n";
    if (head.starts_with("HEAD ")) return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    return "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer("body");
  }));
  world.publish();
  Client client(world.edge());
  const auto ask = [&](std::string_view method, std::string_view path) {
    client.send(fmt::format("{} {} HTTP/1.1\r\n{}\r\n", method, path, kHost));
    return client.read_answer(method == "HEAD" || path == "/304");
  };
  EXPECT_THAT(ask("GET", "/204"), AllOf(StartsWith("HTTP/1.1 204"), Not(HasSubstr("Content-Length"))));
  EXPECT_THAT(ask("GET", "/204-length"), AllOf(StartsWith("HTTP/1.1 204"), Not(HasSubstr("Content-Length"))));
  EXPECT_THAT(ask("GET", "/304"), AllOf(StartsWith("HTTP/1.1 304"), HasSubstr("Content-Length: 1000")));
  EXPECT_THAT(ask("HEAD", "/"), AllOf(StartsWith("HTTP/1.1 200"), Not(HasSubstr("chunked"))));
  EXPECT_THAT(ask("GET", "/"), AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("body"), Not(HasSubstr("Link"))));
  EXPECT_EQ(world.backends[0]->connections, 1) << "all on one connection";
}

// Else the next user on that connection gets an answer that a body made up.
TEST(Bodiless, ABodyWhereNoneMayBeIsNotTakenForTheNextAnswer) {
  World world;
  world.stable([](Client& client, Backend& self) {
    while (client.read_until("\r\n\r\n")) {
      const std::string head = client.take(client.in.find("\r\n\r\n") + 4);
      const bool first = head.starts_with("GET /204");
      const std::string forged = answer("forged");
      if (!first && !client.in.empty()) return;
      if (!first) {
        client.send(answer("true"));
        continue;
      }
      client.send(fmt::format("HTTP/1.1 204 No Content\r\nContent-Length: {}\r\n\r\n", forged.size()));
      World::eventually([&] { return self.connections > 1; });  // later than any look at the idle connection
      client.send(forged);
    }
  });
  world.publish();
  Client client(world.edge());
  client.send(get("/204"));
  EXPECT_THAT(client.read_answer(), StartsWith("HTTP/1.1 204"));
  client.send(get("/next"));
  EXPECT_EQ(World::body_of(client.read_answer()), "true");
}

TEST(Upgrades, ASwitchThatNobodyAskedForIsNoAnswer) {
  World world;
  world.stable(Backend::each([](const std::string& head, Backend&) -> std::string {
    if (head.find("/silent") != head.npos)
      return "HTTP/1.1 101 Switching Protocols\r\n\r\nGET /x HTTP/1.1\r\n";
    return "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n";
  }));
  world.publish();
  const std::string asks = "Connection: upgrade\r\nUpgrade: websocket\r\n";
  EXPECT_THAT(world.ask(get("/silent", asks)), StartsWith("HTTP/1.1 502"));
  EXPECT_THAT(world.ask(get("/other", asks)), StartsWith("HTTP/1.1 502"));
  EXPECT_THAT(world.ask(get("/other")), StartsWith("HTTP/1.1 502"));
}

TEST(Upgrades, OneThatIsNotTakenUpIsAnOrdinaryRequest) {
  World world;
  Backend& backend = world.stable();
  world.publish();
  Client client(world.edge());
  client.send(get("/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
  EXPECT_THAT(client.read_answer(), StartsWith("HTTP/1.1 200"));
  client.send(
      get("/h2", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"));
  EXPECT_THAT(client.read_answer(), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(backend.heads().at(1), AllOf(Not(HasSubstr("h2c")), Not(HasSubstr("HTTP2-Settings"))))
      << "requests inside h2c would pass unseen";
}

TEST(Smuggling, AnswersThatTwoReadersMayFrameDifferentlyAreRefused) {
  const std::vector<std::string> bad = {
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
      "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\n\r\n",
      "HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\n\r\n",
      "HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
      "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
      "HTTP/1.1 1000 X\r\n\r\n",
      "HTTP/2 200\r\n\r\n",
      "ICY 200 OK\r\n\r\n",
      "HTTP/1.1 200 OK\r\nX: " + std::string(70'000, 'a') + "\r\n\r\n"};
  World world;
  world.stable([&](Client& client, Backend&) {
    if (!client.read_until("\r\n\r\n")) return;
    client.send(bad.at(std::stoul(client.in.substr(client.in.find('/') + 1))));
  });
  world.publish();
  for (std::size_t i = 0; i < bad.size(); ++i)
    EXPECT_THAT(world.ask(get(fmt::format("/{}", i))), StartsWith("HTTP/1.1 502")) << bad[i].substr(0, 200);
}

// An instance's words behind its own answer belong to nobody.
TEST(Smuggling, BytesBehindAnAnswerAreNotTheNextOnes) {
  World world;
  world.stable(Backend::each([](const std::string& head, Backend&) {
    return head.starts_with("GET /first") ? answer("one") + answer("forged") : answer("two");
  }));
  world.publish();
  Client client(world.edge());
  client.send(get("/first") + get("/second"));
  EXPECT_EQ(World::body_of(client.read_answer()), "one");
  EXPECT_EQ(World::body_of(client.read_answer()), "two");
}

TEST(Smuggling, BytesBehindARequestThatWasRefusedAreNotARequest) {
  World world;
  Backend& backend = world.stable();
  world.publish();
  Client client(world.edge());
  client.send(
      fmt::format("POST / HTTP/1.1\r\n{}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{}",
                  kHost, get("/smuggled")));
  EXPECT_THAT(client.read_to_end(), AllOf(StartsWith("HTTP/1.1 400"), Not(HasSubstr("200 OK"))));
  EXPECT_TRUE(backend.heads().empty());
}

// To close over unread bytes resets the connection, and the answer with it.
TEST(Closing, AnAnswerBeforeTheEndOfAConnectionArrivesWhole) {
  const std::string body(8U << 20, 'x');
  World world;
  world.stable(Backend::each([&](const std::string&, Backend&) { return answer(body); }));
  world.publish();
  for (int i = 0; i < 5; ++i) {
    Client client(world.edge());
    // What follows is more than the gateway reads together with the request.
    client.send(get("/", "Connection: close\r\n") + get("/2", "X: " + std::string(60'000, 'y') + "\r\n"));
    EXPECT_EQ(World::body_of(client.read_answer()).size(), body.size());
  }
}

}  // namespace
}  // namespace naru::gateway::testing
