// Names of services from the route table, and others by resolvers of the host that the test plays.
#include "gateway/dns_service.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "base/clock.h"
#include "format/dns.h"
#include "gateway/test_world.h"

namespace naru::gateway::testing {
namespace {

std::string question(std::string_view name, std::uint16_t type = format::kDnsTypeA) {
  std::string out("\x12\x34\x01\0\0\x01\0\0\0\0\0\0", 12);
  while (!name.empty()) {
    const std::size_t dot = std::min(name.find('.'), name.size());
    out.push_back(static_cast<char>(dot));
    out += name.substr(0, dot);
    name.remove_prefix(std::min(name.size(), dot + 1));
  }
  return out + std::string{0, static_cast<char>(type >> 8), static_cast<char>(type & 0xff), 0, 1};
}

struct DnsWorld : World {
  // `resolvers`: their addresses, in the order of resolv.conf.
  explicit DnsWorld(const std::vector<std::string>& resolvers = {}, std::uint16_t port = 53) {
    stop();
    resolver_port = port;
    std::ofstream conf(folder + "/resolv.conf");
    for (const std::string& ip : resolvers) conf << "nameserver " << ip << '\n';
    conf.close();
    add_listener("dns-udp:shop.production", ListenerKind::dns_udp, bound("127.0.0.1", 0, SOCK_DGRAM));
    add_listener("dns-tcp:shop.production", ListenerKind::dns_tcp, bound("127.0.0.1"));
    environment().callers = {{"127.0.0.1", "web", 1}};
    start();
    publish();
    asker = Fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const timeval bound_time{0, 200'000};
    setsockopt(asker.get(), SOL_SOCKET, SO_RCVTIMEO, &bound_time, sizeof bound_time);
    const sockaddr_in address = loopback("127.0.0.1", port_of_socket(sockets[2].get()));
    EXPECT_EQ(connect(asker.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  void send(const std::string& bytes) const {
    EXPECT_EQ(::send(asker.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }
  // The next answer, within ten seconds.
  std::string receive() const {
    char buffer[4096];
    for (int attempt = 0; attempt < 50; ++attempt)
      if (const ssize_t got = recv(asker.get(), buffer, sizeof buffer, 0); got > 0)
        return std::string(buffer, static_cast<std::size_t>(got));
    return {};
  }
  // As resolvers do: asks again when nothing comes (a full socket drops datagrams).
  std::string ask_dns(const std::string& bytes) {
    char buffer[4096];
    for (int attempt = 0; attempt < 50; ++attempt) {
      send(bytes);
      const ssize_t got = recv(asker.get(), buffer, sizeof buffer, 0);
      if (got > 0) return std::string(buffer, static_cast<std::size_t>(got));
    }
    return {};
  }
  Fd asker;
};

TEST(Names, OfServicesAreTheirVirtualAddresses) {
  DnsWorld world;
  const std::string virtual_address("\x0a\x58\x02\x02", 4);
  for (const char* name : {"web", "WEB", "web.production.shop", "web.production.shop.localhost"}) {
    const std::string got = world.ask_dns(question(name));
    ASSERT_GT(got.size(), 16U) << name;
    EXPECT_EQ(got.substr(got.size() - 4), virtual_address) << name;
  }
  EXPECT_EQ(world.ask_dns(question("web", format::kDnsTypeAaaa))[7], 0) << "NODATA";
  EXPECT_EQ(world.ask_dns(question("web", format::kDnsTypeAaaa))[3] & 15, 0);
  EXPECT_EQ(world.ask_dns(question("nobody"))[3] & 15, 3) << "NXDOMAIN";
  EXPECT_EQ(world.ask_dns(question("example.org"))[3] & 15, 2) << "no resolver in this test's resolv.conf";
}

TEST(Names, AreAnsweredOverTcpToo) {
  DnsWorld world;
  Client client(port_of_socket(world.sockets[3].get()));
  for (int i = 0; i < 3; ++i) {
    const std::string bytes = question("web");
    client.send(std::string{0, static_cast<char>(bytes.size())} + bytes);
    const std::string prefix = client.take(2);
    ASSERT_EQ(prefix.size(), 2U);
    const std::string got = client.take(static_cast<unsigned char>(prefix[1]));
    EXPECT_EQ(got.substr(got.size() - 4), std::string("\x0a\x58\x02\x02", 4));
  }
}

TEST(Names, GarbageIsAnsweredOrIgnoredAndNothingBreaks) {
  DnsWorld world;
  Rng rng(3);
  for (int i = 0; i < 2000; ++i) {
    std::string bytes = question("web.production.shop");
    bytes[2] = static_cast<char>(bytes[2] | '\x80');  // answers are not answered: nothing to read back
    for (char& c : std::span(bytes).subspan(3)) c = rng.chance(0.2) ? static_cast<char>(rng.next()) : c;
    ::send(world.asker.get(), bytes.data(), bytes.size(), 0);
  }
  EXPECT_EQ(world.ask_dns(question("web")).size(), question("web").size() + 16);
  Client client(port_of_socket(world.sockets[3].get()));
  client.send(std::string("\xff\xff garbage"));
  EXPECT_EQ(client.read_to_end(), "");
}

TEST(Names, OfOtherEnvironmentsAreNotOurs) {
  const format::DnsQuery query = *format::parse_dns_query(question("web.staging.shop"));
  route::Environment environment;
  environment.app = "shop";
  environment.name = "production";
  route::CallerView asker;
  asker.known = true;
  EXPECT_EQ(decide_dns(query, &environment, asker).kind, DnsDecision::Kind::forward);
  EXPECT_EQ(decide_dns(query, &environment, {}).kind, DnsDecision::Kind::refuse);
  EXPECT_EQ(decide_dns(query, nullptr, asker).kind, DnsDecision::Kind::refuse);
}

// ---- what is outside

int code_of(const std::string& answer) {
  return answer.size() < format::kDnsHeader ? -1 : answer[3] & 15;
}
bool is_cut(const std::string& answer) {
  return (answer.at(2) & 2) != 0;
}
std::string last_address(const std::string& answer) {
  if (answer.size() < 4) return {};
  const std::basic_string<unsigned char> bytes(answer.end() - 4, answer.end());
  return fmt::format("{}.{}.{}.{}", bytes[0], bytes[1], bytes[2], bytes[3]);
}

// The answer to `question` with `records` A records, each 192.0.2.<last>.
std::string answer_to(std::string question, char last, std::uint16_t records = 1) {
  question[2] = static_cast<char>(question[2] | '\x80');
  question[6] = static_cast<char>(records >> 8);
  question[7] = static_cast<char>(records & 0xff);
  for (std::uint16_t i = 0; i < records; ++i)
    question += std::string("\xc0\x0c\0\1\0\1\0\0\0\5\0\4\xc0\0\2", 15) + last;
  return question;
}

// A resolver of the host, played by the test: it says what it is told to, and nothing by itself.
struct Resolver {
  explicit Resolver(const std::string& ip, std::uint16_t port = 0) : udp(bound(ip, port, SOCK_DGRAM)) {
    tcp = bound(ip, port_of_socket(udp.get()));
    EXPECT_TRUE(udp && tcp) << ip << ':' << port;
    const timeval patience{5, 0};
    setsockopt(udp.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(tcp.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  std::uint16_t port() const { return port_of_socket(udp.get()); }

  struct Asked {
    std::string bytes;
    sockaddr_in from{};
  };
  Asked next() const {
    Asked out{std::string(4096, '\0'), {}};
    socklen_t length = sizeof out.from;
    const ssize_t got = recvfrom(udp.get(), out.bytes.data(), out.bytes.size(), 0,
                                 reinterpret_cast<sockaddr*>(&out.from), &length);
    EXPECT_GT(got, 0) << "it was not asked";
    out.bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return out;
  }
  void say(const std::string& bytes, const sockaddr_in& to) const {
    EXPECT_EQ(
        sendto(udp.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to),
        static_cast<ssize_t>(bytes.size()));
  }
  Fd accept() const { return Fd(accept4(tcp.get(), nullptr, nullptr, SOCK_CLOEXEC)); }

  Fd udp, tcp;
};

std::string framed(const std::string& bytes) {
  return std::string{static_cast<char>(bytes.size() >> 8), static_cast<char>(bytes.size() & 0xff)} + bytes;
}
// "" at the end of the connection.
std::string read_framed(int fd) {
  std::string out(2, '\0');
  if (recv(fd, out.data(), 2, MSG_WAITALL) != 2) return {};
  out.resize(static_cast<std::size_t>((static_cast<unsigned char>(out[0]) << 8) |
                                      static_cast<unsigned char>(out[1])));
  if (recv(fd, out.data(), out.size(), MSG_WAITALL) != static_cast<ssize_t>(out.size())) return {};
  return out;
}
void write_framed(int fd, const std::string& bytes) {
  const std::string out = framed(bytes);
  EXPECT_EQ(::send(fd, out.data(), out.size(), MSG_NOSIGNAL), static_cast<ssize_t>(out.size()));
}

constexpr const char* kFirst = "127.0.0.51";
constexpr const char* kSecond = "127.0.0.52";

TEST(NamesOutside, AreAskedOfTheHostsResolver) {
  const Resolver resolver(kFirst);
  const DnsWorld world({kFirst}, resolver.port());
  std::set<std::uint16_t> ports;
  for (char last = 1; last <= 5; ++last) {
    world.send(question("Example.org"));
    const Resolver::Asked asked = resolver.next();
    ports.insert(asked.from.sin_port);
    EXPECT_EQ(asked.bytes.substr(2), question("Example.org").substr(2))
        << "as it was spelled, under an id of our own";
    resolver.say(answer_to(asked.bytes, last), asked.from);
    EXPECT_EQ(world.receive(), answer_to(question("Example.org"), last))
        << "under the id that was asked with";
  }
  EXPECT_GT(ports.size(), 1U) << "a port that can be guessed";
}

// The attack: whoever guesses when a question is asked answers it first. The truth comes last, and is the
// first that arrives.
TEST(NamesOutside, ALieIsNotPassedOn) {
  const Resolver resolver(kFirst), stranger(kSecond, resolver.port()), other_port(kFirst);
  const DnsWorld world({kFirst}, resolver.port());
  for (int round = 0; round < 20; ++round) {
    world.send(question("example.org"));
    const Resolver::Asked asked = resolver.next();
    std::string lie = answer_to(asked.bytes, 66);
    stranger.say(lie, asked.from);
    other_port.say(lie, asked.from);
    lie[round % 2] = static_cast<char>(lie[round % 2] ^ (1 + round));
    resolver.say(lie, asked.from);
    std::string of_another = question("example.net");
    of_another.replace(0, 2, asked.bytes, 0, 2);
    resolver.say(answer_to(of_another, 66), asked.from);
    std::string of_another_type = question("example.org", format::kDnsTypeAaaa);
    of_another_type.replace(0, 2, asked.bytes, 0, 2);
    resolver.say(answer_to(of_another_type, 66), asked.from);
    resolver.say(asked.bytes, asked.from);  // a question, no answer
    resolver.say(asked.bytes.substr(0, 11), asked.from);
    resolver.say(answer_to(asked.bytes, 7), asked.from);
    ASSERT_EQ(last_address(world.receive()), "192.0.2.7");
  }
}

TEST(NamesOutside, AreAskedOfTheNextResolverWhenTheFirstIsLateAndItsAnswerIsForNobody) {
  const Resolver first(kFirst), second(kSecond, first.port());
  const DnsWorld world({kFirst, kSecond}, first.port());
  world.send(question("example.org"));
  const Resolver::Asked late = first.next(), asked = second.next();
  first.say(answer_to(late.bytes, 1), late.from);
  first.say(answer_to(late.bytes, 1), asked.from);
  second.say(answer_to(asked.bytes, 2), asked.from);
  EXPECT_EQ(last_address(world.receive()), "192.0.2.2");
  world.send(question("web"));
  EXPECT_EQ(world.receive().substr(12, 4), question("web").substr(12, 4)) << "one answer to each question";
}

TEST(NamesOutside, AreNotFoundInTimeWhenNobodyAnswers) {
  const Resolver resolver(kFirst);
  const DnsWorld world({kFirst}, resolver.port());
  const MonoTime before = SystemClock().mono();
  world.send(question("example.org"));
  const Resolver::Asked asked = resolver.next();
  const std::string answer = world.receive();
  EXPECT_EQ(code_of(answer), 2) << "SERVFAIL";
  EXPECT_EQ(answer.substr(0, 2), question("").substr(0, 2));
  EXPECT_GE(SystemClock().mono() - before, kDnsTimeout);
  resolver.say(answer_to(asked.bytes, 1), asked.from);
  world.send(question("web"));
  EXPECT_EQ(world.receive().substr(12, 4), question("web").substr(12, 4))
      << "what came too late is for nobody";
}

// Whoever asked by UDP is told that the answer is cut, and asks again by TCP: so do we.
TEST(NamesOutside, LongAnswersComeByTcp) {
  const Resolver resolver(kFirst);
  const DnsWorld world({kFirst}, resolver.port());
  world.send(question("example.org"));
  const Resolver::Asked asked = resolver.next();
  std::string cut = answer_to(asked.bytes, 1, 0);
  cut[2] = static_cast<char>(cut[2] | 2);
  resolver.say(cut, asked.from);
  EXPECT_TRUE(is_cut(world.receive()));
  world.send(question("example.org"));
  const Resolver::Asked again = resolver.next();
  resolver.say(answer_to(again.bytes, 1, 100), again.from);
  const std::string too_long = world.receive();
  EXPECT_TRUE(is_cut(too_long)) << "512 bytes are what an asker without EDNS takes";
  EXPECT_EQ(too_long.size(), question("example.org").size());

  Client client(port_of_socket(world.sockets[3].get()));
  for (char last = 1; last <= 3; ++last) {
    client.send(framed(question("example.org")));
    const Fd peer = resolver.accept();
    const std::string by_tcp = read_framed(peer.get());
    EXPECT_EQ(by_tcp.substr(2), question("example.org").substr(2));
    write_framed(peer.get(), answer_to(by_tcp, last, 1'000));
    EXPECT_EQ(read_framed(client.fd()), answer_to(question("example.org"), last, 1'000));
  }
}

TEST(NamesOutside, OverTcpALieOrAConnectionCutShortLeadsToTheNextResolver) {
  const Resolver first(kFirst), second(kSecond, first.port());
  const DnsWorld world({kFirst, kSecond}, first.port());
  Client client(port_of_socket(world.sockets[3].get()));
  const std::vector<std::function<std::string(const std::string&)>> lies{
      [](const std::string& asked) {
        std::string lie = answer_to(asked, 66);
        lie[1] = static_cast<char>(lie[1] ^ 1);
        return framed(lie);
      },
      [](const std::string& asked) {
        std::string lie = question("example.net");
        lie.replace(0, 2, asked, 0, 2);
        return framed(answer_to(lie, 66));
      },
      [](const std::string& asked) { return framed(answer_to(asked, 66)).substr(0, 20); },
      [](const std::string&) { return std::string(2, '\0'); },
      [](const std::string&) { return std::string(); }};
  for (const auto& lie : lies) {
    client.send(framed(question("example.org")));
    Fd peer = first.accept();
    const std::string said = lie(read_framed(peer.get()));
    EXPECT_EQ(::send(peer.get(), said.data(), said.size(), MSG_NOSIGNAL), static_cast<ssize_t>(said.size()));
    peer.reset();
    const Fd next = second.accept();
    ASSERT_TRUE(next) << "the lie was believed";
    write_framed(next.get(), answer_to(read_framed(next.get()), 2));
    ASSERT_EQ(last_address(read_framed(client.fd())), "192.0.2.2");
  }
  // The second lies, too: then there is no answer.
  client.send(framed(question("example.org")));
  first.accept().reset();
  second.accept().reset();
  EXPECT_EQ(code_of(read_framed(client.fd())), 2);
}

}  // namespace
}  // namespace naru::gateway::testing
