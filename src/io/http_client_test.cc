#include "io/http_client.h"

#include <array>
#include <csignal>

#include "io/client_connection.h"
#include "io/testing.h"

namespace naru::io {
namespace {

using testing::shell;
using testing::TemporaryFolder;
using testing::TestServer;

Task<void> respond(Request& request, ResponseWriter& response) {
  const std::string path = request.path();
  if (path == "/echo") {
    const auto body = co_await request.read_all(64 << 20);
    if (!body) co_return (void) co_await response.send_error(body.error());
    co_return (void) co_await response.header("X-Method", request.method()).send(200, *body);
  }
  if (path == "/headers") {
    std::string text;
    for (const auto& field : request.headers()) text += fmt::format("{}: {}\n", field.name, field.value);
    co_return (void) co_await response.send(200, text);
  }
  if (path == "/to") {
    const int status = std::stoi(request.query("status").value_or("302"));
    const std::string location = request.query("url").value_or("/to");
    co_return (void) co_await response.header("Location", location).send(status, "moved");
  }
  if (path == "/stream") {
    (void)co_await response.start(200);
    for (int i = 0; i < 1000; ++i) (void)co_await response.write(std::string(1000, 'x'));
    co_return (void) co_await response.finish();
  }
  if (path == "/cut") {
    (void)co_await response.start(200, 1000);
    co_return (void) co_await response.write("only this");
  }
  if (path == "/refuse") co_return (void) co_await response.send(413, "too much");
  if (path == "/never") {
    (void)co_await request.read_all();
    while (!request.client_gone()) co_await sleep(request.reactor(), 5ms);
    co_return;
  }
  if (path == "/upgrade") {
    std::string pending;
    auto stream = co_await response.upgrade("echo", pending);
    char buffer[64];
    const auto n = co_await stream->read(buffer, after(5s));
    co_return (void) co_await stream->write(std::string_view(buffer, n.value_or(0)), after(5s));
  }
  co_return (void) co_await response.send(200, "hello");
}

TEST(HttpClient, FetchesAndSends) {
  TestServer server(respond);
  const auto hello = fetch({.url = server.url("/hello")});
  ASSERT_TRUE(hello) << hello.error().message();
  EXPECT_EQ(hello->status, 200);
  EXPECT_EQ(hello->body, "hello");
  EXPECT_EQ(hello->header("content-length"), "5");
  const auto echo =
      fetch({.method = "POST", .url = server.url("/echo"), .body = std::string(3'000'000, 'q')});
  ASSERT_TRUE(echo) << echo.error().message();
  EXPECT_EQ(echo->body.size(), 3'000'000u);
  EXPECT_EQ(fetch({.method = "HEAD", .url = server.url("/hello")})->body, "");
}

TEST(HttpClient, StreamsBodiesBothWays) {
  TestServer server(respond);
  std::size_t sent = 0, received = 0;
  FetchRequest request{.method = "PUT", .url = server.url("/echo")};
  request.body_source = [&](std::span<char> buffer) -> Result<std::size_t> {
    const std::size_t n = std::min<std::size_t>(buffer.size(), 1'000'000 - sent);
    std::fill_n(buffer.data(), n, 'b');
    sent += n;
    return n;
  };
  request.on_body = [&](std::string_view piece) -> Result<void> {
    received += piece.size();
    return {};
  };
  const auto chunked = fetch(request);
  ASSERT_TRUE(chunked) << chunked.error().message();
  EXPECT_EQ(received, 1'000'000u);
  sent = received = 0;
  request.body_length = 1'000'000;
  EXPECT_TRUE(fetch(request));
  EXPECT_EQ(received, 1'000'000u);
  sent = 0;
  request.body_length = 1'000'001;
  EXPECT_EQ(fetch(request).error().code, Code::invalid_argument);
  EXPECT_EQ(fetch({.url = server.url("/stream")})->body.size(), 1'000'000u);
}

TEST(HttpClient, AnErrorOfACallbackEndsTheExchange) {
  TestServer server(respond);
  FetchRequest request{.url = server.url("/stream")};
  request.on_body = [](std::string_view) -> Result<void> { return fail(Code::disk_full, "no room"); };
  const auto result = fetch(request);
  EXPECT_EQ(result.error().code, Code::disk_full);
}

TEST(HttpClient, FollowsRedirectsWithinBounds) {
  TestServer server(respond), other(respond);
  EXPECT_EQ(fetch({.url = server.url("/to?url=/hello")})->body, "hello");
  EXPECT_EQ(fetch({.url = server.url("/to?url=/hello"), .redirects = 0})->status, 302);
  EXPECT_NE(fetch({.url = server.url("/to")}).error().message().find("more than 5 redirects"),
            std::string::npos);
  EXPECT_EQ(fetch({.method = "POST", .url = server.url("/to?status=303&url=/echo"), .body = "x"})
                ->header("x-method"),
            "GET");
  const auto kept = fetch({.method = "POST", .url = server.url("/to?status=307&url=/echo"), .body = "x"});
  EXPECT_EQ(kept->header("x-method"), "POST");
  EXPECT_EQ(kept->body, "x");
}

TEST(HttpClient, AsksBeforeItConnectsAlsoAfterARedirect) {
  std::atomic<int> reached{0};
  TestServer server(respond);
  TestServer guarded([&](Request& request, ResponseWriter& response) -> Task<void> {
    ++reached;
    return respond(request, response);
  });
  ClientOptions options;
  std::vector<std::string> asked;
  options.may_connect = [&](const Url& url, const Address& address) -> Result<void> {
    asked.push_back(address.text());
    return url.port == guarded.address().port() ? Result<void>(fail(Code::forbidden, "not there"))
                                                : Result<void>();
  };
  const std::string redirect = server.url("/to?url=" + http1::percent_encode(guarded.url("/hello")));
  EXPECT_EQ(fetch({.url = redirect}, options).error().code, Code::forbidden);
  EXPECT_EQ(asked, (std::vector{server.address().text(), guarded.address().text()}));
  // What a name leads to counts, and what a number is in another spelling.
  for (const std::string host : {"localhost", "127.1", "2130706433"}) {
    const std::string url = fmt::format("http://{}:{}/hello", host, guarded.address().port());
    EXPECT_EQ(fetch({.url = url}, options).error().code, Code::forbidden) << host;
    EXPECT_EQ(asked.back(), guarded.address().text()) << host;
  }
  EXPECT_EQ(reached, 0);
}

TEST(HttpClient, AsksAboutNumbersThatAProxyIsToConnectTo) {
  TestServer proxy(respond);
  ClientOptions options;
  options.http_proxy = proxy.url();
  options.may_connect = [&](const Url&, const Address& address) -> Result<void> {
    return fail(Code::forbidden, "not {}", address.ip());
  };
  EXPECT_EQ(fetch({.url = "http://169.254.169.254/"}, options).error().message(), "not 169.254.169.254");
  EXPECT_EQ(fetch({.url = "http://2852039166/"}, options).error().message(), "not 169.254.169.254");
  EXPECT_TRUE(fetch({.url = "http://registry.example/"}, options)) << "its name is the proxy's to look up";
}

TEST(HttpClient, CredentialsStayWithTheirHost) {
  TestServer server(respond), other(respond);
  Headers headers;
  headers.push_back({"Authorization", "Bearer secret"});
  headers.push_back({"Cookie", "a=b"});
  const auto same = fetch({.url = server.url("/to?url=/headers"), .headers = headers});
  EXPECT_NE(same->body.find("secret"), std::string::npos);
  const auto across = fetch(
      {.url = server.url("/to?url=" + http1::percent_encode(other.url("/headers"))), .headers = headers});
  EXPECT_EQ(across->status, 200);
  EXPECT_EQ(across->body.find("secret"), std::string::npos) << across->body;
  EXPECT_EQ(across->body.find("Cookie"), std::string::npos);
}

TEST(HttpClient, NamesWhatWentWrong) {
  TestServer server(respond);
  EXPECT_EQ(fetch({.url = "http://127.0.0.1:1/"}).error().code, Code::unreachable);
  EXPECT_EQ(fetch({.url = "ftp://x/"}).error().code, Code::invalid_argument);
  EXPECT_EQ(fetch({.url = server.url("/cut")}).error().code, Code::closed);
  EXPECT_EQ(fetch({.url = server.url("/stream"), .response_bytes = 1000}).error().code, Code::too_large);
  EXPECT_EQ(fetch({.url = server.url("/never"), .total_timeout = 30ms}).error().code, Code::timeout);
  Headers evil;
  evil.push_back({"X", "a\r\nHost: b"});
  EXPECT_EQ(fetch({.url = server.url("/hello"), .headers = evil}).error().code, Code::invalid_argument);
  const auto early =
      fetch({.method = "POST", .url = server.url("/refuse"), .body = std::string(20'000'000, 'x')});
  ASSERT_TRUE(early) << early.error().message();
  EXPECT_EQ(early->status, 413);
}

// A server that tells a client its own address: another port is another connection.
Task<void> tell_peer(Request& request, ResponseWriter& response) {
  const std::string peer = request.peer().text();
  (void)co_await response.send(200, peer);
}

TEST(HttpClient, KeepsConnections) {
  TestServer server(tell_peer);
  const auto client = BlockingClient::create().value();
  const std::string first = client->fetch({.url = server.url()})->body;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(client->fetch({.url = server.url()})->body, first);
}

TEST(HttpClient, NoticesThatAKeptConnectionHasDied) {
  ServerOptions options;
  options.idle_timeout = 1s;  // longer than the first request takes to come
  TestServer server(tell_peer, options);
  const auto client = BlockingClient::create().value();
  const std::string first = client->fetch({.url = server.url()})->body;
  while (shell(fmt::format("ss -tn state established src {} | grep -c {}", server.address().text(),
                           server.address().port())) != "0\n") {
  }
  EXPECT_NE(client->fetch({.url = server.url()})->body, first);
}

TEST(HttpClient, SpeaksOverUnixSocketsAndUpgrades) {
  TemporaryFolder folder;
  const std::string path = (folder.path / "s").string();
  TestServer server(respond, {}, Address::of_unix(path).value());
  EXPECT_EQ(fetch({.url = "http://naru/hello", .unix_socket = path})->body, "hello");
  auto reactor = std::move(Reactor::create().value());
  HttpClient client(*reactor);
  const auto run = [](HttpClient& c, std::string socket) -> Task<Result<std::string>> {
    FetchRequest request{.url = "http://naru/upgrade", .unix_socket = socket};
    request.headers.push_back({"Connection", "upgrade"});
    request.headers.push_back({"Upgrade", "echo"});
    CO_TRY(Exchange exchange, co_await c.open(std::move(request)));
    EXPECT_EQ(exchange.status(), 101);
    std::string pending;
    Stream stream = exchange.take_stream(pending);
    CO_TRY_VOID(co_await stream.write("over there", after(5s)));
    char buffer[64];
    CO_TRY(const std::size_t n, co_await stream.read(buffer, after(5s)));
    co_return std::string(buffer, n);
  };
  EXPECT_EQ(reactor->block_on(run(client, path)).value(), "over there");
}

TEST(HttpClient, FetchesFromPythonsServer) {
  TemporaryFolder folder;
  std::ofstream(folder.path / "page.txt") << std::string(200'000, 'p');
  const std::string log = (folder.path / "log").string();
  const int pid = std::stoi(
      shell(fmt::format("cd {} && {{ python3 -u -m http.server 0 --bind 127.0.0.1 >{} 2>&1 & echo $!; }}",
                        folder.path.string(), log)));
  std::string line;
  while (line.find("port ") == std::string::npos) {
    std::ifstream in(log);
    std::getline(in, line);
  }
  const std::string base =
      "http://127.0.0.1:" + std::to_string(std::stoi(line.substr(line.find("port ") + 5)));
  const auto page = fetch({.url = base + "/page.txt"});
  ASSERT_TRUE(page) << page.error().message();
  EXPECT_EQ(page->body.size(), 200'000u);
  EXPECT_EQ(fetch({.url = base + "/missing"})->status, 404);
  ::kill(pid, SIGTERM);
}

// A proxy that opens every tunnel to one address.
Task<void> tunnel(Stream client, Address to, std::string* asked) {
  char buffer[4096];
  const auto n = co_await client.read(buffer, after(5s));
  *asked = std::string(buffer, n.value_or(0));
  auto upstream = co_await connect(client.reactor(), to, after(5s));
  EXPECT_TRUE(upstream);
  (void)co_await client.write("HTTP/1.1 200 Connection established\r\n\r\n", after(5s));
  (void)co_await relay(client, *upstream, 5s);
}
Task<void> proxy_loop(Listener& listener, Address to, std::string* asked) {
  auto client = co_await listener.accept(after(10s));
  EXPECT_TRUE(client);
  if (client) listener.reactor().spawn(tunnel(std::move(*client), to, asked));
}

TEST(HttpClient, GoesThroughAProxysTunnel) {
  const testing::Certificate certificate;
  TestServer server(respond, {}, testing::loopback(), {.tls = certificate.identity()});
  auto reactor = std::move(Reactor::create().value());
  auto listener = Listener::listen(*reactor, testing::loopback()).value();
  std::string asked;
  reactor->spawn(proxy_loop(listener, server.address(), &asked));
  ClientOptions through{.tls = TlsContext::client({.ca_file = certificate.file, .verify = false}).value()};
  through.https_proxy = "http://user:pw@" + listener.address().text();
  HttpClient client(*reactor, through);
  const auto hello = reactor->block_on(client.fetch({.url = "https://shop.invalid/hello"}));
  ASSERT_TRUE(hello) << hello.error().message();
  EXPECT_EQ(hello->body, "hello");
  EXPECT_TRUE(asked.starts_with("CONNECT shop.invalid:443 HTTP/1.1\r\n")) << asked;
  EXPECT_NE(asked.find("Proxy-Authorization: Basic dXNlcjpwdw=="), std::string::npos) << asked;
}

TEST(HttpClient, ChoosesProxiesByTheEnvironmentsRules) {
  const ProxyChoice choice{"http://sec:1", "http://plain:1", "internal,.corp.example, *.lan"};
  EXPECT_EQ(choice.of(Url::parse("https://a.b/").value()), "http://sec:1");
  EXPECT_EQ(choice.of(Url::parse("http://a.b/").value()), "http://plain:1");
  for (const char* direct :
       {"http://localhost/", "http://x.localhost:8080/", "https://127.0.0.1/", "http://internal/",
        "https://x.corp.example/", "https://corp.example/", "http://printer.lan/", "http://[::1]/"})
    EXPECT_EQ(choice.of(Url::parse(direct).value()), "") << direct;
  EXPECT_EQ(choice.of(Url::parse("https://notcorp.example/").value()), "http://sec:1");
}

TEST(Url, IsReadStrictlyAndResolved) {
  const Url url = Url::parse("https://u%40x:p@Host.example:8443/a?b#c").value();
  EXPECT_EQ(url.origin(), "https://Host.example:8443");
  EXPECT_EQ(url.target, "/a?b");
  EXPECT_EQ(url.user_info, "u@x:p");
  EXPECT_EQ(Url::parse("http://[::1]:80?x").value().authority(), "[::1]");
  for (const char* bad : {"", "http://", "http:///x", "http://a b/", "http://a:x/", "http://a:99999/",
                          "http://[::1/", "gopher://a/", "http://a\r\nb/", "http://a,b/", "//a/"})
    EXPECT_FALSE(Url::parse(bad)) << bad;
  const std::string base = "http://a/b/c/d?q";
  EXPECT_EQ(resolve_reference(base, "../g").value(), "http://a/b/g");
  EXPECT_EQ(resolve_reference(base, "g?y").value(), "http://a/b/c/g?y");
  EXPECT_EQ(resolve_reference(base, "/g/./h/..").value(), "http://a/g/");
  EXPECT_EQ(resolve_reference(base, "?y").value(), "http://a/b/c/d?y");
  EXPECT_EQ(resolve_reference(base, "//h/x").value(), "http://h/x");
  EXPECT_EQ(resolve_reference(base, "https://h/?u=http://z").value(), "https://h/?u=http://z");
  EXPECT_EQ(resolve_reference(base, "/r?u=http://z").value(), "http://a/r?u=http://z");
  EXPECT_EQ(resolve_reference(base, "../../../g").value(), "http://a/g");
}

}  // namespace
}  // namespace naru::io
