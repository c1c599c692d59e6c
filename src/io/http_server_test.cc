#include "io/http_server.h"

#include <array>

#include "base/rng.h"
#include "io/testing.h"

namespace naru::io {
namespace {

using testing::raw;
using testing::shell;
using testing::TemporaryFolder;
using testing::TestServer;

// What the tests ask for, by path.
Task<void> respond(Request& request, ResponseWriter& response) {
  const std::string path = request.path();
  if (path == "/hello")
    co_return (void) co_await response.header("X-Method", request.method()).send(200, "hello\n");
  if (path == "/echo") {
    const auto body = co_await request.read_all(1 << 20);
    if (!body) co_return (void) co_await response.send_error(body.error());
    co_return (void) co_await response.send(200, *body);
  }
  if (path == "/count") {
    request.limit_body(std::uint64_t{4} << 30);
    std::uint64_t total = 0;
    const auto buffer = std::make_unique<std::array<char, 65536>>();
    while (true) {
      const auto n = co_await request.read(*buffer);
      if (!n) co_return (void) co_await response.send_error(n.error());
      if (*n == 0) break;
      total += *n;
    }
    co_return (void) co_await response.send(200, std::to_string(total));
  }
  if (path == "/stream") {
    (void)co_await response.start(200);
    for (int i = 0; i < 3; ++i) (void)co_await response.write(fmt::format("part {}\n", i));
    co_return (void) co_await response.finish();
  }
  if (path == "/events") {
    (void)co_await response.start_events();
    (void)co_await response.event("tick", "a\nb", "7");
    co_return (void) co_await response.finish();
  }
  if (path == "/cut") {
    (void)co_await response.start(200, 1000);
    co_return (void) co_await response.write("only this");
  }
  if (path == "/silent") co_return;
  if (path == "/throw") throw std::runtime_error("a fault");
  if (path == "/split") co_return (void) co_await response.header("X", "a\r\nEvil: 1").send(200, "never");
  if (path == "/upgrade") {
    std::string pending;
    auto stream = co_await response.upgrade("echo", pending);
    if (!stream) co_return;
    char buffer[64];
    (void)co_await stream->write(pending, after(5s));
    while (true) {
      const auto n = co_await stream->read(buffer, after(5s));
      if (!n || *n == 0) co_return;
      (void)co_await stream->write(std::string_view(buffer, *n), after(5s));
    }
  }
  if (path == "/token") {
    const std::string token = request.token().value_or("none");
    co_return (void) co_await response.send(200, token);
  }
  if (path == "/peer") {
    const auto credentials = request.peer_credentials();
    const std::string who = credentials ? std::to_string(credentials->uid) : "tcp";
    co_return (void) co_await response.send(200, who);
  }
  co_return (void) co_await response.send_error(fail(Code::not_found, "no page {}", path));
}

std::size_t count_of(std::string_view text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

std::size_t resident_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stoul(line.substr(6));
  return 0;
}

TEST(HttpServer, CurlKeepsItsConnection) {
  TestServer server(respond);
  const std::string out = shell(fmt::format("curl -sS -v {} {}", server.url("/hello"), server.url("/hello")));
  EXPECT_EQ(count_of(out, "hello\n"), 2u) << out;
  EXPECT_EQ(count_of(out, "Re-using existing connection"), 1u) << out;
  EXPECT_NE(shell("curl -sS -I " + server.url("/hello")).find("Content-Length: 6"), std::string::npos);
  EXPECT_NE(shell("curl -sS -0 -v " + server.url("/stream")).find("part 2"), std::string::npos);
}

TEST(HttpServer, StreamsChunksAndEvents) {
  TestServer server(respond);
  EXPECT_EQ(shell("curl -sS " + server.url("/stream")), "part 0\npart 1\npart 2\n");
  EXPECT_EQ(shell("curl -sS " + server.url("/events")), "id: 7\nevent: tick\ndata: a\ndata: b\n\n");
}

TEST(HttpServer, ReadsBodiesOfEveryKindFromCurl) {
  TestServer server(respond);
  EXPECT_EQ(shell("curl -sS -d abc " + server.url("/echo")), "abc");
  EXPECT_EQ(shell("printf abc | curl -sS -T - " + server.url("/echo")), "abc");
  EXPECT_EQ(shell("head -c 100000 /dev/zero | curl -sS -H 'Expect: 100-continue' --data-binary @- " +
                  server.url("/echo") + " | wc -c"),
            "100000\n");
}

TEST(HttpServer, AGigabyteOfUploadTakesNoMemory) {
  TestServer server(respond);
  EXPECT_EQ(shell("curl -sS -d x " + server.url("/count")), "1");
  const std::size_t before = resident_kib();
  EXPECT_EQ(shell("head -c 1G /dev/zero | curl -sS -T - " + server.url("/count")), "1073741824");
#ifdef __SANITIZE_ADDRESS__
  constexpr std::size_t kQuarantineKib = 256 * 1024;  // what AddressSanitizer keeps of freed memory
#else
  constexpr std::size_t kQuarantineKib = 0;
#endif
  EXPECT_LT(resident_kib(), before + kQuarantineKib + 16 * 1024);
}

TEST(HttpServer, TooLargeABodyIs413BeforeItIsSent) {
  TestServer server(respond);
  const std::string out = shell(
      "head -c 2000000 /dev/zero | curl -sS -w '%{http_code}' -H 'Expect: 100-continue' --data-binary @- " +
      server.url("/echo"));
  EXPECT_NE(out.find("413"), std::string::npos) << out;
  EXPECT_NE(out.find("larger than 1048576 bytes"), std::string::npos) << out;
}

TEST(HttpServer, AHeaderOfOneMegabyteIs431) {
  TestServer server(respond);
  const std::string out =
      raw(server.address(), "GET /hello HTTP/1.1\r\nHost: a\r\nX: " + std::string(1 << 20, 'x') + "\r\n\r\n");
  EXPECT_TRUE(out.starts_with("HTTP/1.1 431 ")) << out.substr(0, 100);
  EXPECT_NE(out.find(code_info(Code::head_too_large).name), std::string::npos) << out;
}

TEST(HttpServer, MalformedRequestsAre400AndClosed) {
  TestServer server(respond);
  for (const char* bad :
       {"GET / HTTP/1.1\nHost: a\n\n", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n", "GET /%2e%2e/b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", "\x16\x03\x01\x02", "GET / HTTP/1.1\r\n\r\n"})
    EXPECT_TRUE(raw(server.address(), bad).starts_with("HTTP/1.1 400 ")) << bad;
  EXPECT_TRUE(
      raw(server.address(), "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n").starts_with("HTTP/1.1 405 "));
  EXPECT_TRUE(raw(server.address(),
                  "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX0\r\n\r\n")
                  .starts_with("HTTP/1.1 400 "));
}

TEST(HttpServer, PipelinedRequestsAreAnsweredInOrder) {
  TestServer server(respond);
  const std::string out =
      raw(server.address(),
          "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none"
          "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n"
          "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nunread"
          "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(count_of(out, "HTTP/1.1 200 OK"), 4u) << out;
  EXPECT_LT(out.find("one"), out.find("two"));
  EXPECT_LT(out.find("two"), out.find("hello"));
}

TEST(HttpServer, ABodyCutShortReachesTheHandlerAsAnError) {
  TestServer server(respond);
  const std::string out =
      raw(server.address(), "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", true);
  EXPECT_TRUE(out.starts_with("HTTP/1.1 503 ")) << out;
  EXPECT_NE(out.find("cut short: 7 of 10 bytes are missing"), std::string::npos) << out;
}

// What a server says to `bytes` whose bounds are long, but for the one that `shorten` sets.
std::string said_to_slow(const std::string& bytes, const std::function<void(ServerOptions&)>& shorten) {
  ServerOptions options;
  options.head_timeout = options.body_timeout = options.idle_timeout = 60s;
  shorten(options);
  TestServer server(respond, options);
  return raw(server.address(), bytes);
}

TEST(HttpServer, ASlowSenderIsClosed) {
  EXPECT_EQ(said_to_slow("", [](auto& o) { o.head_timeout = 50ms; }), "");
  // Where something comes first, the bound is longer than that takes.
  EXPECT_TRUE(said_to_slow("GET / HTTP/1.1\r\nHost: a\r\nX: drip", [](auto& o) {
                o.head_timeout = 1s;
              }).starts_with("HTTP/1.1 408 "));
  const std::string hello = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
  EXPECT_EQ(count_of(said_to_slow(hello, [](auto& o) { o.idle_timeout = 50ms; }), "200 OK"), 1u);
  EXPECT_TRUE(said_to_slow("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", [](auto& o) {
                o.body_timeout = 50ms;
              }).starts_with("HTTP/1.1 504 "));
}

TEST(HttpServer, AHandlersFaultIs500OrACutConnection) {
  TestServer server(respond);
  EXPECT_NE(shell("curl -sS " + server.url("/silent")).find("\"internal\""), std::string::npos);
  EXPECT_NE(shell("curl -sS " + server.url("/throw")).find("\"internal\""), std::string::npos);
  EXPECT_NE(shell("curl -sS -D - " + server.url("/split")).find("500"), std::string::npos);
  EXPECT_EQ(shell("curl -sS -D - " + server.url("/split")).find("Evil"), std::string::npos);
  int status = 0;
  (void)shell("curl -sS " + server.url("/cut"), &status);
  EXPECT_EQ(status, 18);  // curl: transfer closed with outstanding data
  EXPECT_NE(shell("curl -sS " + server.url("/nope")).find("no page /nope"), std::string::npos);
}

// The attack: every connection that the server has room for, opened over TCP and held.
TEST(HttpServer, AFloodOverTcpLeavesTheUnixSocketItsPart) {
  const TemporaryFolder folder;
  const std::string path = folder.path / "s.sock";
  ServerOptions options;
  options.connections = 16;
  TestServer server(respond, std::move(options));
  server.reactor().post([&] {
    server.server().add_listener(Listener::listen(server.reactor(), Address::of_unix(path).value()).value());
  });
  std::vector<Fd> flood;
  for (int i = 0; i < 30; ++i) {
    Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(socket.get(), server.address().raw(), server.address().length()), 0);
    flood.push_back(std::move(socket));
  }
  const std::string over_tcp = shell("curl -sS -m 1 " + server.url("/hello"));
  EXPECT_EQ(over_tcp.find("hello"), std::string::npos) << "the flood did not fill the server";
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(shell(fmt::format("curl -sS -m 10 --unix-socket {} http://x/hello", path)), "hello\n");
  flood.clear();
  EXPECT_EQ(shell("curl -sS -m 10 " + server.url("/hello")), "hello\n");
}

TEST(HttpServer, HandsOverTheStreamOnUpgrade) {
  TestServer server(respond);
  const std::string out =
      raw(server.address(),
          "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly", true);
  EXPECT_TRUE(out.starts_with("HTTP/1.1 101 ")) << out;
  EXPECT_TRUE(out.ends_with("\r\n\r\nearly")) << out;
}

TEST(HttpServer, KnowsTokensAndPeers) {
  TestServer server(respond);
  EXPECT_EQ(shell("curl -sS -H 'Authorization: Bearer t0k' " + server.url("/token")), "t0k");
  EXPECT_EQ(shell("curl -sS -u naru:s3cret " + server.url("/token")), "s3cret");
  EXPECT_EQ(shell("curl -sS " + server.url("/peer")), "tcp");
  TemporaryFolder folder;
  const std::string path = (folder.path / "api.sock").string();
  TestServer local(respond, {}, Address::of_unix(path).value());
  EXPECT_EQ(shell(fmt::format("curl -sS --unix-socket {} http://naru/peer", path)),
            std::to_string(::getuid()));
}

// Counts the requests that it has begun; they wait until let go.
TEST(HttpServer, AGracefulStopLetsRequestsFinish) {
  auto reactor = std::move(Reactor::create().value());
  Event begun(*reactor), let_go(*reactor);
  ServerOptions options;
  options.handler = [&](Request&, ResponseWriter& response) -> Task<void> {
    begun.raise();
    EXPECT_TRUE(co_await let_go.wait(after(10s)));
    (void)co_await response.send(200, "finished");
  };
  auto server = HttpServer::start(*reactor, options, Listener::listen(*reactor, testing::loopback()).value());
  const Address address = server->address();
  std::string out;
  std::thread client([&] { out = raw(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); });
  reactor->block_on([](Event& event, Event& go, HttpServer& stopping, Reactor& r) -> Task<void> {
    EXPECT_TRUE(co_await event.wait(after(10s)));
    r.post([&go] { go.raise(); });
    co_await stopping.stop(10s);
  }(begun, let_go, *server, *reactor));
  client.join();
  EXPECT_NE(out.find("finished"), std::string::npos) << out;
  EXPECT_NE(out.find("Connection: close"), std::string::npos) << out;
}

TEST(HttpServer, SurvivesGarbage) {
  TestServer server(respond);
  auto reactor = std::move(Reactor::create().value());
  Rng rng(11);
  const std::string seed =
      "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\nGET /hello "
      "HTTP/1.1\r\nHost: a\r\n\r\n";
  for (int round = 0; round < 300; ++round) {
    std::string text = seed;
    for (int i = 0; i < 3; ++i) text[rng.below(text.size())] = static_cast<char>(rng.next());
    const auto answer = reactor->block_on(testing::exchange_raw(*reactor, server.address(), text, true));
    EXPECT_TRUE(!answer || answer->empty() || answer->starts_with("HTTP/1.1 ")) << text;
  }
  EXPECT_EQ(shell("curl -sS " + server.url("/hello")), "hello\n");
}

}  // namespace
}  // namespace naru::io
