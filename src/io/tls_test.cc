// The TLS server with real peers (curl, openssl) and with bad ones.
#include "io/tls.h"

#include <array>

#include "io/testing.h"

namespace naru::io {
namespace {

using testing::Certificate;
using testing::raw;
using testing::shell;
using testing::TestServer;

constexpr std::size_t kMuch = 48U << 20;

// What the handlers tell the tests.
struct Seen {
  std::atomic<int> gone = 0, cut_short = 0;
};

Task<void> count(Request& request, ResponseWriter& response, Seen* seen) {
  request.limit_body(std::uint64_t{1} << 30);
  std::uint64_t total = 0;
  const auto buffer = std::make_unique<std::array<char, 65536>>();
  while (true) {
    const auto n = co_await request.read(*buffer);
    if (!n && n.error().code == Code::closed) ++seen->cut_short;
    if (!n) co_return (void) co_await response.send_error(n.error());
    if (*n == 0) break;
    total += *n;
  }
  co_return (void) co_await response.send(200, std::to_string(total));
}

Handler respond(Seen* seen = nullptr) {
  return [seen](Request& request, ResponseWriter& response) -> Task<void> {
    const std::string path = request.path();
    if (path == "/count") co_return co_await count(request, response, seen);
    if (path == "/much") {
      (void)co_await response.start(200, kMuch);
      const std::string piece(1U << 20, 'm');
      for (std::size_t sent = 0; sent < kMuch; sent += piece.size()) (void)co_await response.write(piece);
      co_return (void) co_await response.finish();
    }
    if (path == "/wait") {
      (void)co_await response.start_events();
      (void)co_await response.event("begun", "1");
      while (!request.client_gone()) co_await sleep(request.reactor(), 1ms);
      ++seen->gone;
      co_return;
    }
    if (path == "/upgrade") {
      std::string pending;
      auto stream = co_await response.upgrade("echo", pending);
      if (!stream) co_return;
      char buffer[64];
      while (true) {
        const auto n = co_await stream->read(buffer, after(5s));
        if (!n || *n == 0) co_return;
        (void)co_await stream->write(std::string_view(buffer, *n), after(5s));
      }
    }
    const std::string answer =
        fmt::format("{} {} {}\n", request.is_tls() ? "tls" : "plain",
                    request.certificate_is_for(request.host()) ? "ours" : "foreign", request.host());
    co_return (void) co_await response.send(200, answer);
  };
}

// A server at localhost with `certificate`, and how to reach it.
struct World {
  Seen seen;
  Certificate certificate;
  TestServer server;
  explicit World(ListenerOptions listening = {}, ServerOptions options = {})
      : server(respond(&seen), std::move(options), testing::loopback(), with(std::move(listening))) {}
  ListenerOptions with(ListenerOptions listening) const {
    listening.tls = certificate.identity();
    return listening;
  }
  int port() const { return server.address().port(); }
  std::string url(std::string_view path = "/") const {
    return fmt::format("https://localhost:{}{}", port(), path);
  }
  std::string curl(std::string_view path, std::string_view options = "") const {
    return shell(
        fmt::format("curl -sS --noproxy '*' -m 20 --cacert {} {} {}", certificate.file, options, url(path)));
  }
  std::string s_client(const std::string& options, const std::string& input = "") const {
    return shell(
        fmt::format("printf '{}' | openssl s_client -connect localhost:{} -servername localhost "
                    "-CAfile {} -verify_return_error -verify_hostname localhost {}",
                    input, port(), certificate.file, options));
  }
};

TEST(Tls, ServesCurlAndOurOwnClientWhoVerifyItsName) {
  const World world;
  EXPECT_EQ(world.curl("/"), "tls ours localhost\n");
  EXPECT_EQ(world.curl("/", "-H 'Host: rebound.example'"), "tls foreign rebound.example\n");
  const auto hello = fetch({.url = world.url()}, world.certificate.trusting());
  ASSERT_TRUE(hello) << hello.error().message();
  EXPECT_EQ(hello->body, "tls ours localhost\n");
}

TEST(Tls, AClientSaysWhyItDoesNotBelieveAServer) {
  const World world;
  const auto wrong_name =
      fetch({.url = fmt::format("https://127.0.0.1:{}/", world.port())}, world.certificate.trusting());
  EXPECT_EQ(wrong_name.error().code, Code::tls_failure);
  EXPECT_NE(wrong_name.error().context.find(kWrongName), std::string::npos) << wrong_name.error().message();
  EXPECT_NE(wrong_name.error().context.find("for localhost"), std::string::npos);
  const auto untrusted = fetch({.url = world.url()});
  EXPECT_NE(untrusted.error().context.find(kUntrusted), std::string::npos) << untrusted.error().message();
  const Certificate over;
  over.expire();
  const TestServer old(respond(), {}, testing::loopback(), {.tls = over.identity()});
  const auto late =
      fetch({.url = fmt::format("https://localhost:{}/", old.address().port())}, over.trusting());
  EXPECT_NE(late.error().context.find(kOutOfDate), std::string::npos) << late.error().message();
  const TestServer plain(respond());
  const auto no_tls = fetch({.url = fmt::format("https://localhost:{}/", plain.address().port())});
  EXPECT_NE(no_tls.error().context.find(kNoTls), std::string::npos) << no_tls.error().message();
}

TEST(Tls, SpeaksWhatIsModernAndNothingElse) {
  const World world;
  for (const char* version : {"-tls1_2", "-tls1_3"}) {
    const std::string said = world.s_client(fmt::format("{} -alpn h2,http/1.1", version));
    EXPECT_NE(said.find("ALPN protocol: http/1.1"), std::string::npos) << said;
    EXPECT_NE(said.find("Verify return code: 0 (ok)"), std::string::npos) << said;
  }
  EXPECT_NE(world.s_client("-alpn h2").find("no application protocol"), std::string::npos);
  EXPECT_NE(world.s_client("-tls1_1 -cipher DEFAULT@SECLEVEL=0").find("alert"), std::string::npos);
  EXPECT_NE(world.s_client("-tls1_2 -cipher AES128-SHA").find("handshake failure"), std::string::npos);
  const std::string renegotiating = world.s_client("-tls1_2", "R\\n");
  EXPECT_NE(renegotiating.find("no renegotiation"), std::string::npos) << renegotiating;
  EXPECT_EQ(world.curl("/"), "tls ours localhost\n");
}

TEST(Tls, CarriesMuchBothWays) {
  const World world;
  const auto much = fetch({.url = world.url("/much")}, world.certificate.trusting());
  ASSERT_TRUE(much) << much.error().message();
  EXPECT_EQ(much->body, std::string(kMuch, 'm'));
  FetchRequest upload{.method = "POST", .url = world.url("/count"), .body = std::string(kMuch, 'u')};
  EXPECT_EQ(fetch(std::move(upload), world.certificate.trusting())->body, std::to_string(kMuch));
  EXPECT_EQ(shell(fmt::format("head -c {} /dev/zero | curl -sS --noproxy '*' -T - --cacert {} {}", kMuch,
                              world.certificate.file, world.url("/count"))),
            std::to_string(kMuch));
}

TEST(Tls, HandsOverAnUpgradedConnection) {
  World world;
  auto reactor = std::move(Reactor::create().value());
  HttpClient client(*reactor, world.certificate.trusting());
  const auto run = [](HttpClient& c, std::string url) -> Task<Result<std::string>> {
    FetchRequest request{.url = std::move(url)};
    request.headers.push_back({"Connection", "upgrade"});
    request.headers.push_back({"Upgrade", "echo"});
    CO_TRY(Exchange exchange, co_await c.open(std::move(request)));
    std::string pending;
    Stream stream = exchange.take_stream(pending);
    CO_TRY_VOID(co_await stream.write("there", after(5s)));
    char buffer[64];
    CO_TRY(const std::size_t n, co_await stream.read(buffer, after(5s)));
    co_return std::string(buffer, n);
  };
  EXPECT_EQ(reactor->block_on(run(client, world.url("/upgrade"))).value(), "there");
}

Task<Result<Stream>> connect_tls(Reactor& reactor, Address to, const Certificate& trusted) {
  CO_TRY(Stream stream, co_await connect(reactor, to, after(10s)));
  CO_TRY(auto context, TlsContext::client({.ca_file = trusted.file}));
  CO_TRY_VOID(co_await start_tls_client(stream, std::move(context), "localhost", after(10s)));
  co_return std::move(stream);
}

Task<Result<std::string>> ask(Stream& stream, std::string bytes, bool half_close) {
  CO_TRY_VOID(co_await stream.write(bytes, after(10s)));
  if (half_close) stream.shutdown_write();
  std::string out;
  const auto buffer = std::make_unique<std::array<char, 65536>>();
  while (true) {
    CO_TRY(const std::size_t n, co_await stream.read(*buffer, after(10s)));
    if (n == 0) co_return std::move(out);
    out.append(buffer->data(), n);
  }
}

TEST(Tls, WhoHasClosedItsHalfStillGetsTheWholeAnswer) {
  World world;
  auto reactor = std::move(Reactor::create().value());
  Stream stream = reactor->block_on(connect_tls(*reactor, world.server.address(), world.certificate)).value();
  const auto answer = reactor->block_on(ask(stream, "GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n", true));
  ASSERT_TRUE(answer) << answer.error().message();
  EXPECT_GT(answer->size(), kMuch);
}

template <class Probe>
bool comes_true(Probe probe) {
  for (const Deadline deadline = after(10s); std::chrono::steady_clock::now() < deadline;)
    if (probe()) return true;
  return false;
}

TEST(Tls, AHandlerHearsThatItsClientHasGone) {
  World world;
  auto reactor = std::move(Reactor::create().value());
  for (const bool politely : {true, false}) {
    Stream stream =
        reactor->block_on(connect_tls(*reactor, world.server.address(), world.certificate)).value();
    const auto begin = [](Stream& s) -> Task<Result<std::size_t>> {
      CO_TRY_VOID(co_await s.write("GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n", after(10s)));
      char buffer[512];
      co_return co_await s.read(buffer, after(10s));
    };
    EXPECT_GT(reactor->block_on(begin(stream)).value(), 0u);
    const int before = world.seen.gone;
    if (politely) stream.shutdown_write();
    stream.close();
    EXPECT_TRUE(comes_true([&] { return world.seen.gone == before + 1; })) << politely;
  }
}

TEST(Tls, ABodyThatItsClientLeavesIsCutShortAndNotShort) {
  World world;
  auto reactor = std::move(Reactor::create().value());
  Stream stream = reactor->block_on(connect_tls(*reactor, world.server.address(), world.certificate)).value();
  const auto half = [](Stream& s) -> Task<Result<void>> {
    co_return co_await s.write(
        "POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nonly this", after(10s));
  };
  EXPECT_TRUE(reactor->block_on(half(stream)));
  stream.close();  // no close_notify: as when a cable is pulled
  EXPECT_TRUE(comes_true([&] { return world.seen.cut_short == 1; }));
}

TEST(Tls, GarbageAndLeavingInTheMiddleOfAHandshakeHurtNobody) {
  const World world;
  const std::string hello("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                          11);  // the beginning of a ClientHello
  for (const std::string& bytes : {std::string(300, '\0'), std::string("\x16\x03\x01\xff\xff\x01"),
                                   std::string(5000, '\xff'), hello, hello + std::string(506, 'x')})
    EXPECT_EQ(raw(world.server.address(), bytes, true).find("HTTP/1.1"), std::string::npos);
  EXPECT_EQ(world.curl("/"), "tls ours localhost\n");
}

TEST(Tls, PlainHttpIsToldThatThisPortSpeaksTls) {
  const World world;
  const std::string answer =
      shell(fmt::format("curl -sS -D - --noproxy '*' http://localhost:{}/v1/apps", world.port()));
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 ")) << answer;
  EXPECT_NE(answer.find("https://"), std::string::npos) << answer;
}

TEST(Tls, AHandshakeThatTakesTooLongIsClosed) {
  const World world({.tls = {}, .handshake_timeout = 50ms});
  EXPECT_EQ(raw(world.server.address(), ""), "");
  EXPECT_EQ(raw(world.server.address(), "\x16\x03\x01"), "");
}

std::vector<Fd> hold(const Address& to, int count) {
  std::vector<Fd> held;
  for (int i = 0; i < count; ++i) {
    Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(socket.get(), to.raw(), to.length()), 0);
    held.push_back(std::move(socket));
  }
  return held;
}

// The attack: handshakes that are begun and never finished, as many as there is room for.
TEST(Tls, HandshakesThatAreNeverFinishedHoldNobodyUp) {
  const World world({.tls = {}, .handshake_timeout = 60s, .handshakes = 4, .handshake_patience = 50ms});
  const auto held = hold(world.server.address(), 12);
  EXPECT_EQ(world.curl("/"), "tls ours localhost\n");
  const World patient({.tls = {}, .handshake_timeout = 60s, .handshakes = 4, .handshake_patience = 60s});
  const auto also_held = hold(patient.server.address(), 12);
  EXPECT_NE(patient.curl("/", "-m 1"), "tls ours localhost\n") << "the attack does not work";
}

// The attack: one address opens all connections that there are.
TEST(Tls, OneAddressDoesNotGetEveryConnection) {
  const World world({.tls = {}, .connections = 8, .per_address = 4, .handshake_timeout = 60s});
  const auto held = hold(world.server.address(), 12);
  EXPECT_NE(world.curl("/", "-m 5"), "tls ours localhost\n");
  const auto elsewhere =
      shell(fmt::format("curl -sS -m 10 --noproxy '*' --interface 127.0.0.2 --cacert {} {}",
                        world.certificate.file, world.url()));
  EXPECT_EQ(elsewhere, "tls ours localhost\n");
  const World unbounded({.tls = {}, .connections = 8, .handshake_timeout = 60s});
  const auto all_held = hold(unbounded.server.address(), 12);
  EXPECT_NE(shell(fmt::format("curl -sS -m 1 --noproxy '*' --interface 127.0.0.2 --cacert {} {}",
                              unbounded.certificate.file, unbounded.url())),
            "tls ours localhost\n")
      << "the attack does not work";
}

TEST(Tls, ARenewedCertificateIsShownFromTheNextHandshakeOn) {
  const Certificate first, second;
  const auto identity = first.identity();
  TestServer server(respond(), {}, testing::loopback(), {.tls = identity});
  const std::string url = fmt::format("https://localhost:{}/", server.address().port());
  const auto kept = BlockingClient::create(first.trusting()).value();
  EXPECT_TRUE(kept->fetch({.url = url}));
  std::promise<void> replaced;
  server.reactor().post([&] {
    identity->context = second.identity()->context;
    replaced.set_value();
  });
  replaced.get_future().wait();
  EXPECT_TRUE(kept->fetch({.url = url})) << "the connection that was there goes on";
  EXPECT_TRUE(fetch({.url = url}, second.trusting()));
  EXPECT_FALSE(fetch({.url = url}, first.trusting()));
}

std::string refused(const ServerPem& pem) {
  const auto context = TlsContext::server(pem);
  return context ? "taken" : context.error().message() + " / " + std::string(context.error().hint());
}

TEST(Certificates, ThatDoNotDoAreRefusedByNameWithARemedy) {
  const Certificate good, other;
  EXPECT_EQ(refused(good.pem()), "taken");
  ServerPem pem = good.pem();
  pem.key = other.pem().key;
  EXPECT_NE(refused(pem).find("is not the one of the certificate in " + good.file), std::string::npos)
      << refused(pem);
  pem = good.pem();
  pem.certificate = "garbage";
  EXPECT_NE(refused(pem).find("there is no certificate in it"), std::string::npos) << refused(pem);
  pem.certificate = good.pem().certificate.substr(0, 200);
  EXPECT_NE(refused(pem).find("fullchain.pem"), std::string::npos) << refused(pem);
  pem = good.pem();
  pem.key = good.pem().certificate;
  EXPECT_NE(refused(pem).find("no private key"), std::string::npos) << refused(pem);
  const Certificate locked("DNS:localhost", "-days 2 -passout pass:secret");
  EXPECT_NE(refused(locked.pem()).find("passphrase"), std::string::npos) << refused(locked.pem());
}

TEST(Certificates, ThatAClientWouldRefuseAreRefusedBefore) {
  const Certificate nameless(""), good("DNS:*.example.org,DNS:naru.example.org,IP:192.0.2.7,IP:2001:db8::7");
  const WallTime now = SystemClock().wall();
  const auto info = KeyPair::parse(good.pem()).value().info;
  EXPECT_EQ(info.names,
            (std::vector<std::string>{"*.example.org", "naru.example.org", "192.0.2.7", "2001:db8::7"}));
  EXPECT_EQ(info.first_name(), "naru.example.org");
  EXPECT_TRUE(check_named(info, good.pem()));
  EXPECT_TRUE(check_in_time(info, good.pem(), now));
  const auto over = check_in_time(info, good.pem(), now + std::chrono::days(3));
  EXPECT_NE(over.error().context.find("is over since"), std::string::npos);
  const auto early = check_in_time(info, good.pem(), now - std::chrono::days(3));
  EXPECT_NE(early.error().context.find("does not begin before"), std::string::npos);
  const auto unnamed = check_named(KeyPair::parse(nameless.pem())->info, nameless.pem());
  EXPECT_NE(unnamed.error().context.find("names no server"), std::string::npos);
}

TEST(Certificates, AreForTheirNamesAlone) {
  const Certificate made("DNS:*.example.org,DNS:localhost,IP:192.0.2.7,IP:::1");
  const KeyPair pair = KeyPair::parse(made.pem()).value();
  x509_st* leaf = pair.chain.front().get();
  for (const char* host : {"a.example.org", "A.Example.org", "localhost", "192.0.2.7", "::1"})
    EXPECT_TRUE(is_for(leaf, host)) << host;
  for (const char* host : {"", "example.org", "a.b.example.org", "192.0.2.8", "::2", "localhost.evil",
                           "*.example.org.", "7.2.0.192"})
    EXPECT_FALSE(is_for(leaf, host)) << host;
}

}  // namespace
}  // namespace naru::io
