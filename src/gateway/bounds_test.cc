// What slow and greedy peers get. Bounds are shortened, and every test waits for what the gateway does, never
// for a time.
#include <gmock/gmock.h>

#include <fstream>

#include "gateway/test_world.h"

namespace naru::gateway::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class Watch {
 public:
  milliseconds passed() const {
    return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - start_);
  }

 private:
  MonoTime start_ = std::chrono::steady_clock::now();
};

// Sends a byte every few milliseconds until something can be read, or sending fails.
void drip(Client& client, char byte) {
  pollfd one{client.fd(), POLLIN, 0};
  while (poll(&one, 1, 5) == 0 && client.send({&byte, 1})) {
  }
}

TEST(Bounds, AHeadThatDripsIsCutAtItsDeadlineWhileOthersAreServed) {
  World world({.head = 1500ms});  // others, who are held up, are not cut by it
  Backend& backend = world.stable();
  world.publish();
  std::vector<std::unique_ptr<Client>> slow;
  for (int i = 0; i < 20; ++i) slow.push_back(std::make_unique<Client>(world.edge()));
  const Watch watch;
  for (auto& client : slow) client->send("GET / HTTP/1.1\r\nHost: web.production.shop.localhost\r\nX: ");
  std::vector<std::jthread> senders;
  for (auto& client : slow) senders.emplace_back([&client] { drip(*client, 'a'); });
  for (int i = 0; i < 50; ++i) EXPECT_THAT(world.ask(get()), StartsWith("HTTP/1.1 200"));
  senders.clear();
  EXPECT_GE(watch.passed(), world.bounds.head);
  for (auto& client : slow) {
    const std::string said = client->read_to_end();
    EXPECT_THAT(said, StartsWith("HTTP/1.1 408"));
    EXPECT_THAT(said, HasSubstr("Connection: close"));
  }
  EXPECT_EQ(backend.heads().size(), 50U) << "nothing of a half head reaches an instance";
}

TEST(Bounds, ABodyThatStopsIsCutAndItsInstanceSeesThatItIsNotWhole) {
  std::atomic<bool> cut{false};
  World world({.request_body = 300ms});
  world.stable([&](Client& client, Backend&) {
    client.read_until("\r\n\r\n");
    client.take(client.in.find("\r\n\r\n") + 4);
    const std::string rest = client.read_to_end();
    cut = rest.find("abc") != rest.npos && rest.find("0\r\n\r\n") == rest.npos;
  });
  world.publish();
  for (const char* framing :
       {"Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n9\r\nabc"}) {
    cut = false;
    Client client(world.edge());
    const Watch watch;
    client.send(std::string("POST / HTTP/1.1\r\nHost: web.production.shop.localhost\r\n") + framing);
    EXPECT_THAT(client.read_to_end(), StartsWith("HTTP/1.1 408"));
    EXPECT_GE(watch.passed(), world.bounds.request_body);
    EXPECT_TRUE(World::eventually([&] { return cut.load(); })) << framing;
    cut = false;
    Client short_of_bytes(world.edge());
    short_of_bytes.send(std::string("POST / HTTP/1.1\r\nHost: web.production.shop.localhost\r\n") + framing);
    shutdown(short_of_bytes.fd(), SHUT_WR);
    const std::string said = short_of_bytes.read_to_end();
    EXPECT_THAT(said, StartsWith("HTTP/1.1 400"));
    EXPECT_THAT(said, HasSubstr("its body was cut short"));
    EXPECT_TRUE(World::eventually([&] { return cut.load(); })) << framing;
  }
}

TEST(Bounds, ABodyThatComesSlowlyButComesIsCarried) {
  World world({.head = 1s, .request_body = 30s});
  world.stable([](Client& client, Backend&) {
    client.read_until("\r\n\r\n");
    client.take(client.in.find("\r\n\r\n") + 4);
    client.send(answer(client.take(100)));
  });
  world.publish();
  Client client(world.edge());
  client.send("POST / HTTP/1.1\r\nHost: web.production.shop.localhost\r\nContent-Length: 100\r\n\r\n");
  const Watch watch;
  pollfd one{client.fd(), POLLIN, 0};
  for (int i = 0; i < 100; ++i) {
    poll(&one, 1, 12);
    ASSERT_TRUE(client.send("b"));
  }
  EXPECT_GT(watch.passed(), world.bounds.head) << "the head's deadline is the head's alone";
  EXPECT_EQ(World::body_of(client.read_answer()), std::string(100, 'b'));
}

std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

