#include "control/push_reach.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "image/http_io.h"
#include "image/pull.h"
#include "io/testing.h"
#include "model/changes.h"

namespace naru::control {
namespace {

using io::testing::TestServer;

// A registry of which one thing is known: where it sends those who ask.
io::Handler sends_on(const std::string& header, const std::string& value, int status) {
  return [=](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
    response.header(header, value);
    (void)co_await response.send(status, "");
  };
}

class PushReachTest : public testing::Test {
 protected:
  PushReachTest() {
    std::filesystem::create_directories(folder_ + "/state");
    auto store = store::Store::open(folder_ + "/state").value();
    State state;
    Changes changes(state, clock_.wall());
    App app;
    app.name = "shop";
    NetworkInfo network;
    network.subnet = "10.88.0.0/23";
    network.virtual_range = "10.88.2.0/23";
    changes.emit(event::AppCreated{app});
    Environment production;
    production.app = app.name;
    production.name = kProduction;
    changes.emit(event::EnvironmentCreated{production});
    changes.emit(event::NetworkReady{"shop/production", network});
    EXPECT_TRUE(store.commit(state, changes.events(), changes.touched(), changes.now()));
    store_.emplace(image::Store::open(folder_ + "/images").value());
  }
  ~PushReachTest() override {
    core_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  void allow(std::vector<std::string> allowed) {
    if (!core_) core_ = std::move(Core::open(folder_ + "/state", clock_).value());
    reach_.emplace(*core_, std::move(allowed));
  }
  Error pull(const std::string& registry) {
    image::IoHttp http(
        [this](const io::Url& url, const io::Address& address) { return reach_->check(url, address); });
    const auto reference = format::ImageReference::parse(registry + "/team/app:1").value();
    const auto pulled = image::pull(*store_, http, reference, {.attempts = 1});
    EXPECT_FALSE(pulled);
    return pulled ? Error{} : pulled.error();
  }
  Result<void> check(const std::string& ip) {
    return reach_->check(io::Url::parse("http://registry.example/").value(),
                         io::Address::of_ip(ip, 80).value());
  }

  SystemClock clock_;
  std::string folder_ = testing::TempDir() + "naru-reach-" + secure_random_hex(6);
  std::unique_ptr<Core> core_;
  std::optional<PushReach> reach_;
  std::optional<image::Store> store_;
};

TEST_F(PushReachTest, RefusesThisMachineAndItsContainersAndNothingElse) {
  allow({});
  for (const char* ip : {"127.0.0.1", "0.0.0.0", "169.254.169.254", "::1", "10.88.1.7", "10.88.3.200"})
    EXPECT_EQ(check(ip).error().code, Code::registry_refused) << ip;
  for (const char* ip : {"192.0.2.1", "10.88.4.1", "2001:db8::1"}) EXPECT_TRUE(check(ip)) << ip;
}

// Else a push could look for open ports.
TEST_F(PushReachTest, SaysTheSameOfAnOpenAndOfAClosedPort) {
  allow({});
  int asked = 0;
  TestServer open([&](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
    ++asked;
    (void)co_await response.send(200, "{}");
  });
  const std::string place = open.address().text();
  Error of_open = pull(place), of_closed = pull("127.0.0.1:1");
  EXPECT_EQ(of_open.code, Code::registry_refused);
  const auto without_place = [](std::string text, const std::string& named) {
    for (auto at = text.find(named); at != std::string::npos; at = text.find(named))
      text.erase(at, named.size());
    return text;
  };
  EXPECT_EQ(without_place(of_open.message(), place), without_place(of_closed.message(), "127.0.0.1:1"));
  EXPECT_NE(of_open.hint().find("naru up --allow-registry " + place), std::string::npos) << of_open.hint();
  EXPECT_EQ(asked, 0);
}

TEST_F(PushReachTest, AnAllowedRegistryDoesNotSendOnToAnotherPlaceHere) {
  int asked = 0;
  TestServer inner([&](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
    ++asked;
    (void)co_await response.send(200, R"({"token": "x"})");
  });
  TestServer redirects(sends_on("Location", inner.url("/v1/apps"), 307));
  TestServer realm(
      sends_on("WWW-Authenticate", fmt::format("Bearer realm=\"{}\"", inner.url("/token")), 401));
  for (const TestServer* registry : {&redirects, &realm}) {
    allow({registry->address().text()});
    const Error error = pull(registry->address().text());
    EXPECT_EQ(error.code, Code::registry_refused);
    EXPECT_TRUE(error.message().starts_with(inner.address().text())) << error.message();
  }
  EXPECT_EQ(asked, 0);
  // Allowed, too: the refusal is of the address, not of the way.
  allow({redirects.address().text(), inner.address().text()});
  (void)pull(redirects.address().text());
  EXPECT_EQ(asked, 1);
}

}  // namespace
}  // namespace naru::control
