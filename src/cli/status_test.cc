// What runs and who meets what: `naru status`, `ps`, `rollout`, against a control that answers from here.
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

TEST(Ps, ListsInstancesOfAnApplicationOrOfOneEnvironment) {
  const Json answer{
      {"instances",
       {instance("shop-web-17", "web", "ready"),
        instance("shop-catalog-18", "catalog", "failed",
                 {{"exit_code", 137}, {"side", "canary"}, {"pid", 0}, {"memory_bytes", nullptr}}),
        instance("shop-web-30", "web", "ready", {{"env", "staging"}})}}};
  const FakeControl control({{"GET /v1/ps?app=shop", answer}, {"GET /v1/ps", answer}});
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
