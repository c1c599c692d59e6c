// What changes a release: promote and its kin, releases, pipelines, variables.
#include "cli/fake_control.h"
#include "cli/render.h"

namespace naru::cli {
namespace {

using testing::expect_golden;
using testing::FakeControl;
using testing::kNow;
using testing::run_on;

TEST(Delivery, CommandsOfPeopleArePostedWithTheirEnvironment) {
  const Json status{{"app", "shop"}, {"env", "staging"}, {"message", "done"}};
  FakeControl control({{"POST /v1/apps/shop/promote", status},
                       {"POST /v1/apps/shop/abort", status},
                       {"POST /v1/apps/shop/rollback", status},
                       {"POST /v1/apps/shop/stop", status},
                       {"GET /v1/ps?app=shop&env=production", {{"instances", Json::array()}}},
                       {"GET /v1/apps/shop/status?env=production", status},
                       {"POST /v1/apps/shop/start", status}});
  EXPECT_EQ(run_on(control, {"promote", "shop/staging"}).out, "shop/staging: done\n");
  EXPECT_EQ(Json::parse(control.last_body()), (Json{{"env", "staging"}}));
  EXPECT_EQ(run_on(control, {"promote", "shop", "v7"}).status, 0);
  EXPECT_EQ(Json::parse(control.last_body()), (Json{{"env", "production"}, {"version", 7}}));
  EXPECT_EQ(run_on(control, {"abort", "shop"}).status, 0);
  EXPECT_EQ(run_on(control, {"rollback", "shop", "v3"}).status, 0);
  EXPECT_EQ(Json::parse(control.last_body()), (Json{{"env", "production"}, {"version", 3}}));
  EXPECT_EQ(run_on(control, {"rollback", "shop"}).status, 0);
  EXPECT_EQ(Json::parse(control.last_body()), (Json{{"env", "production"}}));
  EXPECT_EQ(run_on(control, {"app", "stop", "shop"}).status, 0);
  EXPECT_EQ(run_on(control, {"app", "start", "shop"}).status, 0);
  EXPECT_EQ(control.last_request(), "POST /v1/apps/shop/start");
  const auto refused = run_on(control, {"rollback", "shop", "latest"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_EQ(refused.err, "error: 'latest' is not a release (as v3)\nhint: see `naru releases APP`\n");
}

TEST(Releases, ShowWhichIsCurrentAndWhatChanged) {
  const Json service{{"name", "web"}, {"changed", false}}, changed{{"name", "catalog"}, {"changed", true}};
  const FakeControl control({{"GET /v1/apps/shop/releases?env=production",
                              {{"releases",
                                {{{"version", 3},
                                  {"commit", "fedcba9876"},
                                  {"subject", "Third"},
                                  {"author", "Lee"},
                                  {"created", kNow - 60'000},
                                  {"taken_back", true},
                                  {"services", {service}}},
                                 {{"version", 2},
                                  {"commit", "abcdef0123"},
                                  {"subject", "Second"},
                                  {"author", "Lee <lee@example.org>"},
                                  {"created", kNow - 3'600'000},
                                  {"current", true},
                                  {"services", {service, changed}}},
                                 {{"version", 1},
                                  {"commit", "1234567890"},
                                  {"subject", "First"},
                                  {"author", "Lee"},
                                  {"created", kNow - 400'000'000},
                                  {"current", false},
                                  {"services", {changed}}}}}}}});
  expect_golden("releases.txt", run_on(control, {"releases", "shop"}).out);
}

TEST(Releases, SayNothingOfWhatIsForgottenAndSupersededIsNoFault) {
  const Json release{
      {"version", 7}, {"superseded", true}, {"services", {{{"name", "web"}, {"changed", Json()}}}}},
      releases{{"releases", {release}}};
  const std::string out = render_releases(releases, {Style{true}, 100, kNow});
  EXPECT_NE(out.find(Style{true}.paint(Tone::dim, "superseded")), std::string::npos) << out;
  EXPECT_EQ(out.find("all"), std::string::npos) << out;
  EXPECT_EQ(out.find("nothing"), std::string::npos) << out;
  EXPECT_NE(out.find(" - "), std::string::npos) << out;
}

TEST(Pipeline, ShowsTheNewestOrTheNamedOneAndItsLog) {
  const Json view{{"id", 17},
                  {"app", "shop"},
                  {"commit", "abcdef0123"},
                  {"subject", "Second"},
                  {"author", "Lee"},
                  {"state", "failed"},
                  {"error", "catalog: RUN make: exit 2"},
                  {"hint", "see above; then, without a new commit: naru pipeline retry shop"},
                  {"warnings", {"compose.yaml:3: unknown key"}},
                  {"builds",
                   {{{"service", "web"},
                     {"state", "succeeded"},
                     {"cached", true},
                     {"started", kNow - 9'000},
                     {"finished", kNow - 8'900},
                     {"error", ""}},
                    {{"service", "catalog"},
                     {"state", "failed"},
                     {"started", kNow - 9'000},
                     {"finished", kNow - 2'000},
                     {"error", "exit 2"}}}},
                  {"pushed", kNow - 10'000},
                  {"finished", kNow - 1'000}};
  FakeControl control(
      {{"GET /v1/apps/shop/pipelines?limit=1", {{"pipelines", {view}}}}, {"GET /v1/pipelines/17", view}});
  control.special["GET /v1/pipelines/17/log?follow=1"] = [](io::Request&,
                                                            io::ResponseWriter& response) -> io::Task<void> {
    (void)co_await response.send(200, "one\ntwo");
  };
  expect_golden("pipeline.txt", run_on(control, {"pipeline", "shop"}).out);
  EXPECT_EQ(run_on(control, {"pipeline", "shop", "17"}).out, run_on(control, {"pipeline", "shop"}).out);
  EXPECT_EQ(run_on(control, {"pipeline", "shop", "--log"}).out, "one\ntwo\n");
  control.special["GET /v1/pipelines/17/log?follow=1"] = [](io::Request&,
                                                            io::ResponseWriter& response) -> io::Task<void> {
    (void)co_await response.send(200, "\x1b[2Jone\n");
  };
  EXPECT_EQ(run_on(control, {"pipeline", "shop", "--log"}).out, "\x1b[2Jone\n") << "raw in a pipe";
  EXPECT_EQ(run_on(control, {"pipeline", "shop", "--log"}, {.interactive = true}).out, "?[2Jone\n");
  control.special["GET /v1/pipelines/17/log?follow=1"] = [](io::Request&,
                                                            io::ResponseWriter& response) -> io::Task<void> {
    (void)co_await response.send(200, "one\ntwo");
  };
  EXPECT_EQ(run_on(control, {"pipeline", "shop", "17", "--log", "--json"}).out,
            "{\"line\":\"one\"}\n{\"line\":\"two\"}\n");
}

TEST(Pipeline, ThatFailedIsRetriedByHand) {
  const Json view{{"id", 18}, {"app", "shop"}, {"commit", "abcdef0123"}, {"state", "waiting"}};
  FakeControl control({{"POST /v1/apps/shop/pipelines/retry", view}});
  const auto ran = run_on(control, {"pipeline", "retry", "shop"});
  EXPECT_EQ(ran.out, "shop: commit abcdef0 runs again as pipeline 18: naru pipeline shop 18 --log\n");
  EXPECT_EQ(Json::parse(control.last_body()), Json::object());
  run_on(control, {"pipeline", "retry", "shop", "17", "--json"});
  EXPECT_EQ(Json::parse(control.last_body()), (Json{{"id", 17}}));
  EXPECT_EQ(run_on(control, {"pipeline"}).status, 1) << "an application is needed";
}

TEST(Variables, ThatDoNotChangeAreToldAndDeliverNothing) {
  FakeControl control({{"POST /v1/apps/shop/env",
                        {{"used_by", Json::object()}, {"unchanged", Json::array()}, {"not_set", {"NOPE"}}}}});
  const auto none = run_on(control, {"env", "unset", "shop", "NOPE"});
  EXPECT_EQ(none.status, 0);
  EXPECT_EQ(none.out,
            "shop: 0 variables removed\nNothing changes for what runs: no commit is delivered again.\n");
  EXPECT_EQ(none.err, "note: NOPE was not set\n");
  const FakeControl same(
      {{"POST /v1/apps/shop/env",
        {{"used_by", {{"A", {"web"}}}}, {"unchanged", {"A"}}, {"not_set", Json::array()}, {"hint", ""}}}});
  const auto again = run_on(same, {"env", "set", "shop", "A=1"});
  EXPECT_TRUE(again.out.starts_with("shop: 0 variables set\n")) << again.out;
  EXPECT_EQ(again.err, "note: A has that value already\n");
  const FakeControl failed({{"POST /v1/apps/shop/env",
                             {{"used_by", {{"A", {"web"}}}},
                              {"unchanged", {"A"}},
                              {"not_set", Json::array()},
                              {"hint", "pipeline 7 failed: `naru pipeline retry shop`"}}}});
  EXPECT_EQ(run_on(failed, {"env", "set", "shop", "A=1"}).err,
            "note: A has that value already\nnote: pipeline 7 failed: `naru pipeline retry shop`\n");
}

TEST(Variables, AreSetUnsetListedAndImported) {
  FakeControl control(
      {{"POST /v1/apps/shop/env", {{"pipeline", 18}}},
       {"GET /v1/apps/shop/env?env=production", {{"variables", {{{"name", "A"}, {"value", "***"}}}}}},
       {"GET /v1/apps/shop/env?env=production&reveal=1",
        {{"variables", {{{"name", "A"}, {"value", "1"}}}}}}});
  EXPECT_EQ(run_on(control, {"env", "set", "shop", "A=1", "B=x=y"}).out,
            "shop: 2 variables set\nThe current commit is delivered again with them: naru pipeline shop 18 "
            "--log\n");
  EXPECT_EQ(Json::parse(control.last_body())["set"], (Json{{"A", "1"}, {"B", "x=y"}}));
  EXPECT_EQ(run_on(control, {"env", "unset", "shop", "A"}).status, 0);
  EXPECT_EQ(Json::parse(control.last_body())["unset"], Json::array({"A"}));
  EXPECT_EQ(run_on(control, {"env", "ls", "shop"}).out, "A=***\n");
  EXPECT_EQ(run_on(control, {"env", "ls", "shop", "--reveal"}).out, "A=1\n");
  const std::string file = control.data() + "/values.env";
  std::ofstream(file) << "# a comment\nexport NAME='two words'\nFROM_HERE\n";
  EXPECT_EQ(run_on(control, {"env", "import", "shop", file}, {.environment = {{"FROM_HERE", "yes"}}}).status,
            0);
  EXPECT_EQ(Json::parse(control.last_body())["set"], (Json{{"NAME", "two words"}, {"FROM_HERE", "yes"}}));
}

TEST(Variables, ThatNoServiceSeesAreSaidWithTheWayToUseThem) {
  const FakeControl control(
      {{"POST /v1/apps/shop/env", {{"used_by", {{"A", {"web", "api"}}, {"B", Json::array()}}}}}});
  const auto ran = run_on(control, {"env", "set", "shop", "A=1", "B=2"});
  EXPECT_EQ(ran.out, "shop: 2 variables set\n  A: seen by web, api\n");
  EXPECT_EQ(
      ran.err,
      "note: B: no service sees it, for the compose file of the newest commit does not name it. Write it "
      "under `environment:` of a service, as `- B` or as ${B}, and push\n");
}

TEST(Variables, ThatCannotBeReadAreNamed) {
  const FakeControl control;
  const auto missing = run_on(control, {"env", "import", "shop/staging", "/nonexistent.env"});
  EXPECT_NE(missing.err.find("naru env import shop/staging FILE (- for standard input)"), std::string::npos)
      << missing.err;
  EXPECT_NE(run_on(control, {"env", "set", "shop", "novalue"}).err.find("'novalue' is not NAME=VALUE"),
            std::string::npos);
  EXPECT_NE(run_on(control, {"env", "import", "shop", "/nonexistent.env"}).err.find("/nonexistent.env"),
            std::string::npos);
  const std::string file = control.data() + "/bad.env";
  std::ofstream(file) << "A=1\nB\n";
  EXPECT_NE(run_on(control, {"env", "import", "shop", file}).err.find("bad.env:2: B has no value"),
            std::string::npos);
}

}  // namespace
}  // namespace naru::cli
