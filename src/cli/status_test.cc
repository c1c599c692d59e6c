// What runs and who meets what: `naru status`, `ps`, `rollout`, against a control that answers from here.
#include "cli/render.h"
#include "cli/test_views.h"

namespace naru::cli {
namespace {

using testing::expect_golden;
using testing::FakeControl;
using testing::instance;
using testing::kNow;
using testing::rollout_view;
using testing::run_on;
using testing::status_view;

TEST(Status, ShowsReleaseServicesRolloutAndTrouble) {
  const FakeControl control({{"GET /v1/apps/shop/status?env=production", status_view()}});
  const auto ran = run_on(control, {"status", "shop"});
  EXPECT_EQ(ran.status, 0);
  expect_golden("status.txt", ran.out);
  EXPECT_EQ(Json::parse(run_on(control, {"status", "shop", "--json"}).out), status_view());
}

TEST(Status, OfAllApplicationsAsksForEachEnvironment) {
  FakeControl control(
      {{"GET /v1/apps", {{"apps", {{{"name", "shop"}, {"environments", {{{"name", "production"}}}}}}}}},
       {"GET /v1/apps/shop/status?env=production", status_view()}});
  EXPECT_EQ(run_on(control, {"status"}).out, run_on(control, {"status", "shop"}).out);
  EXPECT_EQ(Json::parse(run_on(control, {"status", "--json"}).out)["statuses"].size(), 1U);
  EXPECT_NE(run_on(FakeControl({{"GET /v1/apps", {{"apps", Json::array()}}}}), {"status"})
                .out.find("naru app create"),
            std::string::npos);
}

TEST(Status, WatchedWithoutATerminalPrintsALineForEachNewMessageOfItsEnvironment) {
  FakeControl control({{"GET /v1/apps/shop/status?env=production",
                        {{"app", "shop"}, {"env", "production"}, {"message", "one"}}}});
  control.special["GET /v1/live?app=shop"] = [](io::Request&,
                                                io::ResponseWriter& response) -> io::Task<void> {
    (void)co_await response.start_events();
    (void)co_await response.event("status", R"({"app":"shop","env":"production","message":"one"})");
    (void)co_await response.event("traffic", R"({"app":"shop","env":"production","services":[]})");
    (void)co_await response.event("status", R"({"app":"shop","env":"staging","message":"elsewhere"})");
    (void)co_await response.event("status", R"({"app":"shop","env":"production","message":"two"})");
    (void)co_await response.finish();
  };
  const auto ran = run_on(control, {"status", "shop", "--watch"});
  EXPECT_EQ(ran.out, "shop/production: one\nshop/production: two\n");
  EXPECT_EQ(ran.status, 1);
  EXPECT_EQ(ran.err, "note: control ended the stream; it may be restarting\n");
}

// A canary of an application with many services, watched in a window of so many rows.
std::vector<std::string> watched(int columns, int rows) {
  Json status = status_view();
  for (int i = 0; i < 30; ++i)
    status["services"].push_back({{"name", fmt::format("service-{}", i)},
                                  {"revision", "aaaabbbbcccc"},
                                  {"ready", 1},
                                  {"wanted", 1},
                                  {"addresses", Json::array()}});
  FakeControl control({{"GET /v1/apps/shop/status?env=production", status}});
  control.special["GET /v1/live?app=shop"] = [](io::Request&,
                                                io::ResponseWriter& response) -> io::Task<void> {
    (void)co_await response.start_events();
    (void)co_await response.finish();
  };
  const std::string out =
      run_on(control, {"status", "shop", "--watch"}, {.interactive = true, .columns = columns, .rows = rows})
          .out;
  // What is between the beginning of the one picture and its end.
  const auto begin = out.find("\x1b[H\x1b[J") + 6, end = out.find("\x1b[?2026l");
  EXPECT_LT(begin, end) << out;
  EXPECT_TRUE(out.starts_with("\x1b[?1049h")) << "not on the person's own screen";
  EXPECT_TRUE(out.contains("\x1b[?1049l")) << "and back again";
  std::vector<std::string> lines;
  std::istringstream picture(out.substr(begin, end - begin));
  for (std::string line; std::getline(picture, line);) lines.push_back(line);
  EXPECT_FALSE(out.substr(begin, end - begin).ends_with('\n')) << "that would scroll";
  return lines;
}

TEST(Status, WatchedShowsTheMostImportantWithinTheWindowAndSaysWhatItHides) {
  for (const auto& [columns, rows] : {std::pair(80, 24), std::pair(80, 12), std::pair(40, 9)}) {
    const auto lines = watched(columns, rows);
    int taken = 0;
    for (const std::string& line : lines) taken += 1 + std::max(0, display_width(line) - 1) / columns;
    EXPECT_LE(taken, rows) << columns;
    ASSERT_GE(lines.size(), 4U);
    EXPECT_TRUE(lines[0].starts_with("shop/production")) << lines[0];
    EXPECT_TRUE(lines[1].contains("holding at 25%")) << lines[1];
    EXPECT_TRUE(lines[2].contains("v3 ")) << "the share: " << lines[2];
    EXPECT_TRUE(lines.back().contains("more lines: naru status shop")) << lines.back();
  }
  EXPECT_TRUE(watched(80, 100).back().contains("Ctrl-C leaves")) << "all of it where there is room";
  EXPECT_TRUE(watched(80, 0).back().contains("Ctrl-C leaves")) << "or where the height is not known";
  EXPECT_EQ(watched(80, 1).size(), 1U);
}

TEST(Status, TellsAPipelinesErrorOnce) {
  Json status = status_view();
  status["message"] =
      "v3 serves everybody; the last push failed: compose.yaml:7: no such service (name another)";
  const auto out =
      run_on(FakeControl({{"GET /v1/apps/shop/status?env=production", status}}), {"status", "shop"}).out;
  EXPECT_EQ(out.find("compose.yaml:7"), out.rfind("compose.yaml:7")) << out;
  EXPECT_TRUE(out.contains("  pipeline failed of fedcba9\n")) << out;
}

TEST(Ps, ListsInstancesOfAnApplicationOrOfOneEnvironment) {
  const Json answer{
      {"instances",
       {instance("shop-web-17", "web", "ready"),
        instance("shop-catalog-18", "catalog", "failed",
                 {{"exit_code", 137}, {"side", "canary"}, {"pid", 0}, {"memory_bytes", nullptr}}),
        instance("shop-web-30", "web", "ready", {{"env", "staging"}})}}};
  const Json staged{{"instances", {instance("shop-web-30", "web", "ready", {{"env", "staging"}})}}};
  const FakeControl control(
      {{"GET /v1/ps?app=shop", answer}, {"GET /v1/ps", answer}, {"GET /v1/ps?app=shop&env=staging", staged}});
  expect_golden("ps.txt", run_on(control, {"ps", "shop"}).out);
  expect_golden("ps-all.txt", run_on(control, {"ps"}).out);
  EXPECT_EQ(Json::parse(run_on(control, {"ps", "shop/staging", "--json"}).out)["instances"].size(), 1U);
}

TEST(Rollout, DrawsSplitStepsEvidenceAndFailedRequests) {
  const FakeControl control({{"GET /v1/apps/shop/rollout?env=production", rollout_view()}});
  const auto ran = run_on(control, {"rollout", "shop"});
  expect_golden("rollout.txt", ran.out);
  EXPECT_EQ(ran.out.find('\x1b'), std::string::npos);
  EXPECT_NE(run_on(control, {"rollout", "shop"}, {.environment = {}, .processes = {}, .colour = true})
                .out.find("\x1b[36m"),
            std::string::npos);
}

TEST(Rollout, ThatHoldsForUsersSaysWhoCountsAsOne) {
  Json view = rollout_view();
  Json& canary = view["verdict"]["evidence"][0]["canary"];
  canary = {{"users_seen", 1}, {"requests", 69}};
  const auto shown = [&](const std::vector<std::string>& words) {
    Json status = status_view();
    status["rollout"] = view;
    return run_on(FakeControl({{"GET /v1/apps/shop/rollout?env=production", view},
                               {"GET /v1/apps/shop/status?env=production", status}}),
                  words)
        .out;
  };
  const std::string why =
      "  69 requests of 1 user so far: clients that keep no cookies count as one user by their address\n";
  EXPECT_NE(shown({"rollout", "shop"}).find(why), std::string::npos) << shown({"rollout", "shop"});
  EXPECT_NE(shown({"status", "shop"}).find(why), std::string::npos);
  EXPECT_NE(shown({"status", "shop"}).find("  v4 has crashed 1 time, v3 0 times; see naru logs shop\n"),
            std::string::npos);
  canary["users_seen"] = 40;
  EXPECT_EQ(shown({"rollout", "shop"}).find("cookies"), std::string::npos);
}

TEST(Rollout, ThatStartsSaysHowLongItHasWaitedAndUntilWhen) {
  Json view = rollout_view();
  view["phase"] = "preparing";
  view["reason"] = "catalog is not ready: connection refused";
  view["waiting_since"] = kNow - 45'000;
  view["ready_deadline"] = 120'000;
  Json status = status_view();
  status["rollout"] = view;
  const FakeControl control({{"GET /v1/apps/shop/rollout?env=production", view},
                             {"GET /v1/apps/shop/status?env=production", status}});
  const std::string wait = "  it has waited 45s; it is taken back when it is not ready after 2m00s\n";
  EXPECT_NE(run_on(control, {"rollout", "shop"}).out.find(wait), std::string::npos)
      << run_on(control, {"rollout", "shop"}).out;
  EXPECT_NE(run_on(control, {"status", "shop"}).out.find(wait), std::string::npos);
}

TEST(Rollout, IsCutAtTheEdgeOfATerminalAndNowhereInAPipe) {
  Json view = rollout_view();
  view["steps"][0]["verdict"] = "a verdict " + std::string(200, 'x') + " to its end";
  const FakeControl control({{"GET /v1/apps/shop/rollout?env=production", view}});
  EXPECT_NE(run_on(control, {"rollout", "shop"}).out.find("x to its end\n"), std::string::npos);
  EXPECT_EQ(run_on(control, {"rollout", "shop"}, {.interactive = true}).out.find("to its end"),
            std::string::npos);
}

TEST(Rollout, ThatTheJudgeTookBackSaysAtWhichStep) {
  Json view = rollout_view();
  view["phase"] = "rolled-back";
  view["reason"] = "errors for 4 of 9 canary users at 5%";
  const auto out =
      run_on(FakeControl({{"GET /v1/apps/shop/rollout?env=production", view}}), {"rollout", "shop"}).out;
  EXPECT_NE(out.find("\n  rolled back: errors for 4 of 9 canary users at 5%\n"), std::string::npos) << out;
}

TEST(Rollout, SaysWhoGaveUpAndThatNobodyAnsweredThem) {
  Json view = rollout_view();
  view["slow_us"] = 0;
  view["failed_requests"][0]["status"] = 0;
  view["failed_requests"][0]["outcome"] = "client gave up";
  const FakeControl control({{"GET /v1/apps/shop/rollout?env=production", view}});
  const auto out = run_on(control, {"rollout", "shop"}).out;
  EXPECT_TRUE(out.contains("client gave up  12.3 ms")) << out;
  EXPECT_FALSE(out.contains("is asked again of the old release")) << out;
  EXPECT_TRUE(out.contains("200 requests before the rollout; who gives up waiting counts as slow\n")) << out;
  view["failed_requests"][0]["outcome"] = "first byte timeout";
  const FakeControl waited({{"GET /v1/apps/shop/rollout?env=production", view}});
  EXPECT_TRUE(run_on(waited, {"rollout", "shop"}).out.contains("is asked again of the old release"));
}

TEST(Rollout, ThatANewerOneTookThePlaceOfIsNoFault) {
  Json view = rollout_view();
  view["phase"] = "rolled-back";
  view["superseded"] = true;
  view["reason"] = "superseded by v5";
  const FakeControl control({{"GET /v1/apps/shop/rollout?env=production", view}});
  const auto out = run_on(control, {"rollout", "shop"}).out;
  EXPECT_NE(out.find("\n  superseded by v5\n"), std::string::npos) << out;
  EXPECT_EQ(out.find("rolled back: "), std::string::npos) << out;
  const std::string dim = Style{true}.paint(Tone::dim, "superseded by v5");
  EXPECT_NE(render_rollout(view, {Style{true}, 100, kNow}).find(dim), std::string::npos);
}

TEST(Rollout, SaysOfAStepThatIsToComeWhatItNeeds) {
  Json view = rollout_view();
  view["planned"][2]["min_users"] = 1;
  const auto out =
      run_on(FakeControl({{"GET /v1/apps/shop/rollout?env=production", view}}), {"rollout", "shop"}).out;
  EXPECT_TRUE(out.contains("1 user and 30s unless it is surely good sooner\n")) << out;
}

TEST(Rollout, ThatAPersonPromotedShowsItsStepAsGoneOutAndNoOthers) {
  Json view = rollout_view();
  view["phase"] = "done";
  view["reason"] = "a person said go on";
  const auto out =
      run_on(FakeControl({{"GET /v1/apps/shop/rollout?env=production", view}}), {"rollout", "shop"}).out;
  EXPECT_TRUE(out.contains("  ✓  2     25%")) << out;
  EXPECT_FALSE(out.contains("✗")) << out;
  EXPECT_FALSE(out.contains("100%    -")) << "a step that is not taken any more: " << out;
}

TEST(Rollout, ThatWasRolledBackSaysWhy) {
  Json view = rollout_view();
  view["phase"] = "rolled-back";
  view["weight"] = 0;
  view["ended"] = kNow - 10'000;
  view["reason"] = "v4 fails more users than v3: 9 of 40 against 3 of 950";
  view["verdict"]["evidence"][0]["m"] = 1e300;
  expect_golden(
      "rollout-rolled-back.txt",
      run_on(FakeControl({{"GET /v1/apps/shop/rollout?env=staging", view}}), {"rollout", "shop/staging"})
          .out);
}

}  // namespace
}  // namespace naru::cli
