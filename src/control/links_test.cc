#include "control/links.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "base/rng.h"

namespace naru::control {
namespace {

// A gateway that says the same thing to every table.
class GatewayLinkTest : public testing::Test {
 protected:
  Result<void> publish(const Json& answer) {
    const std::string path = testing::TempDir() + "naru-links-" + secure_random_hex(6);
    auto listener = ipc::listen_unix(path).value();
    const std::jthread gateway([&] {
      ipc::Channel channel(Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)));
      ASSERT_TRUE(channel.receive(10s));
      ASSERT_TRUE(channel.send(answer, 10s));
      (void)channel.receive(10s);  // until the other end closes
    });
    GatewayLink link(path);
    RouteTable table;
    table.revision = 7;
    auto published = link.publish(table);
    ::unlink(path.c_str());
    return published;
  }
};

TEST_F(GatewayLinkTest, ATableIsPublishedOnceItIsAcknowledged) {
  EXPECT_TRUE(publish({{"acked", 7}}));
}

// It cannot say which one: it could not read it.
TEST_F(GatewayLinkTest, ATableThatTheGatewayCannotReadIsRefusedWithTheReason) {
  const auto refused = publish({{"refused", 0}, {"error", "weight is a word"}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::conflict);
  EXPECT_NE(refused.error().message().find("weight is a word"), std::string::npos);
}

}  // namespace
}  // namespace naru::control
