#include "format/http1.h"

#include <gtest/gtest.h>

#include <memory>

#include "base/rng.h"

namespace naru::format::http1 {
namespace {

using std::string_view_literals::operator""sv;

// A head of a connection object: heap memory of exactly the input's size, so that a read beyond it is seen by
// ASan.
struct Request {
  std::unique_ptr<char[]> bytes;
  RequestHead head;
  Parsed parsed;
  explicit Request(std::string_view text, Limits limits = {}) : bytes(new char[text.size()]) {
    text.copy(bytes.get(), text.size());
    std::size_t scanned = 0;
    parsed = parse_request({bytes.get(), text.size()}, scanned, head, limits);
  }
  bool complete() const { return parsed.outcome == Outcome::complete; }
};

struct Response {
  ResponseHead head;
  Parsed parsed;
  std::string bytes;
  explicit Response(std::string_view text, std::string_view method = "GET") : bytes(text) {
    std::size_t scanned = 0;
    parsed = parse_response(bytes, scanned, method, head);
  }
  bool complete() const { return parsed.outcome == Outcome::complete; }
};

TEST(Http1Request, ReadsAnOrdinaryHead) {
  const Request r(
      "GET /a/b?x=1&y=2 HTTP/1.1\r\nHost: shop.example:8080\r\nAccept:  text/html \r\nX-Empty:\r\n\r\nrest");
  ASSERT_TRUE(r.complete()) << r.parsed.refusal.reason;
  EXPECT_EQ(r.head.method, "GET");
  EXPECT_EQ(r.head.path, "/a/b");
  EXPECT_EQ(r.head.query, "x=1&y=2");
  EXPECT_EQ(r.head.origin, "/a/b?x=1&y=2");
  EXPECT_EQ(r.head.authority, "shop.example:8080");
  EXPECT_EQ(r.head.host(), "shop.example");
  EXPECT_EQ(r.head.find("accept"), "text/html");
  EXPECT_EQ(r.head.find("x-empty"), "");
  EXPECT_FALSE(r.head.find("nope"));
  EXPECT_TRUE(r.head.keep_alive);
  EXPECT_EQ(r.head.framing.kind, BodyKind::none);
  EXPECT_EQ(std::string_view(r.bytes.get() + r.parsed.consumed, 4), "rest");
}

TEST(Http1Request, IsTheSameHoweverItArrives) {
  const std::string text =
      "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nX-Long: " + std::string(300, 'v') + "\r\n\r\n";
  std::size_t scanned = 0;
  RequestHead head;
  for (std::size_t size = 0; size < text.size(); ++size)
    ASSERT_EQ(parse_request(std::string(text.substr(0, size)), scanned, head).outcome, Outcome::incomplete)
        << size;
  const Parsed parsed = parse_request(text, scanned, head);
  ASSERT_EQ(parsed.outcome, Outcome::complete);
  EXPECT_EQ(parsed.consumed, text.size());
  EXPECT_EQ(head.framing.length, 12u);
}

TEST(Http1Request, DecidesOnTheBodyAndTheConnection) {
  EXPECT_EQ(Request("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n").head.framing.kind,
            BodyKind::chunked);
  EXPECT_EQ(Request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").head.framing.kind,
            BodyKind::none);
  EXPECT_FALSE(Request("GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n").head.keep_alive);
  EXPECT_FALSE(Request("GET / HTTP/1.0\r\n\r\n").head.keep_alive);
  EXPECT_TRUE(Request("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").head.keep_alive);
  const Request upgrade(
      "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nX-Hop: "
      "1\r\n\r\n");
  EXPECT_TRUE(upgrade.head.connection_upgrade);
  EXPECT_EQ(upgrade.head.upgrade, "websocket");
  EXPECT_TRUE(upgrade.head.is_hop_by_hop("UPGRADE"));
  EXPECT_FALSE(upgrade.head.is_hop_by_hop("X-Hop"));
  EXPECT_TRUE(Request("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
                  .head.expect_continue);
}

TEST(Http1Request, AcceptsWhatIsUnusualButRight) {
  for (const char* text : {
           "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
           "GET http://a.b/x?q HTTP/1.1\r\nHost: A.B\r\n\r\n",
           "GET http://a.b HTTP/1.1\r\nHost: a.b\r\n\r\n",
           "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
           "CONNECT a.b:443 HTTP/1.1\r\nHost: a.b:443\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
           "GET /?a[]={x}|y^z HTTP/1.1\r\nHost: a\r\n\r\n",
           "M-SEARCH / HTTP/1.1\r\nHost: a_b\r\nX: \x80\xff\ttab\r\n\r\n",
           "GET / HTTP/1.0\r\n\r\n",
       })
    EXPECT_TRUE(Request(text).complete()) << text << Request(text).parsed.refusal.reason;
  EXPECT_EQ(Request("GET http://a.b HTTP/1.1\r\nHost: a.b\r\n\r\n").head.origin, "/");
}

struct Malformed {
  std::string_view text;
  int status;
};

// Every one is refused by status; the reason says which rule it broke.
const Malformed kMalformed[] = {
    // line ends
    {"GET / HTTP/1.1\nHost: a\n\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a\r\n\n"sv, 400},
    {"GET / HTTP/1.1\rHost: a\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"sv, 400},
    {"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    // request line
    {" GET / HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET /  HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"sv, 400},
    {"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET /\tHTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET /\r\nHost: a\r\n\r\n"sv, 400},
    {"GET HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"G@T / HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"G\0T / HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET: / HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJ / HTTP/1.1\r\nHost: a\r\n\r\n"sv, 501},
    {"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET * HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    // version
    {"GET / HTTP/1.2\r\nHost: a\r\n\r\n"sv, 505},
    {"GET / HTTP/2.0\r\nHost: a\r\n\r\n"sv, 505},
    {"GET / HTTP/0.9\r\nHost: a\r\n\r\n"sv, 505},
    {"GET / http/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET / HTTP/1.10\r\nHost: a\r\n\r\n"sv, 400},
    {"GET / HTTP/1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET / HTTP/11\r\nHost: a\r\n\r\n"sv, 400},
    {"GET / HTTP/+.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET / HTTPS/1.1\r\nHost: a\r\n\r\n"sv, 400},
    // absolute-form and CONNECT
    {"GET http://evil/ HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET http://a@evil/ HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET http://a?x HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET http://a:80:80/ HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    {"CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
    // fields
    {"GET / HTTP/1.1\r\nHost : a\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nX\t: b\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\n Host: a\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nX(y): b\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nX\xc3\xa4: b\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nX: b\x0b"
     "c\r\n\r\n"sv,
     400},
    {"GET / HTTP/1.1\r\nHost: a\r\nX: b\x7f\r\n\r\n"sv, 400},
    // host
    {"GET / HTTP/1.1\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a:x\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"sv, 400},
    // framing
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"sv, 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"sv, 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n"sv, 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n"sv, 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"sv, 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n"sv, 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 2\r\n\r\n"sv, 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"sv, 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n"sv, 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"sv, 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"sv, 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"sv, 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"sv, 501},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n"sv, 501},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"sv, 501},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"sv, 501},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n"sv, 501},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n"sv, 501},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"sv, 501},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"sv, 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"sv,
     400},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0b"
     "chunked\r\n\r\n"sv,
     400},
    {"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"sv, 400},
    {"POST / HTTP/1.1\r\nHost: a\r\nConnection: close, Content-Length\r\nContent-Length: 3\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n"sv, 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n"sv, 417},
    // other protocols
    {"\x16\x03\x01\x02\x00\x01\x00\x01"sv, 400},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"sv, 505},
    {"\x80\x00"sv, 400},
    {"{\"a\":1}"sv, 400},
};

TEST(Http1Request, RefusesEveryMalformedHead) {
  static_assert(std::size(kMalformed) >= 61);
  for (const Malformed& bad : kMalformed) {
    const Request r(bad.text);
    ASSERT_EQ(r.parsed.outcome, Outcome::refused) << bad.text;
    EXPECT_EQ(r.parsed.refusal.status, bad.status) << bad.text << "\n" << r.parsed.refusal.reason;
    EXPECT_GT(std::string_view(r.parsed.refusal.reason).size(), 10u) << bad.text;
  }
}

// A refusal must not depend on where the packets were cut.
TEST(Http1Request, RefusesMalformedHeadsByteByByteToo) {
  for (const Malformed& bad : kMalformed) {
    std::size_t scanned = 0;
    RequestHead head;
    Outcome outcome = Outcome::incomplete;
    for (std::size_t size = 1; size <= bad.text.size() && outcome == Outcome::incomplete; ++size)
      outcome = parse_request(bad.text.substr(0, size), scanned, head).outcome;
    EXPECT_EQ(outcome, Outcome::refused) << bad.text;
  }
}

TEST(Http1Request, IsBounded) {
  const std::string start = "GET / HTTP/1.1\r\nHost: a\r\n";
  EXPECT_EQ(Request(start + "X: " + std::string(70'000, 'x')).parsed.refusal.status, 431);
  EXPECT_EQ(Request(start + "X: " + std::string(70'000, 'x') + "\r\n\r\n").parsed.refusal.status, 431);
  EXPECT_EQ(
      Request("GET /" + std::string(20'000, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n").parsed.refusal.status,
      414);
  std::string many = start;
  for (int i = 0; i < 99; ++i) many += "X: 1\r\n";
  EXPECT_TRUE(Request(many + "\r\n").complete());
  EXPECT_EQ(Request(many + "X: 1\r\n\r\n").parsed.refusal.status, 431);
}

TEST(Http1Request, SurvivesGarbage) {
  Rng rng(7);
  const std::string seed =
      "POST http://a/b?c HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\nX: y\r\n\r\n";
  int complete = 0;
  for (int round = 0; round < 50'000; ++round) {
    std::string text = seed;
    for (std::uint64_t i = 0, n = 1 + rng.below(4); i < n; ++i) {
      const std::size_t at = rng.below(text.size());
      if (rng.chance(0.3))
        text.erase(at, 1 + rng.below(3));
      else if (rng.chance(0.5))
        text[at] = static_cast<char>(rng.next());
      else
        text.insert(at, 1, "\r\n :\t\0/,"[rng.below(8)]);
    }
    const Request r(text);
    if (r.complete()) {
      ++complete;
      EXPECT_EQ(r.head.method.find_first_of(" \r\n"), std::string_view::npos);
      for (const Field& field : r.head.fields())
        EXPECT_TRUE(is_token(field.name) && is_field_value(field.value)) << text;
    }
  }
  EXPECT_GT(complete, 100);
}

TEST(Http1Response, ReadsHeadsAndTheirFraming) {
  const Response ok("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
  ASSERT_TRUE(ok.complete());
  EXPECT_EQ(ok.head.status, 200);
  EXPECT_EQ(ok.head.reason, "OK");
  EXPECT_EQ(ok.head.framing.length, 5u);
  EXPECT_TRUE(ok.head.keep_alive);
  EXPECT_EQ(Response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD").head.framing.kind,
            BodyKind::none);
  EXPECT_EQ(Response("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n").head.framing.kind,
            BodyKind::none);
  EXPECT_EQ(Response("HTTP/1.1 200\r\n\r\n").head.framing.kind, BodyKind::until_close);
  EXPECT_FALSE(Response("HTTP/1.1 200 OK\r\n\r\n").head.keep_alive);
  EXPECT_EQ(Response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").head.framing.kind,
            BodyKind::chunked);
  EXPECT_EQ(Response("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").head.upgrade,
            "x");
}

TEST(Http1Response, RefusesMalformedHeads) {
  for (std::string_view bad : {
           "HTTP/1.1 200 OK\nX: y\r\n\r\n"sv,
           "HTTP/1.1  200 OK\r\n\r\n"sv,
           "HTTP/1.1 20 OK\r\n\r\n"sv,
           "HTTP/1.1 2000 OK\r\n\r\n"sv,
           "HTTP/1.1 099 OK\r\n\r\n"sv,
           "HTTP/1.1 600 OK\r\n\r\n"sv,
           "HTTP/2 200 OK\r\n\r\n"sv,
           "HTTP/3.0 200 OK\r\n\r\n"sv,
           "ICY 200 OK\r\n\r\n"sv,
           "HTTP/1.1 200 O\0K\r\n\r\n"sv,
           "HTTP/1.1 200 OK\r\nX : y\r\n\r\n"sv,
           "HTTP/1.1 200 OK\r\n X: y\r\n\r\n"sv,
           "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"sv,
           "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"sv,
           "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"sv,
           "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"sv,
           "HTTP/1.1\r\n\r\n"sv,
       }) {
    const Response r(bad);
    EXPECT_EQ(r.parsed.outcome, Outcome::refused) << bad;
    EXPECT_EQ(r.parsed.refusal.status, 502) << bad;
  }
}

// Feeds pieces of `step` bytes; the decoded body, or the reason of the refusal after "!".
std::string decode(std::string_view text, std::size_t step, std::string* rest = nullptr) {
  ChunkDecoder decoder;
  std::string out, pending;
  while (!decoder.finished()) {
    const auto result = decoder.next(pending);
    if (result.outcome == Outcome::refused) return std::string("!") + result.refusal.reason;
    out += result.data;
    pending.erase(0, result.consumed);
    if (result.outcome == Outcome::complete) break;
    if (result.consumed > 0) continue;
    if (text.empty()) return "!incomplete";
    pending += text.substr(0, step);
    text.remove_prefix(std::min(step, text.size()));
  }
  if (rest != nullptr) *rest = pending + std::string(text);
  return out;
}

TEST(Http1Chunked, DecodesHoweverItArrives) {
  const std::string_view text =
      "4\r\nWiki\r\n5;a=b\r\npedia\r\nE\r\n in\r\n\r\nchunks.\r\n0\r\nTrailer: x\r\n\r\nGET /";
  for (std::size_t step = 1; step <= text.size(); ++step) {
    std::string rest;
    EXPECT_EQ(decode(text, step, &rest), "Wikipedia in\r\n\r\nchunks.") << step;
    EXPECT_EQ(rest, "GET /") << step;
  }
}

TEST(Http1Chunked, RefusesEveryMalformedBody) {
  for (std::string_view bad : {
           "\r\n"sv,
           "g\r\n"sv,
           " 1\r\na\r\n0\r\n\r\n"sv,
           "1 \r\na\r\n0\r\n\r\n"sv,
           "0x1\r\na\r\n0\r\n\r\n"sv,
           "-1\r\n"sv,
           "+1\r\n"sv,
           "1\na\r\n"sv,
           "1\rXa"sv,
           "1\r\nab\r\n"sv,
           "1\r\na\n0\r\n\r\n"sv,
           "1\r\na\rX"sv,
           "1\r\na0\r\n\r\n"sv,
           "1000000000000000\r\n"sv,
           "FFFFFFFFFFFFFFFFF\r\n"sv,
           "1;a\nb\r\n"sv,
           "1;\0\r\n"sv,
           "0\r\nX\r\n\r\n"sv,
           "0\r\n X: y\r\n\r\n"sv,
           "0\r\nX: \0\r\n\r\n"sv,
           "0\r\n\n"sv,
           "0\r\n\rX"sv,
           "0\r\n: x\r\n\r\n"sv,
       }) {
    for (std::size_t step : {1, 100}) EXPECT_EQ(decode(bad, step)[0], '!') << bad;
    EXPECT_NE(decode(bad, 100), "!incomplete") << bad;
  }
  EXPECT_NE(decode("1;" + std::string(300, 'x'), 64), "!incomplete");
  std::string many;
  for (int i = 0; i < 200; ++i) many += "1;" + std::string(200, 'x') + "\r\na\r\n";
  EXPECT_EQ(decode(many, 64), "!chunk extensions are larger than their bound");
  EXPECT_EQ(decode("0\r\n" + std::string(20'000, 'x') + ": y\r\n\r\n", 64),
            "!the trailers are larger than their bound");
}

TEST(Http1Chunked, LetsDataBeSplicedPastIt) {
  ChunkDecoder decoder;
  EXPECT_EQ(decoder.next("a\r\n").consumed, 3u);
  EXPECT_EQ(decoder.pending_data(), 10u);
  decoder.skip(10);
  EXPECT_EQ(decoder.next("\r\n0\r\n\r\n").outcome, Outcome::complete);
}

TEST(Http1Sniff, TellsProtocolsApart) {
  EXPECT_EQ(sniff(""), Protocol::need_more);
  EXPECT_EQ(sniff("GE"), Protocol::need_more);
  EXPECT_EQ(sniff("GET /"), Protocol::http1);
  EXPECT_EQ(sniff("POST http://a"), Protocol::http1);
  EXPECT_EQ(sniff("PRI * HTTP/2.0\r\n\r\nSM"), Protocol::http2);
  EXPECT_EQ(sniff("PRI *"), Protocol::need_more);
  EXPECT_EQ(sniff("PRIVET /"), Protocol::http1);
  EXPECT_EQ(sniff("\x16\x03\x01"), Protocol::tls);
  EXPECT_EQ(sniff("*1\r\n$4\r\nPING\r\n"), Protocol::other);
  EXPECT_EQ(sniff("PING\r\n"), Protocol::other);
  EXPECT_EQ(sniff(std::string(40, 'A')), Protocol::other);
}

TEST(Http1Text, WritesAndReadsTheSmallGrammars) {
  EXPECT_EQ(http_date(from_epoch_ms(784'111'777'000)), "Sun, 06 Nov 1994 08:49:37 GMT");
  std::string out;
  append_status_line(out, 404);
  append_field(out, "A", "b");
  append_content_length(out, 12);
  append_chunk_size(out, 255);
  EXPECT_EQ(out, "HTTP/1.1 404 Not Found\r\nA: b\r\nContent-Length: 12\r\nff\r\n");
  EXPECT_TRUE(list_contains("a, Keep-Alive ,b", "keep-alive"));
  EXPECT_FALSE(list_contains("keep-alives", "keep-alive"));
  EXPECT_EQ(percent_decode("a%20b+c"), "a b+c");
  EXPECT_EQ(percent_decode("a+b", true), "a b");
  EXPECT_FALSE(percent_decode("%2"));
  EXPECT_FALSE(percent_decode("%zz"));
  EXPECT_EQ(percent_encode("a b/c", "/"), "a%20b/c");
  EXPECT_EQ(query_value("a=1&b=x%20y&c", "b"), "x y");
  EXPECT_EQ(query_value("a=1&c", "c"), "");
  EXPECT_FALSE(query_value("a=1", "b"));
  EXPECT_EQ(cookie_value("a=1; naru=xyz; b=2", "naru"), "xyz");
  EXPECT_FALSE(cookie_value("xnaru=1", "naru"));
  EXPECT_FALSE(is_field_value("a\r\nb"));
  EXPECT_FALSE(is_token(""));
}

}  // namespace
}  // namespace naru::format::http1
