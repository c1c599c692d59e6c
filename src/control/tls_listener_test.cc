#include "control/tls_listener.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <future>
#include <thread>

#include "io/testing.h"

namespace naru::control {
namespace {

using std::chrono::days;
using std::chrono::hours;

TEST(TlsStanding, IsToBeRenewedAThirdOfItsLifeBeforeItsEndAndTwoWeeksAtMost) {
  const auto renewal = [](hours life) {
    TlsListener::Standing standing;
    standing.not_before = from_epoch_ms(1'000'000'000);
    standing.not_after = standing.not_before + life;
    return standing.renewal();
  };
  EXPECT_EQ(renewal(days(90)), days(14));
  EXPECT_EQ(renewal(days(42)), days(14));
  EXPECT_EQ(renewal(days(6)), days(2));
  EXPECT_EQ(renewal(hours(3)), hours(1));
}

// A control that has a TLS listener, and the supervisor's end of its channel.
class TlsListenerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto [ours, theirs] = std::move(*ipc::Channel::pair());
    supervisor = std::move(ours);
    if (!said_before.is_null()) say(said_before);
    std::promise<void> ready;
    thread = std::thread([&, channel = ::dup(theirs.fd())] {
      reactor = std::move(io::Reactor::create().value());
      io::ServerOptions options;
      options.handler = [](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
        (void)co_await response.send(204);
      };
      auto server = io::HttpServer::start(*reactor, std::move(options),
                                          io::Listener::listen(*reactor, io::testing::loopback()).value());
      const Fd listening(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      ASSERT_EQ(::listen(listening.get(), 8), 0);  // on a port that the kernel chooses
      tls = std::move(*TlsListener::adopt(*reactor, ::dup(listening.get()), channel));
      tls->serve(*server, 100);
      at_once = tls->standing();
      sockaddr_in name{};
      socklen_t size = sizeof name;
      ::getsockname(listening.get(), reinterpret_cast<sockaddr*>(&name), &size);
      port = ntohs(name.sin_port);
      ready.set_value();
      reactor->run();
      reactor->block_on(server->stop(milliseconds(0)));
      server.reset();
      tls.reset();
      reactor.reset();
    });
    ready.get_future().wait();
  }
  void TearDown() override {
    reactor->stop();
    thread.join();
  }
  void say(const Json& what) { ASSERT_TRUE(supervisor.send(what, 5s)); }
  std::string refused_after(const std::string& before) {
    while (true) {
      const auto standing = tls->standing();
      if (standing && standing->refused != before) return standing->refused;
      std::this_thread::yield();
    }
  }

  Json said_before;                              // before control is there
  std::optional<TlsListener::Standing> at_once;  // when it begins to serve
  ipc::Channel supervisor;
  std::unique_ptr<io::Reactor> reactor;
  std::unique_ptr<TlsListener> tls;
  std::uint16_t port = 0;
  std::thread thread;
};

TEST_F(TlsListenerTest, WithoutACertificateClosesAtOnceAndServesWhenOneComes) {
  const io::testing::Certificate good;
  const std::string url = fmt::format("https://localhost:{}/", port);
  say({{"refused", "the key is another's"}});
  EXPECT_EQ(refused_after(""), "the key is another's");
  EXPECT_TRUE(tls->standing()->names.empty());
  const auto closed = io::fetch({.url = url}, good.trusting());
  ASSERT_FALSE(closed);
  EXPECT_NE(closed.error().code, Code::timeout);
  say({{"certificate", good.pem().certificate}, {"key", good.pem().key}});
  EXPECT_EQ(refused_after("the key is another's"), "");
  const auto served = io::fetch({.url = url}, good.trusting());
  ASSERT_TRUE(served) << served.error().message();
  EXPECT_EQ(served->status, 204);
}

class TlsListenerToldBefore : public TlsListenerTest {
 protected:
  void SetUp() override {
    said_before = {{"refused", "the key is another's"}};
    TlsListenerTest::SetUp();
  }
};

// The banner of `naru up` asks as soon as anybody answers.
TEST_F(TlsListenerToldBefore, KnowsItBeforeItAnswersAnybody) {
  ASSERT_TRUE(at_once);
  EXPECT_EQ(at_once->refused, "the key is another's");
}

TEST_F(TlsListenerTest, KeepsTheReasonWhenTheSupervisorCannotBeUnderstood) {
  say({{"certificate", "nonsense"}});
  const std::string first = refused_after("");
  EXPECT_FALSE(first.empty());
  ASSERT_EQ(::write(supervisor.fd(), "\4\0\0\0oops", 8), 8);
  EXPECT_NE(refused_after(first).find("cannot be read"), std::string::npos);
}

}  // namespace
}  // namespace naru::control
