#include "io/reactor.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <thread>

#include "base/rng.h"
#include "io/offload.h"
#include "io/socket.h"
#include "io/testing.h"

namespace naru::io {
namespace {

using testing::loopback;

std::unique_ptr<Reactor> make_reactor() {
  return std::move(Reactor::create().value());
}
struct StreamPair {
  Stream a, b;
};
StreamPair make_pair_of_streams(Reactor& reactor) {
  int fds[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
  return {Stream(reactor, Fd(fds[0])), Stream(reactor, Fd(fds[1]))};
}

Task<int> number(int n) {
  co_return n;
}
Task<int> sum(int count) {
  int total = 0;
  for (int i = 0; i < count; ++i) total += co_await number(1);
  co_return total;
}
Task<int> throwing() {
  throw std::runtime_error("boom");
  co_return 0;
}

TEST(Task, AMillionReadyAwaitsDoNotGrowTheStack) {
  const auto reactor = make_reactor();
  EXPECT_EQ(reactor->block_on(sum(1'000'000)), 1'000'000);
}

TEST(Task, ExceptionsReachWhoAwaits) {
  const auto reactor = make_reactor();
  EXPECT_THROW(reactor->block_on(throwing()), std::runtime_error);
}

TEST(Task, AnUnstartedTaskIsDestroyedQuietly) {
  Task<int> task = number(1);
}

Task<void> note(Reactor& reactor, milliseconds delay, int id, std::vector<int>& order) {
  co_await sleep(reactor, delay);
  order.push_back(id);
}

// Each counts from when it is spawned: they are further apart than a busy machine holds a thread up.
TEST(Reactor, SleepersWakeInOrder) {
  const auto reactor = make_reactor();
  std::vector<int> order;
  for (int delay : {600, 1, 300}) reactor->spawn(note(*reactor, milliseconds(delay), delay, order));
  reactor->block_on(note(*reactor, 900ms, 900, order));
  EXPECT_EQ(order, (std::vector<int>{1, 300, 600, 900}));
}

struct Recorded : detail::TimerNode {
  std::uint64_t* now = nullptr;
  int* fired = nullptr;
  int* early = nullptr;
};

// A simulated clock over days; never early, and never late when advanced as `next_in` says.
TEST(TimerWheel, FiresEveryTimerNeitherEarlyNorLate) {
  Rng rng(3);
  std::uint64_t now = 1'000'003;
  detail::TimerWheel wheel(now);
  int fired = 0, early = 0, late = 0;
  std::vector<std::unique_ptr<Recorded>> timers;
  for (int i = 0; i < 2000; ++i) {
    auto timer = std::make_unique<Recorded>();
    timer->now = &now;
    timer->fired = &fired;
    timer->early = &early;
    timer->fire = [](detail::TimerNode& node) {
      auto& self = static_cast<Recorded&>(node);
      ++*self.fired;
      if (*self.now != self.tick) ++*self.early;
    };
    const std::uint64_t range = std::uint64_t{1} << (1 + rng.below(27));
    wheel.arm(*timer, now + 1 + rng.below(range));
    timers.push_back(std::move(timer));
  }
  for (int i = 0; i < 2000; i += 10) timers[static_cast<std::size_t>(i)].reset();  // cancelled
  for (int turns = 0; turns < 200'000 && wheel.next_in(now) >= 0; ++turns) {
    now += static_cast<std::uint64_t>(std::max(wheel.next_in(now), 1));
    wheel.advance(now);
  }
  EXPECT_EQ(fired, 1800);
  EXPECT_EQ(early + late, 0);
}

TEST(TimerWheel, FiresInOrderAcrossItsLevels) {
  struct Ordered : detail::TimerNode {
    std::vector<std::uint64_t>* order = nullptr;
  };
  std::uint64_t now = 1'000'003;
  const std::uint64_t begun = now;
  detail::TimerWheel wheel(now);
  std::vector<std::uint64_t> order;
  std::vector<std::unique_ptr<Ordered>> timers;
  for (std::uint64_t delay : {130, 5, 4097, 70, 1, 64, 63, 4095, 65, 128, 4096}) {
    auto timer = std::make_unique<Ordered>();
    timer->order = &order;
    timer->fire = [](detail::TimerNode& node) {
      auto& self = static_cast<Ordered&>(node);
      self.order->push_back(self.tick);
    };
    wheel.arm(*timer, now + delay);
    timers.push_back(std::move(timer));
  }
  while (wheel.next_in(now) >= 0) {
    now += static_cast<std::uint64_t>(std::max(wheel.next_in(now), 1));
    wheel.advance(now);
  }
  for (std::uint64_t& tick : order) tick -= begun;
  EXPECT_EQ(order, (std::vector<std::uint64_t>{1, 5, 63, 64, 65, 70, 128, 130, 4095, 4096, 4097}));
}

TEST(Reactor, JobsOfOtherThreadsRunOnItsThread) {
  auto reactor = make_reactor();
  std::thread::id where;
  const auto remote = reactor->remote();
  std::thread other([&] {
    EXPECT_TRUE(remote.post([&] {
      where = std::this_thread::get_id();
      reactor->stop();
    }));
  });
  reactor->run();
  other.join();
  EXPECT_EQ(where, std::this_thread::get_id());
  reactor.reset();
  EXPECT_FALSE(remote.post([] { FAIL(); }));
}

TEST(Reactor, OffloadedWorkComesBack) {
  const auto reactor = make_reactor();
  WorkerPool pool(2, 4);
  const auto result =
      reactor->block_on(offload(*reactor, pool, []() -> Result<std::string> { return "done"; }));
  EXPECT_EQ(result.value(), "done");
  const auto failed = reactor->block_on(
      offload(*reactor, pool, []() -> Result<int> { return fail(Code::not_found, "nothing"); }));
  EXPECT_EQ(failed.error().code, Code::not_found);
}

TEST(Reactor, MoreWorkThanFitsTheQueueIsBusy) {
  const auto reactor = make_reactor();
  WorkerPool pool(1, 0);
  const auto result = reactor->block_on(offload(*reactor, pool, []() -> Result<int> { return 1; }));
  EXPECT_EQ(result.error().code, Code::busy);
}

TEST(Reactor, ADroppedPromiseAndASlowOneAreErrors) {
  const auto reactor = make_reactor();
  OneShot<int> dropped(*reactor);
  {
    auto promise = dropped.promise();
  }
  EXPECT_EQ(reactor->block_on(dropped.wait()).error().code, Code::cancelled);
  OneShot<int> slow(*reactor);
  auto promise = slow.promise();
  EXPECT_EQ(reactor->block_on(slow.wait(after(5ms))).error().code, Code::timeout);
  promise.set(1);
}

Task<Result<std::size_t>> read_once(Stream& stream, std::span<char> buffer, Deadline deadline) {
  co_return co_await stream.read(buffer, deadline);
}
Task<void> read_into(Stream& stream, std::optional<Result<std::size_t>>& out) {
  char buffer[16];
  out = co_await stream.read(buffer);
}

TEST(Stream, AReadGivesUpAtItsDeadline) {
  const auto reactor = make_reactor();
  auto pair = make_pair_of_streams(*reactor);
  std::array<char, 8> buffer;
  EXPECT_EQ(reactor->block_on(read_once(pair.a, buffer, after(10ms))).error().code, Code::timeout);
  ASSERT_EQ(::write(pair.b.fd(), "x", 1), 1);
  EXPECT_EQ(reactor->block_on(read_once(pair.a, buffer, after(10s))).value(), 1u);
}

TEST(Stream, ClosingCancelsWhoeverWaits) {
  const auto reactor = make_reactor();
  auto pair = make_pair_of_streams(*reactor);
  std::optional<Result<std::size_t>> out;
  reactor->spawn(read_into(pair.a, out));
  EXPECT_FALSE(out);
  pair.a.close();
  reactor->block_on([](Reactor& r) -> Task<void> {
    co_await yield(r);
    co_await yield(r);
  }(*reactor));
  ASSERT_TRUE(out);
  EXPECT_EQ(out->error().code, Code::cancelled);
}

TEST(Stream, DestroyingTheReactorDestroysWhatWaits) {
  auto reactor = make_reactor();
  auto pair = make_pair_of_streams(*reactor);
  std::optional<Result<std::size_t>> out;
  reactor->spawn(read_into(pair.a, out));
  reactor->spawn(note(*reactor, 10s, 1, *std::make_unique<std::vector<int>>()));
  pair.a.close();
  pair.b.close();
  reactor.reset();
  EXPECT_FALSE(out);
}

Task<Result<void>> write_all(Stream& stream, std::string bytes) {
  co_return co_await stream.write(bytes, after(10s));
}
Task<void> send_and_close(Stream stream, std::string bytes) {
  EXPECT_TRUE(co_await stream.write(bytes, after(10s)));
}
Task<Result<std::string>> read_to_end(Stream& stream) {
  std::string out;
  std::array<char, 1000> buffer;
  while (true) {
    CO_TRY(const std::size_t n, co_await stream.read(buffer, after(10s)));
    if (n == 0) co_return out;
    out.append(buffer.data(), n);
  }
}

TEST(Stream, AWriteLargerThanTheSocketsBufferArrivesWhole) {
  const auto reactor = make_reactor();
  auto pair = make_pair_of_streams(*reactor);
  std::string text(5'000'000, 'a');
  for (std::size_t i = 0; i < text.size(); i += 1000) text[i] = static_cast<char>('a' + i / 1000 % 26);
  reactor->spawn(send_and_close(std::move(pair.b), text));
  EXPECT_EQ(reactor->block_on(read_to_end(pair.a)).value(), text);
}

TEST(Stream, WritingToAPeerThatHasGoneIsAnErrorAndNoSignal) {
  const auto reactor = make_reactor();
  auto pair = make_pair_of_streams(*reactor);
  pair.b.close();
  EXPECT_EQ(reactor->block_on(write_all(pair.a, "x")).error().code, Code::closed);
}

TEST(Connect, NamesWhatCannotBeReached) {
  const auto reactor = make_reactor();
  const auto refused = reactor->block_on(connect(*reactor, Address::parse("127.0.0.1:1").value(), after(5s)));
  EXPECT_EQ(refused.error().code, Code::unreachable);
  EXPECT_NE(refused.error().message().find("127.0.0.1:1"), std::string::npos);
  const auto missing =
      reactor->block_on(connect(*reactor, Address::parse("unix:/nonexistent/x").value(), after(5s)));
  EXPECT_EQ(missing.error().code, Code::unreachable);
  const auto no_name = reactor->block_on(resolve(*reactor, "no-such-name.invalid", 80, after(20s)));
  EXPECT_FALSE(no_name);
  EXPECT_EQ(reactor->block_on(resolve(*reactor, "x.localhost", 80, after(5s))).value()[0].text(),
            "127.0.0.1:80");
}

TEST(Address, ReadsAndWritesEveryKind) {
  for (const char* text : {"127.0.0.1:80", "[::1]:8080", "unix:/run/x.sock", "unix:@abstract"})
    EXPECT_EQ(Address::parse(text).value().text(), text);
  EXPECT_EQ(Address::parse(":80").value().text(), "[::]:80");
  for (const char* bad :
       {"", "127.0.0.1", "a.b:80", "1.2.3.4:99999", "1.2.3.4:", "::1:80", "[::1]", "unix:", "1.2.3.4:8x"})
    EXPECT_FALSE(Address::parse(bad)) << bad;
  EXPECT_FALSE(Address::of_unix(std::string(200, 'x')));
}

TEST(Listener, UnixSocketsAreForTheOwnerAndStaleOnesAreReplaced) {
  const auto reactor = make_reactor();
  testing::TemporaryFolder folder;
  const Address address = Address::of_unix((folder.path / "s").string()).value();
  auto first = Listener::listen(*reactor, address);
  ASSERT_TRUE(first);
  EXPECT_EQ(std::filesystem::status(folder.path / "s").permissions(), std::filesystem::perms(0600));
  EXPECT_EQ(Listener::listen(*reactor, address).error().code, Code::already_exists);
  first->close();
  EXPECT_TRUE(Listener::listen(*reactor, address));
}

Task<void> echo(Stream stream) {
  std::array<char, 256> buffer;
  while (true) {
    const auto n = co_await stream.read(buffer, after(30s));
    if (!n || *n == 0) co_return;
    if (!co_await stream.write(std::string_view(buffer.data(), *n), after(30s))) co_return;
  }
}
Task<void> echo_server(Listener& listener) {
  while (true) {
    auto stream = co_await listener.accept();
    if (!stream) co_return;
    listener.reactor().spawn(echo(std::move(*stream)));
  }
}
Task<void> ping(Reactor& reactor, Address to, int rounds, int& done, Event& all, int expected) {
  auto stream = co_await connect(reactor, to, after(30s));
  EXPECT_TRUE(stream) << stream.error().message();
  if (stream) {
    char buffer[8];
    for (int i = 0; i < rounds; ++i) {
      EXPECT_TRUE(co_await stream->write("ping", after(30s)));
      const auto n = co_await stream->read(buffer, after(30s));
      EXPECT_EQ(n.value_or(0), 4u);
    }
  }
  if (++done == expected) all.raise();
}

TEST(Reactor, ServesThousandsOfConnectionsAtOnce) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  const int count = limit.rlim_cur > 9000 ? 4000 : static_cast<int>(limit.rlim_cur) / 3;
  const auto reactor = make_reactor();
  auto listener = Listener::listen(*reactor, loopback(), {.backlog = 4096}).value();
  reactor->spawn(echo_server(listener));
  int done = 0;
  Event all(*reactor);
  for (int i = 0; i < count; ++i) reactor->spawn(ping(*reactor, listener.address(), 3, done, all, count));
  reactor->block_on([](Event& event) -> Task<void> { EXPECT_TRUE(co_await event.wait(after(60s))); }(all));
  EXPECT_EQ(done, count);
}

Task<void> relay_between(Stream& a, Stream& b, milliseconds idle, std::optional<Result<RelayCount>>& out) {
  out = co_await relay(a, b, idle);
}

TEST(Relay, CopiesBothDirectionsAndHalfCloses) {
  const auto reactor = make_reactor();
  auto left = make_pair_of_streams(*reactor), right = make_pair_of_streams(*reactor);
  std::optional<Result<RelayCount>> out;
  reactor->spawn(relay_between(left.b, right.a, 10s, out));
  const std::string text(1'000'000, 'z');
  reactor->spawn(send_and_close(std::move(left.a), text));
  EXPECT_EQ(reactor->block_on(read_to_end(right.b)).value(), text);
  right.b.close();
  while (!out) reactor->block_on([](Reactor& r) -> Task<void> { co_await yield(r); }(*reactor));
  ASSERT_TRUE(out->has_value()) << out->error().message();
  EXPECT_EQ((*out)->a_to_b, text.size());
}

TEST(Relay, EndsWhenBothAreSilent) {
  const auto reactor = make_reactor();
  auto left = make_pair_of_streams(*reactor), right = make_pair_of_streams(*reactor);
  const auto result = reactor->block_on(relay(left.b, right.a, 20ms));
  EXPECT_EQ(result.error().code, Code::timeout);
}

Task<Result<std::string>> receive_one(DatagramSocket& socket) {
  std::array<char, 100> buffer;
  CO_TRY(const auto received, co_await socket.receive(buffer, after(10s)));
  EXPECT_TRUE(socket.send_to("pong", received.from));
  co_return std::string(buffer.data(), received.bytes);
}

TEST(Datagram, GoesThereAndBack) {
  const auto reactor = make_reactor();
  auto server = DatagramSocket::bind(*reactor, loopback()).value();
  auto client = DatagramSocket::bind(*reactor, loopback()).value();
  ASSERT_TRUE(client.send_to("ping", server.address()));
  EXPECT_EQ(reactor->block_on(receive_one(server)).value(), "ping");
  EXPECT_EQ(reactor->block_on(receive_one(client)).value(), "pong");
}

}  // namespace
}  // namespace naru::io
