#include "supervisor/sockets.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace naru::supervisor {
namespace {

std::uint16_t port_of(const Fd& fd) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

TEST(Sockets, APortThatIsTakenIsNamed) {
  const Fd first = open_listener({"a", ListenerKind::tcp, "127.0.0.1", 0}).value();
  const auto second = open_listener({"b", ListenerKind::tcp, "127.0.0.1", port_of(first)});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::port_taken);
  EXPECT_NE(second.error().message().find(std::to_string(port_of(first))), std::string::npos);
}

TEST(Sockets, AnAddressThatComesLaterIsBoundAlready) {
  EXPECT_TRUE(open_listener({"inner", ListenerKind::inner, "10.88.77.1", 0}));
  EXPECT_TRUE(open_listener({"dns", ListenerKind::dns_udp, "10.88.77.1", 0}));
}

// The attack: another local user listens on [::1] at our port and gets what people send to `localhost`.
TEST(Sockets, TheOtherHalfOfLocalhostIsOurs) {
  const Fd ours = open_listener({"control", ListenerKind::http, "127.0.0.1", 0}).value();
  const ListenerSpec spec{"control", ListenerKind::http, "127.0.0.1", port_of(ours)};
  {
    const auto half = open_other_half(spec);
    ASSERT_TRUE(half) << half.error().message();
    if (*half) {  // else this machine has no IPv6, and nobody can sit there
      const auto theirs = open_listener({"evil", ListenerKind::http, "::1", spec.port});
      ASSERT_FALSE(theirs);
      EXPECT_EQ(theirs.error().code, Code::port_taken);
    }
  }
  if (const auto first = open_listener({"evil", ListenerKind::http, "::1", spec.port})) {
    const auto refused = open_other_half(spec);
    ASSERT_FALSE(refused);  // said, not shared
    EXPECT_EQ(refused.error().code, Code::port_taken);
  }
  EXPECT_FALSE(open_other_half({"edge", ListenerKind::http, "", spec.port}).value());
}

TEST(Sockets, GarbageAddressesAreRefused) {
  for (const char* address : {"localhost", "999.1.1.1", "10.0.0.0/8", "::g"})
    EXPECT_FALSE(open_listener({"x", ListenerKind::tcp, address, 0})) << address;
}

TEST(Sockets, ASetIsReplacedAsAWhole) {
  Listeners listeners;
  const ListenerSpec a{"a", ListenerKind::tcp, "127.0.0.1", 0}, b{"b", ListenerKind::tcp, "127.0.0.1", 0};
  EXPECT_TRUE(listeners.replace({a, b}).empty());
  const int kept = listeners.open().at("b").fd.get();
  const auto errors = listeners.replace({b, {"bad", ListenerKind::tcp, "nonsense", 1}});
  EXPECT_FALSE(listeners.open().contains("a"));
  EXPECT_EQ(listeners.open().at("b").fd.get(), kept);
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].name, "bad");
}

// 127.0.0.1:8000:80 becomes 8000:80, and back, while the gateway still holds the old socket.
TEST(Sockets, AnotherAddressOfTheSamePortTakesEffectAtOnce) {
  Listeners listeners;
  const Fd free = open_listener({"free", ListenerKind::tcp, "127.0.0.1", 0}).value();
  const std::uint16_t port = port_of(free);
  ::shutdown(free.get(), SHUT_RDWR);
  std::vector<Fd> gateway;
  for (const char* address : {"127.0.0.1", "", "127.0.0.1", ""}) {
    const std::string name = fmt::format("host@{}", address);
    const auto errors = listeners.replace({{name, ListenerKind::tcp, address, port}});
    ASSERT_TRUE(errors.empty()) << address << ": " << errors[0].message;
    gateway.emplace_back(::dup(listeners.open().at(name).fd.get()));
  }
}

}  // namespace
}  // namespace naru::supervisor
