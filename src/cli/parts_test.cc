// Targets, streams, and text on a terminal.
#include <gtest/gtest.h>

#include "base/rng.h"
#include "cli/event_stream.h"
#include "cli/fields.h"
#include "cli/render.h"
#include "cli/target.h"

namespace naru::cli {
namespace {

TEST(Target, OfAnApplicationMayNameItsEnvironment) {
  EXPECT_EQ(parse_app("shop")->env, "production");
  EXPECT_EQ(parse_app("shop/staging")->env, "staging");
  EXPECT_EQ(parse_app("shop/staging")->text(), "shop/staging");
  EXPECT_EQ(parse_app("shop/production")->text(), "shop");
}

TEST(Target, OfAServiceMayNameItsEnvironment) {
  EXPECT_EQ(parse_service("shop/catalog")->service, "catalog");
  EXPECT_EQ(parse_service("shop/catalog")->env, "production");
  EXPECT_EQ(parse_service("shop/staging/catalog")->env, "staging");
  EXPECT_EQ(parse_service("shop/staging/catalog")->service, "catalog");
  EXPECT_EQ(parse_service("shop")->service, "");
}

TEST(Target, RefusesGarbage) {
  for (const std::string& text :
       {std::string(), std::string("/"), std::string("shop/"), std::string("/web"), std::string("a/b/c"),
        std::string("../etc"), std::string("shop?x=1"), std::string("sh op"), std::string("shop\n"),
        std::string("-rf"), std::string(64, 'a'), std::string("shop\0x", 6), std::string("a//b"),
        std::string("가")}) {
    const auto parsed = parse_app(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, Code::invalid_argument);
  }
  EXPECT_FALSE(parse_service("a/b/c/d"));
}

TEST(Version, IsANumberWithOrWithoutV) {
  EXPECT_EQ(*parse_version("v3"), 3U);
  EXPECT_EQ(*parse_version("12"), 12U);
  for (const char* text : {"", "v", "v0", "-1", "3x", "v99999999999999999999999", "vv3"})
    EXPECT_FALSE(parse_version(text)) << text;
}

std::vector<StreamEvent> parse_pieces(std::string_view text, std::size_t piece) {
  std::vector<StreamEvent> events;
  EventStream stream([&](const StreamEvent& event) -> Result<void> {
    events.push_back(event);
    return {};
  });
  for (std::size_t at = 0; at < text.size(); at += piece) EXPECT_TRUE(stream.feed(text.substr(at, piece)));
  return events;
}

TEST(EventStream, GivesTheSameEventsHoweverTheBytesArrive) {
  const std::string text =
      ": hello\n\nevent: status\nid: 7\ndata: {\"a\":1}\n\nevent: x\r\ndata: one\r\ndata: two\r\n\r\nevent: "
      "none\n\ndata\n\n";
  for (std::size_t piece = 1; piece < text.size(); ++piece) {
    const auto events = parse_pieces(text, piece);
    ASSERT_EQ(events.size(), 3U) << piece;
    EXPECT_EQ(events[0].name, "status");
    EXPECT_EQ(events[0].id, "7");
    EXPECT_EQ(events[0].data, "{\"a\":1}");
    EXPECT_EQ(events[1].data, "one\ntwo");
    EXPECT_EQ(events[2].name, "message");
    EXPECT_EQ(events[2].data, "");
  }
}

TEST(EventStream, SurvivesGarbageAndBoundsWhatItKeeps) {
  Rng rng(3);
  for (int i = 0; i < 200; ++i) {
    std::string text;
    for (std::uint64_t n = rng.below(200); n > 0; --n) text += "\r\n:data event\x00\xff"[rng.below(16)];
    (void)parse_pieces(text, 1 + rng.below(10));
  }
  EventStream stream([](const StreamEvent&) { return Result<void>(); });
  const auto fed = stream.feed("data: " + std::string(9 << 20, 'x'));
  ASSERT_FALSE(fed);
  EXPECT_EQ(fed.error().code, Code::too_large);
}

TEST(LineStream, GivesWholeLinesAndAtTheEndTheRest) {
  std::vector<std::string> lines;
  LineStream stream([&](std::string_view line) -> Result<void> {
    lines.emplace_back(line);
    return {};
  });
  for (const char* piece : {"on", "e\ntw", "o\n\nthr", "ee"}) ASSERT_TRUE(stream.feed(piece));
  ASSERT_TRUE(stream.finish());
  EXPECT_EQ(lines, (std::vector<std::string>{"one", "two", "", "three"}));
}

TEST(Text, IsMeasuredInColumns) {
  EXPECT_EQ(display_width("naru"), 4);
  EXPECT_EQ(display_width("나루"), 4);
  EXPECT_EQ(display_width("e\u0301"), 1);
  EXPECT_EQ(display_width("\x1b[31mred\x1b[0m"), 3);
  EXPECT_EQ(fit("나루터의 배", 6), "나루…");
  EXPECT_EQ(fit("short", 6), "short");
}

TEST(Text, OfStrangersCannotSteerTheTerminal) {
  EXPECT_EQ(clean("a\x1b[2Jb"), "a?[2Jb");
  EXPECT_EQ(clean("two\nlines\tand \x07"), "two lines and ?");
  EXPECT_EQ(clean("bad \xff\xc3 utf"), "bad ?? utf");
  EXPECT_EQ(clean("\xe2\x80\xae over"), "? over");  // right-to-left override
  EXPECT_EQ(clean("한글"), "한글");
}

TEST(Text, OfAProgramMayBeColouredButSteersNothingElse) {
  EXPECT_EQ(clean_coloured("plain \t text"), "plain \t text");
  EXPECT_EQ(clean_coloured("\x1b[1;31mred\x1b[m"), "\x1b[1;31mred\x1b[m\x1b[0m");
  EXPECT_EQ(clean_coloured("\x1b[38:5:196mred"), "\x1b[38:5:196mred\x1b[0m");
  EXPECT_EQ(clean_coloured("\x1b[2J\x1b[?25l\x1b]52;c;x\x07"), "?[2J?[?25l?]52;c;x?");
  EXPECT_EQ(clean_coloured("\x1b[>4;2m\x1b[31"), "?[>4;2m?[31") << "of xterm's own, and one without an end";
}

TEST(Text, CleaningGivesOnlyPrintableUtf8) {
  Rng rng(11);
  for (int i = 0; i < 2000; ++i) {
    std::string bytes;
    for (std::uint64_t n = rng.below(30); n > 0; --n) bytes += static_cast<char>(rng.below(256));
    const std::string text = clean(bytes);
    EXPECT_EQ(clean(text), text);
    EXPECT_NO_THROW((void)Json(text).dump());
    EXPECT_LE(display_width(fit(text, 8)), 8);
  }
}

TEST(Table, StaysAlignedWithWideCharactersAndColours) {
  Table table({"NAME", "SIZE"});
  table.row({"나루", "1"});
  table.row({"\x1b[32mab\x1b[0m", "22"});
  EXPECT_EQ(table.text({}), "NAME  SIZE\n나루  1\n\x1b[32mab\x1b[0m    22\n");
}

TEST(Bar, ShowsEveryShareThatExists) {
  const Style plain;
  EXPECT_EQ(split_bar(0, 4, plain), "████");
  EXPECT_EQ(split_bar(1, 4, plain), "███▒");
  EXPECT_EQ(split_bar(5000, 4, plain), "██▒▒");
  EXPECT_EQ(split_bar(9999, 4, plain), "█▒▒▒");
  EXPECT_EQ(split_bar(10000, 4, plain), "▒▒▒▒");
  EXPECT_EQ(split_bar(-5, 4, plain), "████");
  EXPECT_EQ(split_bar(99'999'999, 4, plain), "▒▒▒▒");
}

TEST(Fields, OfAnotherKindAreEmptyAndNeverFail) {
  const Json odd{{"text", 5}, {"number", "x"}, {"list", {{"a", 1}}}, {"flag", "true"}, {"huge", 1e300}};
  EXPECT_EQ(text(odd, "text"), "");
  EXPECT_EQ(number(odd, "number"), 0);
  EXPECT_EQ(number(odd, "huge"), 9'000'000'000'000'000'000);
  EXPECT_TRUE(list(odd, "list").empty());
  EXPECT_FALSE(flag(odd, "flag"));
  EXPECT_TRUE(member(Json(3), "x").is_null());
}

// Every renderer, on JSON of random shape.
Json random_json(Rng& rng, int depth) {
  static const std::vector<std::string> kKeys{
      "app",     "env",     "services", "instances", "rollout",   "steps",
      "planned", "verdict", "evidence", "weight",    "phase",     "started",
      "passed",  "builds",  "releases", "event",     "error",     "failed_requests",
      "stable",  "canary",  "users",    "name",      "addresses", "version",
      "commit",  "at",      "warnings", "m",         "threshold"};
  switch (rng.below(depth > 0 ? 7 : 5)) {
    case 0:
      return nullptr;
    case 1:
      return static_cast<std::int64_t>(rng.next());
    case 2:
      return rng.uniform() * 1e300;
    case 3:
      return std::string("x\x1b[2J\xff");
    case 4:
      return rng.chance(0.5);
    case 5: {
      Json out = Json::array();
      for (std::uint64_t n = rng.below(4); n > 0; --n) out.push_back(random_json(rng, depth - 1));
      return out;
    }
    default: {
      Json out = Json::object();
      for (std::uint64_t n = rng.below(12); n > 0; --n)
        out[kKeys[rng.below(kKeys.size())]] = random_json(rng, depth - 1);
      return out;
    }
  }
}

TEST(Render, NeverFailsWhateverControlAnswers) {
  Rng rng(5);
  const View view{{}, 100, 1'735'700'000'000};
  for (int i = 0; i < 3000; ++i) {
    const Json json = random_json(rng, 4);
    for (const std::string& out :
         {render_status(json, view), render_traffic(json, view), render_instances(json, view, true),
          render_rollout(json, view), render_pipeline(json, view), render_releases(json, view),
          render_event(json, view)})
      EXPECT_EQ(out.find('\x1b'), std::string::npos);
  }
}

}  // namespace
}  // namespace naru::cli
