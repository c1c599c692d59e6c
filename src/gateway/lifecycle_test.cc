#include <gmock/gmock.h>

#include "gateway/test_world.h"

namespace naru::gateway::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(Holding, RequestsWaitForTheNextTable) {
  World world;
  world.web().hold = true;
  world.publish();
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(std::make_unique<Client>(world.edge()));
    clients.back()->send(get());
  }
  Client tcp(world.host_port());
  tcp.send("\x01\x02");
  EXPECT_TRUE(World::eventually([&] { return world.held_requests() == 21; }));
  clients.pop_back();  // one goes away while it waits
  Backend& backend = world.stable();
  world.web().hold = false;
  world.publish();
  for (auto& client : clients) EXPECT_THAT(client->read_answer(), StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(World::eventually([&] { return backend.heads().size() >= 19; }));
}

TEST(Tables, ARefusedTableLeavesTheOneInUse) {
  World world;
  world.stable();
  world.publish();
  EXPECT_TRUE(world.publish(Json{{"routes", 5}}).contains("refused"));
  EXPECT_TRUE(world.publish(Json{{"routes", {{"environments", "x"}}}}).contains("refused"));
  EXPECT_TRUE(world.publish(Json{{"what", 1}}).contains("error"));
  EXPECT_THAT(world.ask(get()), StartsWith("HTTP/1.1 200"));
}

TEST(Tables, AnEnvironmentThatCannotBeRoutedHoldsNobodyElseUp) {
  World world;
  world.stable();
  EnvironmentRoute bad{"other", "production", "other.production", {}, {}, {}};
  bad.services = {{"web", "nowhere", {}, {}, {}, false}};
  world.table.environments.insert(world.table.environments.begin(), bad);
  ++world.table.revision;
  EXPECT_EQ(world.publish(Json{{"routes", world.table}})["acked"], world.table.revision);
  EXPECT_THAT(world.ask(get()), StartsWith("HTTP/1.1 200"));
}

TEST(Tables, ARetiredInstanceFinishesItsRequestAndGetsNoNewOne) {
  std::atomic<bool> asked{false}, go{false};
  World world;
  Backend& old = world.stable([&](Client& client, Backend& self) {
    while (client.read_until("\r\n\r\n")) {
      self.saw(client.take(client.in.find("\r\n\r\n") + 4));
      asked = true;
      World::eventually([&] { return go.load(); });
      client.send(answer("old"));
    }
  });
  world.publish();
  Client client(world.edge());
  client.send(get());
  ASSERT_TRUE(World::eventually([&] { return asked.load(); }));
  world.web().stable.endpoints.clear();
  world.add(world.web().stable, "127.0.0.4", Backend::naming());
  world.publish();
  EXPECT_EQ(World::body_of(world.ask(get())), "127.0.0.4");
  go = true;
  EXPECT_THAT(client.read_answer(), HasSubstr("old"));
  client.send(get());
  EXPECT_EQ(World::body_of(client.read_answer()), "127.0.0.4");
  EXPECT_EQ(old.heads().size(), 1U);
}

TEST(Draining, TheNextAnswerOfAnOldConnectionSaysClose) {
  World world;
  world.stop();
  world.drain_for = 60s;
  world.start();
  world.stable();
  world.publish();
  Client client(world.edge());
  client.send(get());
  ASSERT_THAT(client.read_answer(), StartsWith("HTTP/1.1 200"));
  world.ask_to_stop();
  // Its control connection ends when draining begins.
  while (world.control.receive(5s)) {
  }
  std::string said;
  World::eventually([&] {
    client.send(get());
    said = client.read_answer();
    return said.empty() || said.find("Connection: close") != std::string::npos;
  });
  EXPECT_THAT(said, HasSubstr("Connection: close"));
  const MonoTime before = std::chrono::steady_clock::now();
  world.thread.join();
  EXPECT_LT(std::chrono::steady_clock::now() - before, 30s) << "idle: no need to wait";
  world.steering.reset();
}

// The old one drains on its thread while the new one serves: sockets are shared.
void restart_beside(World& world) {
  auto old = std::move(world.steering);
  std::thread old_thread = std::move(world.thread);
  world.ask_to_stop();
  Fd old_stop = std::move(world.stop_fd);
  ipc::Channel old_supervisor = std::move(world.supervisor);
  world.start();
  old_thread.join();
}

// A connection that is accepted in the moment in which the gateway counts its clients belongs to nobody yet.
TEST(Draining, AConnectionThatComesInTheLastMomentIsServed) {
  World world;
  world.stop();
  world.drain_for = 30s;
  world.start();
  world.stable();
  world.publish();
  ASSERT_TRUE(World::eventually([&] { return std::filesystem::exists(world.folder + "/routes.json"); }));
  std::atomic<bool> done{false};
  std::atomic<int> sent{0};
  std::vector<std::string> failed;  // read once the client has ended
  std::jthread client([&] {
    while (!done) {
      ++sent;
      std::string answer = world.ask(get("/", "Connection: close\r\n"));
      if (!answer.starts_with("HTTP/1.1 200")) failed.push_back("'" + std::move(answer) + "'");
    }
  });
  for (int restart = 0; restart < 40; ++restart) {
    const int before = sent;
    World::eventually([&] { return sent > before; });
    restart_beside(world);
  }
  done = true;
  client.join();
  EXPECT_THAT(failed, ::testing::IsEmpty()) << "of " << sent;
}

