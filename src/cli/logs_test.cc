// Logs and events.
#include "cli/fake_control.h"

namespace naru::cli {
namespace {

using testing::FakeControl;
using testing::kNow;
using testing::run_on;

TEST(Logs, PrintLinesWithTimeAndInstance) {
  FakeControl control;
  control.special["GET /v1/apps/shop/logs?env=staging&tail=5&service=catalog"] =
      [](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
    (void)co_await response.start_events();
    (void)co_await response.event(
        "line",
        R"({"time":1735700000000,"service":"catalog","instance":"shop-catalog-9","stream":"stdout","text":"hello\n"})");
    (void)co_await response.event("other", "{}");
    (void)co_await response.finish();
  };
  const auto ran = run_on(control, {"logs", "-n", "5", "shop/staging/catalog"});
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_NE(ran.out.find(" shop-catalog-9 | hello\n"), std::string::npos);
  EXPECT_EQ(run_on(control, {"logs", "-n", "5", "shop/staging/catalog", "--json"}).out,
            "{\"instance\":\"shop-catalog-9\",\"service\":\"catalog\",\"stream\":\"stdout\",\"text\":"
            "\"hello\\n\",\"time\":1735700000000}\n");
}

TEST(Logs, SteerNoTerminalAndStayAsTheyAreInAPipe) {
  FakeControl control;
  const std::string text = "\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2J\ttab\rover";
  control.special["GET /v1/apps/shop/logs?env=production&tail=100"] =
      [&](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
    (void)co_await response.start_events();
    const std::string line = Json{{"time", kNow}, {"instance", "web-1"}, {"text", text}}.dump();
    (void)co_await response.event("line", line);
    (void)co_await response.finish();
  };
  EXPECT_NE(run_on(control, {"logs", "shop"}).out.find(" | " + text + "\n"), std::string::npos);
  const std::string coloured = "\x1b[31mred\x1b[0m ?]0;title??[2J\ttab?over\x1b[0m\n";
  const auto seen = run_on(control, {"logs", "shop"}, {.colour = true, .interactive = true});
  EXPECT_TRUE(seen.out.ends_with(" " + coloured)) << seen.out;
  const auto plain = run_on(control, {"logs", "shop"}, {.interactive = true});
  EXPECT_TRUE(plain.out.ends_with(" | ?[31mred?[0m ?]0;title??[2J tab?over\n")) << plain.out;
}

TEST(Logs, OfAStreamThatEndsAreAnErrorInJsonToo) {
  FakeControl control;
  control.special["GET /v1/events?limit=50&follow=1"] = [](io::Request&,
                                                           io::ResponseWriter& response) -> io::Task<void> {
    (void)co_await response.start_events();
    (void)co_await response.finish();
  };
  const auto ended = run_on(control, {"events", "-f", "--json"});
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(Json::parse(ended.err)["error"]["code"], "closed");
}

TEST(Logs, ThatAreCutOrBrokenEndWithAMessage) {
  FakeControl control;
  control.special["GET /v1/apps/shop/logs?env=production&tail=100&follow=1"] =
      [](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
    (void)co_await response.start_events();  // without finish: cut
  };
  control.special["GET /v1/apps/bad/logs?env=production&tail=100"] =
      [](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
    (void)co_await response.start_events();
    (void)co_await response.event("line", "{not json");
    (void)co_await response.finish();
  };
  const auto cut = run_on(control, {"logs", "-f", "shop"});
  EXPECT_EQ(cut.status, 1);
  EXPECT_NE(cut.err.find("control ended the stream"), std::string::npos) << cut.err;
  const auto broken = run_on(control, {"logs", "bad"});
  EXPECT_EQ(broken.status, 1);
  EXPECT_NE(broken.err.find("is not JSON"), std::string::npos) << broken.err;
}

TEST(Events, AreSentencesAndWithJsonAsTheyCame) {
  const Json ready{{"sequence", 5},
                   {"at", kNow},
                   {"app", "shop"},
                   {"event", {{"event", "InstanceReady"}, {"instance", "shop-web-17"}}}};
  const Json step{{"sequence", 6},
                  {"at", kNow},
                  {"app", "shop"},
                  {"event", {{"event", "StepStarted"}, {"rollout", 31}, {"weight", 500}}}};
  const FakeControl control({{"GET /v1/events?limit=50&app=shop", {{"events", {ready, step}}}}});
  const auto ran = run_on(control, {"events", "shop"});
  EXPECT_NE(ran.out.find(" shop instance ready: shop-web-17\n"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find(" shop step started: 5% of the users\n"), std::string::npos) << ran.out;
  EXPECT_EQ(Json::parse(run_on(control, {"events", "shop", "--json"}).out)["events"][1], step);
}

}  // namespace
}  // namespace naru::cli