// A client that does not read stops its instance, not the gateway, and holds no more than buffers of fixed
// size.
TEST(Bounds, AClientThatDoesNotReadHoldsLittleMemoryAndIsCut) {
  constexpr std::size_t kWhole = 512U << 20, kClients = 4;
  std::atomic<std::size_t> most{0}, ended{0};
  World world({.write = 500ms});
  world.stable([&](Client& client, Backend& self) {
    client.read_until("\r\n\r\n");
    if (client.in.starts_with("GET /small")) return (void)client.send(answer(self.name));
    const bool chunked = client.in.starts_with("GET /chunked");
    const std::string piece =
        chunked ? "10000\r\n" + std::string(65536, 'x') + "\r\n" : std::string(65536, 'x');
    client.send(chunked ? std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                        : fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", kWhole));
    std::size_t sent = 0;
    while (sent < kWhole && client.send(piece)) sent += 65536;
    std::size_t before = most;
    while (before < sent && !most.compare_exchange_weak(before, sent)) {
    }
    ++ended;
  });
  world.publish();
  EXPECT_THAT(world.ask(get("/small")), StartsWith("HTTP/1.1 200"));
  const std::size_t before = resident_bytes();
  std::vector<std::unique_ptr<Client>> clients;
  for (std::size_t i = 0; i < kClients; ++i) {
    clients.push_back(std::make_unique<Client>(world.edge()));
    clients.back()->send(get(i % 2 ? "/chunked" : "/length"));
  }
  EXPECT_THAT(world.ask(get("/small")), StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(World::eventually([&] { return ended == kClients; })) << "the gateway gave the instances back";
  EXPECT_LT(most, 64U << 20) << "what the kernel's buffers of two connections hold";
  const std::size_t after = resident_bytes();
  EXPECT_LT(after, before + (24U << 20));
}

TEST(Bounds, AnIdleConnectionIsClosedWithoutAWord) {
  World world({.client_idle = 1500ms});
  world.stable();
  world.publish();
  Client never(world.edge()), once(world.edge());
  const Watch watch;
  once.send(get());
  EXPECT_THAT(once.read_answer(), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(once.read_to_end(), "");
  EXPECT_EQ(never.read_to_end(), "");
  EXPECT_GE(watch.passed(), world.bounds.client_idle);
  EXPECT_LT(watch.passed(), 50s) << "closed by the gateway, not by the end of the client's patience";
}

TEST(Bounds, ManyIdleConnectionsCostNobody) {
  World world;
  world.stable();
  world.publish();
  std::vector<std::unique_ptr<Client>> idle;
  for (int i = 0; i < 200; ++i) idle.push_back(std::make_unique<Client>(world.edge()));
  EXPECT_THAT(world.ask(get()), StartsWith("HTTP/1.1 200"));
}

TEST(Bounds, OneConnectionTooManyIsClosedAtOnce) {
  World world({.connections = 4});
  world.stable();
  world.publish();
  std::vector<std::unique_ptr<Client>> clients;
  int served = 0;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(std::make_unique<Client>(world.edge()));
    clients.back()->send(get());
    served += clients.back()->read_answer().starts_with("HTTP/1.1 200");
  }
  EXPECT_GE(served, 4);
  EXPECT_LE(served, 8) << "four of each of the two threads";
  clients.clear();
  EXPECT_TRUE(World::eventually([&] { return world.ask(get()).starts_with("HTTP/1.1 200"); }));
}

// `count` requests that the gateway says wait, and one more: what it is answered.
std::string first_refused(World& world, std::vector<std::unique_ptr<Client>>& held, std::size_t count,
                          const std::string& request) {
  while (held.size() < count) {
    held.push_back(std::make_unique<Client>(world.edge()));
    held.back()->send(request);
    EXPECT_TRUE(World::eventually([&] { return world.held_requests() == held.size(); })) << held.size();
  }
  return world.ask(request);
}

TEST(Bounds, HeldRequestsAreCounted) {
  World world({.held_requests = 5});
  world.web().hold = true;
  world.publish();
  std::vector<std::unique_ptr<Client>> held;
  const std::string refused = first_refused(world, held, 5, get());
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(refused, HasSubstr("as many requests wait for it already as may (5 requests"));
  EXPECT_THAT(refused, HasSubstr("Retry-After: 2"));
  world.stable();
  world.web().hold = false;
  world.publish();
  for (auto& client : held) EXPECT_THAT(client->read_answer(), StartsWith("HTTP/1.1 200"));
}

TEST(Bounds, HeldBytesAreCounted) {
  World world({.held_bytes = 64 * 1024});
  world.web().hold = true;
  world.publish();
  std::vector<std::unique_ptr<Client>> held;
  const std::string big = get("/", "X: " + std::string(20'000, 'x') + "\r\n");
  EXPECT_THAT(first_refused(world, held, 3, big), HasSubstr("or 64 KB of heads"));
}

TEST(Bounds, AHeldRequestIsAnsweredAtTheEndOfItsTime) {
  World world({.hold = 400ms});
  world.web().hold = true;
  world.publish();
  const Watch watch;
  EXPECT_THAT(world.ask(get()), StartsWith("HTTP/1.1 503"));
  EXPECT_GE(watch.passed(), world.bounds.hold);
  EXPECT_LT(watch.passed(), 50s);
}

// ---- instances that drip

TEST(Bounds, AnAnswersHeadThatDripsIsCutAtItsDeadline) {
  World world({.first_byte = 400ms});
  world.stable([](Client& client, Backend&) {
    client.read_until("\r\n\r\n");
    client.send("HTTP/1.1 200 OK\r\nX: ");
    drip(client, 'a');
  });
  world.publish();
  const Watch watch;
  EXPECT_THAT(world.ask(get()), StartsWith("HTTP/1.1 504"));
  EXPECT_GE(watch.passed(), world.bounds.first_byte);
  EXPECT_LT(watch.passed(), 50s);
}

TEST(Bounds, InformationalAnswersWithoutEndAreNoAnswer) {
  World world;
  world.stable([](Client& client, Backend&) {
    client.read_until("\r\n\r\n");
    while (client.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")) {
    }
  });
  world.publish();
  EXPECT_THAT(world.ask(get()), StartsWith("HTTP/1.1 502"));
}

TEST(Bounds, AnAnswerThatStopsInTheMiddleIsCut) {
  World world({.response_body = 300ms});
  world.stable([](Client& client, Backend&) {
    client.read_until("\r\n\r\n");
    client.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npartial");
    client.read_to_end();
  });
  world.publish();
  Client client(world.edge());
  client.send(get());
  EXPECT_THAT(client.read_to_end(), HasSubstr("partial"));
  EXPECT_TRUE(World::eventually([&] { return world.telemetry->service(0).outcomes[7] == 1; }));
}

}  // namespace
}  // namespace naru::gateway::testing