TEST(Draining, RestartsUnderLoadLoseNoRequest) {
  World world;
  world.stop();
  world.drain_for = 30s;
  world.start();
  world.stable();
  world.publish();
  ASSERT_TRUE(World::eventually([&] { return std::filesystem::exists(world.folder + "/routes.json"); }))
      << "written by a side thread";
  std::atomic<bool> done{false};
  std::atomic<int> sent{0}, failed{0};
  std::vector<std::jthread> clients;
  for (int i = 0; i < 4; ++i)
    clients.emplace_back([&] {
      while (!done) {
        Client client(world.edge());
        for (bool open = true; open && !done;) {
          ++sent;
          client.send(get());
          const std::string got = client.read_answer();
          failed += !got.starts_with("HTTP/1.1 200");
          open = !got.empty() && got.find("Connection: close") == std::string::npos;
        }
      }
    });
  for (int restart = 0; restart < 3; ++restart) {
    const int before = sent;
    World::eventually([&] { return sent > before + 200; });
    restart_beside(world);
  }
  done = true;
  clients.clear();
  EXPECT_GT(sent, 600);
  EXPECT_EQ(failed, 0);
}

TEST(Detection, UnknownBytesAndTlsPassThroughAsTcp) {
  World world;
  world.stable([](Client& client, Backend&) {
    while (client.read_some()) client.send(std::exchange(client.in, {}));
  });
  world.publish();
  for (const std::string& hello :
       {std::string("\x16\x03\x01\x02\x00\x01", 6), std::string("\0\0\0\x08\x04\xd2\x16\x2f", 8),
        std::string("*1\r\n$4\r\nPING\r\n")}) {
    Client client(world.host_port());
    client.send(hello);
    EXPECT_EQ(client.take(hello.size()), hello);
    const std::string big(1U << 20, 'z');
    std::jthread sender([&] { client.send(big); });
    EXPECT_TRUE(client.take(big.size()) == big);
  }
  EXPECT_TRUE(World::eventually([&] { return world.telemetry->service(0).bytes_out > 3U << 20; }));
  EXPECT_EQ(world.telemetry->service(0).connections, 3U);
}

TEST(Detection, AServerThatSpeaksFirstIsHeardAndRemembered) {
  World world;
  world.stable([](Client& client, Backend&) {
    client.send("220 welcome\r\n");
    while (client.read_some()) client.send(std::exchange(client.in, {}));
  });
  world.publish();
  // Each of the gateway's threads learns for itself; who takes a connection is the kernel's choice.
  const auto greeted_at_once = [&] {
    Client client(world.host_port());
    const std::string http =
        get("/", "Connection: close\r\n");  // of this port it is known that it speaks no such
    client.send(http);
    if (!client.read_until("welcome\r\n")) return false;
    EXPECT_EQ(client.take(13 + http.size()), "220 welcome\r\n" + http) << "carried as it is";
    return true;
  };
  int at_once = 0;
  for (int i = 0; i < 100 && at_once < 3; ++i) {
    Client silent(world.host_port());
    ASSERT_TRUE(silent.read_until("welcome\r\n")) << "heard, though nothing was said";
    at_once += greeted_at_once();
  }
  EXPECT_EQ(at_once, 3) << "somebody who speaks at once is answered by the server, as TCP";
}

TEST(Detection, ASilentBrowserConnectionStaysHttp) {
  World world;
  world.stable();
  world.publish();
  Client client(world.host_port());
  // Longer than the silence after which the upstream is dialled.
  ASSERT_TRUE(World::eventually([&] { return world.backends[0]->connections > 0; }));
  client.send(get());
  EXPECT_THAT(client.read_answer(), HasSubstr("Set-Cookie")) << "HTTP was understood";
  EXPECT_THAT(world.ask(get(), world.host_port()), StartsWith("HTTP/1.1 200"));
}

TEST(Detection, AppProtocolForces) {
  World world;
  world.web().ports[0].app_protocol = "tcp";
  world.stable([](Client& client, Backend&) {
    while (client.read_some()) client.send(std::exchange(client.in, {}));
  });
  world.publish();
  Client client(world.host_port());
  client.send(get());
  EXPECT_EQ(client.take(get().size()), get());
  EXPECT_THAT(world.ask(get()), StartsWith("HTTP/1.1 404")) << "a TCP port answers nobody by Host";
}

}  // namespace
}  // namespace naru::gateway::testing
