// Each verb against a control that answers from here: what it asks, and what a person then reads.
#include <sys/file.h>

#include "cli/fake_control.h"

namespace naru::cli {
namespace {

using testing::expect_golden;
using testing::FakeControl;
using testing::kNow;
using testing::run_line;
using testing::run_on;

Json instance(std::string id, std::string service, std::string phase, Json more = Json::object()) {
  Json out{{"id", id},
           {"app", "shop"},
           {"env", "production"},
           {"service", service},
           {"release_version", 3},
           {"side", "both"},
           {"phase", phase},
           {"address", "10.88.0.7"},
           {"pid", 4711},
           {"attempt", 1},
           {"restarts", 0},
           {"exit_code", nullptr},
           {"error", ""},
           {"started", kNow - 245'000},
           {"ready_at", kNow - 243'000},
           {"memory_bytes", 23'400'000}};
  out.update(more);
  return out;
}

Json rollout_view() {
  const auto side = [](int seen) {
    return Json{{"users_seen", seen}, {"users_bad", 0}, {"requests", seen * 3}, {"failed", 0}};
  };
  return {
      {"id", 31},
      {"app", "shop"},
      {"env", "production"},
      {"from_version", 3},
      {"to_version", 4},
      {"commit", "a1b2c3d4e5f6a7b8"},
      {"subject", "Faster catalog"},
      {"phase", "stepping"},
      {"step", 1},
      {"weight", 2500},
      {"reason", "holding at 25%: 12 of 50 users; send traffic, add a probe, or naru promote shop"},
      {"steps",
       {{{"weight", 500},
         {"started", kNow - 200'000},
         {"passed", kNow - 77'000},
         {"verdict", "no worse than v3: 131 users met v4"}},
        {{"weight", 2500}, {"started", kNow - 77'000}, {"passed", 0}, {"verdict", ""}}}},
      {"planned",
       {{{"weight", 500}, {"min_duration", 30'000}, {"min_users", 50}},
        {{"weight", 2500}, {"min_duration", 30'000}, {"min_users", 50}},
        {{"weight", 10'000}, {"min_duration", 30'000}, {"min_users", 50}}}},
      {"verdict",
       {{"kind", "hold"},
        {"metric", ""},
        {"reason", ""},
        {"evidence",
         {{{"metric", "errors"},
           {"stable", side(950)},
           {"canary", side(12)},
           {"bad_stable", 3},
           {"bad_canary", 2},
           {"odds_ratio", 4.13},
           {"odds_low", 0.8},
           {"odds_high", 0.0},
           {"m", 1.84},
           {"threshold", 2000.0}},
          {{"metric", "crashes"}, {"bad_stable", 0}, {"bad_canary", 1}, {"m", 1.0}, {"threshold", 0.0}}}}}},
      {"changed", {"catalog"}},
      {"created", kNow - 215'000},
      {"first_user", kNow - 200'000},
      {"completed", 0},
      {"ended", 0},
      {"failed_requests",
       {{{"time", kNow - 5'000},
         {"side", "canary"},
         {"service", "catalog"},
         {"method", "GET"},
         {"path", "/products\x1b[2J"},
         {"status", 500},
         {"duration_us", 12'345},
         {"trace_id", "0af7651916cd43dd"}}}}};
}

Json status_view() {
  return {
      {"app", "shop"},
      {"env", "production"},
      {"message", "holding at 25%: 12 of 50 users"},
      {"stable",
       {{"id", 7}, {"version", 3}, {"commit", "0123456789abcdef"}, {"subject", "상품 목록 빠르게"}}},
      {"pending", nullptr},
      {"services",
       {{{"name", "web"},
         {"revision", "aaaabbbbcccc"},
         {"ready", 2},
         {"wanted", 2},
         {"addresses", {"http://localhost:8000", "http://web.production.shop.localhost:8080"}}},
        {{"name", "catalog"},
         {"revision", "ddddeeeeffff"},
         {"ready", 0},
         {"wanted", 1},
         {"changed_in_rollout", true},
         {"addresses", Json::array()}},
        {{"name", "store"},
         {"revision", "999988887777"},
         {"ready", 1},
         {"wanted", 1},
         {"stateful", true},
         {"addresses", Json::array()}}}},
      {"instances",
       {instance("shop-catalog-9", "catalog", "waiting", {{"error", "exit 1: cannot connect to store"}})}},
      {"rollout", rollout_view()},
      {"pipeline",
       {{"state", "failed"}, {"commit", "fedcba987654"}, {"error", "compose.yaml:7: no such service"}}},
      {"addresses", Json::array()}};
}

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

TEST(Delivery, CommandsOfPeopleArePostedWithTheirEnvironment) {
  const Json status{{"app", "shop"}, {"env", "staging"}, {"message", "done"}};
  FakeControl control({{"POST /v1/apps/shop/promote", status},
                       {"POST /v1/apps/shop/abort", status},
                       {"POST /v1/apps/shop/rollback", status},
                       {"POST /v1/apps/shop/stop", status},
                       {"POST /v1/apps/shop/start", status}});
  EXPECT_EQ(run_on(control, {"promote", "shop/staging"}).out, "shop/staging: done\n");
  EXPECT_EQ(Json::parse(control.last_body()), (Json{{"env", "staging"}}));
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

TEST(Releases, ShowWhichIsCurrentAndWhatWasBuilt) {
  const Json service{{"name", "web"}, {"cached", true}}, built{{"name", "catalog"}, {"cached", false}};
  const FakeControl control({{"GET /v1/apps/shop/releases",
                              {{"releases",
                                {{{"version", 2},
                                  {"commit", "abcdef0123"},
                                  {"subject", "Second"},
                                  {"author", "Lee <lee@example.org>"},
                                  {"created", kNow - 3'600'000},
                                  {"current", true},
                                  {"services", {service, built}}},
                                 {{"version", 1},
                                  {"commit", "1234567890"},
                                  {"subject", "First"},
                                  {"author", "Lee"},
                                  {"created", kNow - 400'000'000},
                                  {"current", false},
                                  {"services", {built}}}}}}}});
  expect_golden("releases.txt", run_on(control, {"releases", "shop"}).out);
}

TEST(Pipeline, ShowsTheNewestOrTheNamedOneAndItsLog) {
  const Json view{{"id", 17},
                  {"app", "shop"},
                  {"commit", "abcdef0123"},
                  {"subject", "Second"},
                  {"author", "Lee"},
                  {"state", "failed"},
                  {"error", "catalog: RUN make: exit 2"},
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
  EXPECT_EQ(run_on(control, {"pipeline", "shop", "17", "--log", "--json"}).out,
            "{\"line\":\"one\"}\n{\"line\":\"two\"}\n");
}

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

TEST(Variables, ThatCannotBeReadAreNamed) {
  const FakeControl control;
  EXPECT_NE(run_on(control, {"env", "set", "shop", "novalue"}).err.find("'novalue' is not NAME=VALUE"),
            std::string::npos);
  EXPECT_NE(run_on(control, {"env", "import", "shop", "/nonexistent.env"}).err.find("/nonexistent.env"),
            std::string::npos);
  const std::string file = control.data() + "/bad.env";
  std::ofstream(file) << "A=1\nB\n";
  EXPECT_NE(run_on(control, {"env", "import", "shop", file}).err.find("bad.env:2: B has no value"),
            std::string::npos);
}

TEST(Images, AreListedRemovedAndTheirHistoryShown) {
  const FakeControl control({{"GET /v1/images",
                              {{"images",
                                {{{"reference", "docker.io/library/debian:bookworm-slim"},
                                  {"name", "debian:bookworm-slim"},
                                  {"manifest", "sha256:0123456789abcdef0123"},
                                  {"size", 29'100'000},
                                  {"created", "2025-01-01T00:00:00Z"}}}}}},
                             {"GET /v1/images/history?reference=debian%3Abookworm-slim",
                              {{"history",
                                {{{"created_by", "RUN make"}, {"size", 1'234'567}, {"empty", false}},
                                 {{"created_by", "CMD [\"sh\"]"}, {"size", 0}, {"empty", true}}}}}},
                             {"DELETE /v1/images?reference=debian%3Abookworm-slim", {{"removed", "x"}}}});
  expect_golden("image-ls.txt", run_on(control, {"image", "ls"}).out);
  expect_golden("image-history.txt", run_on(control, {"image", "history", "debian:bookworm-slim"}).out);
  EXPECT_EQ(run_on(control, {"image", "rm", "debian:bookworm-slim"}).out,
            "debian:bookworm-slim is removed\n");
}

TEST(Images, ArePulledWithProgressAndAFailureIsAnError) {
  FakeControl control;
  std::string says = "layer 1 of 2\npulled debian sha256:00\n";
  control.special["POST /v1/images/pull"] = [&says](io::Request&,
                                                    io::ResponseWriter& response) -> io::Task<void> {
    (void)co_await response.start(200, std::nullopt, "text/plain");
    (void)co_await response.write(says);
    (void)co_await response.finish();
  };
  EXPECT_EQ(run_on(control, {"image", "pull", "debian"}).out, says);
  EXPECT_EQ(Json::parse(control.last_body()), (Json{{"reference", "debian"}}));
  says = "error: no such image\nhint: check its name\n";
  const auto failed = run_on(control, {"image", "pull", "debian"});
  EXPECT_EQ(failed.status, 1);
  EXPECT_EQ(failed.err, "error: no such image\nhint: check its name\n");
}

TEST(Images, AreImportedByStreamingTheFile) {
  FakeControl control(
      {{"POST /v1/images/import?reference=base%3A1", {{"reference", "base:1"}, {"manifest", "sha256:00"}}}});
  const std::string file = control.data() + "/root.tar", content(300'000, 'x');
  std::ofstream(file) << content;
  EXPECT_EQ(run_on(control, {"image", "import", file, "base:1"}).out, "base:1  sha256:00\n");
  EXPECT_EQ(control.last_body(), content);
  EXPECT_NE(run_on(control, {"image", "import", file}).err.find("needs a name"), std::string::npos);
  EXPECT_NE(run_on(control, {"image", "import", "/nonexistent.tar", "x"}).err.find("/nonexistent.tar"),
            std::string::npos);
}

TEST(Operator, SeesVolumesAndTokens) {
  FakeControl control(
      {{"GET /v1/volumes",
        {{"volumes",
          {{{"name", "shop.production.data"},
            {"bytes", 12'000},
            {"app", "shop"},
            {"mounted_by", {"shop-store-4"}}}}}}},
       {"DELETE /v1/volumes?name=shop.production.data", Json::object()},
       {"GET /v1/tokens", {{"tokens", {{{"name", "ci"}, {"app", ""}, {"created", kNow - 5'000}}}}}},
       {"POST /v1/tokens", {{"token", "naru_abc"}}},
       {"DELETE /v1/tokens/a%20b", Json::object()},
       {"POST /v1/login-link", {{"url", "http://localhost:7433/login?code=1"}}}});
  EXPECT_EQ(
      run_on(control, {"volume", "ls"}).out,
      "VOLUME                SIZE     APP   MOUNTED BY\nshop.production.data  12.0 KB  shop  shop-store-4\n");
  EXPECT_EQ(run_on(control, {"volume", "rm", "shop.production.data"}).status, 0);
  EXPECT_EQ(run_on(control, {"token", "ls"}).out, "TOKEN  FOR         MADE\nci     everything  5s ago\n");
  const auto made = run_on(control, {"token", "create", "ci", "--app", "shop"});
  EXPECT_EQ(made.out, "naru_abc\n");
  EXPECT_EQ(Json::parse(control.last_body()), (Json{{"name", "ci"}, {"app", "shop"}}));
  EXPECT_EQ(run_on(control, {"token", "rm", "a b"}).status, 0);
  EXPECT_EQ(run_on(control, {"open"}).out, "http://localhost:7433/login?code=1\n");
}

TEST(Doctor, ShowsChecksAndFailsWhenOneDoes) {
  const Json checks{{"checks",
                     {{{"name", "disk"}, {"ok", false}, {"detail", "1 GB free"}, {"remedy", "free some"}},
                      {{"name", "git"}, {"ok", true}, {"detail", "git 2.39"}, {"remedy", ""}}}}};
  const auto ran = run_on(FakeControl({{"GET /v1/doctor", checks}}), {"doctor"});
  EXPECT_EQ(ran.status, 1);
  EXPECT_EQ(ran.out, "   CHECK  FINDING\n✗  disk   1 GB free\n          → free some\n✓  git    git 2.39\n");
}

TEST(Doctor, FindsOutWhatItCanWhenControlIsDown) {
  const io::testing::TemporaryFolder folder;
  std::filesystem::create_directories(folder.path / "log");
  std::ofstream(folder.path / "lock") << "1\n";
  std::ofstream(folder.path / "log/control.log") << "old\nlast words\n";
  const auto ran = run_line({"doctor", "--data", folder.path.string(), "--json"});
  EXPECT_EQ(ran.status, 1);
  const Json answer = Json::parse(ran.out);
  const auto check = [&](std::string_view name) {
    for (const Json& one : answer["checks"])
      if (one["name"] == name) return one;
    return Json();
  };
  EXPECT_EQ(check("control")["ok"], false);
  EXPECT_EQ(check("supervisor")["detail"], "`naru up` does not run");
  EXPECT_EQ(check("last of control")["detail"], "last words");
  EXPECT_TRUE(check("kernel").is_object());
}

TEST(Errors, OfControlArePrintedWithTheirHint) {
  const auto ran = run_on(FakeControl(), {"releases", "shop"});
  EXPECT_EQ(ran.status, 1);
  EXPECT_EQ(ran.err, "error: there is no GET /v1/apps/shop/releases\nhint: ask for something else\n");
}

TEST(Errors, ThatAreNoAnswersOfControlAreSaidPlainly) {
  FakeControl control;
  control.special["GET /v1/apps"] = [](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
    (void)co_await response.send(200, "<html>");
  };
  control.special["GET /v1/ps"] = [](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
    (void)co_await response.send(502, "bad gateway");
  };
  EXPECT_NE(run_on(control, {"app", "ls"}).err.find("the answer is not JSON"), std::string::npos);
  EXPECT_NE(run_on(control, {"ps"}).err.find("control answered 502 without saying why"), std::string::npos);
}

TEST(Place, NobodyThereIsSaidWithHowToStart) {
  const io::testing::TemporaryFolder folder;
  const std::string data = folder.path.string();
  EXPECT_EQ(run_line({"ps", "--data", data}).err,
            fmt::format("error: Naru is not running on {0}\nhint: start it with `sudo naru up --data {0}`\n",
                        data));
  EXPECT_EQ(run_line({"ps", "--data", data + "/"}).err,
            run_line({"ps"}, {.environment = {{"NARU_DATA", data}}}).err);
  EXPECT_NE(run_line({"ps", "--data", "/" + std::string(200, 'x')}).err.find("too long"), std::string::npos);
}

TEST(Place, ElsewhereIsReachedByAddressAndToken) {
  std::string authorization;
  const io::testing::TestServer server(
      [&](io::Request& request, io::ResponseWriter& response) -> io::Task<void> {
        authorization = request.header("authorization").value_or("");
        const Json body{{"instances", Json::array()}};
        (void)co_await response.send_json(200, body);
      });
  const std::string url = server.url();
  EXPECT_EQ(run_line({"ps"}, {.environment = {{"NARU_URL", url}, {"NARU_TOKEN", "secret"}}}).out,
            "Nothing runs.\n");
  EXPECT_EQ(authorization, "Bearer secret");
  const auto nobody = run_line({"ps"}, {.environment = {{"NARU_URL", "http://127.0.0.1:1"}}});
  EXPECT_NE(nobody.err.find("Naru cannot be reached at http://127.0.0.1:1"), std::string::npos) << nobody.err;
  EXPECT_NE(run_line({"up"}, {.environment = {{"NARU_URL", url}}}).err.find("unset NARU_URL"),
            std::string::npos);
}

TEST(Down, WaitsUntilTheFolderIsFree) {
  FakeControl control({{"POST /v1/down", {{"stopping", true}}}});
  EXPECT_NE(run_on(control, {"down", "--all"}).out.find("every container is stopped"), std::string::npos);
  EXPECT_EQ(Json::parse(control.last_body()), (Json{{"all", true}}));
  EXPECT_NE(run_on(control, {"down"}).out.find("Containers run on"), std::string::npos);
}

TEST(Up, ThatRunsAlreadySaysSoWithTheLink) {
  const FakeControl control({{"GET /v1/version", {{"version", "0.1.0"}, {"gateway_port", 8080}}},
                             {"POST /v1/login-link", {{"url", "http://localhost:7433/login?code=7"}}}});
  const auto ran =
      run_on(control, {"up"},
             {.environment = {},
              .processes = {.up = [](const UpRequest&, const std::function<void()>&) -> Result<void> {
                return fail(Code::internal, "must not start");
              }}});
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_NE(ran.out.find("Naru runs already on " + control.data()), std::string::npos);
  EXPECT_NE(ran.out.find("login?code=7"), std::string::npos);
  EXPECT_EQ(Json::parse(run_on(control, {"up", "--json"}).out)["already_running"], true);
}

TEST(Up, PassesItsOptionsOnAndGreetsOnceControlAnswers) {
  const io::testing::TemporaryFolder folder;
  std::filesystem::create_directories(folder.path / "run");
  UpRequest seen;
  Processes processes;
  processes.up = [&](const UpRequest& request, const std::function<void()>& on_started) -> Result<void> {
    seen = request;
    std::promise<void> greeted;
    const io::testing::TestServer server(
        [&](io::Request& asked, io::ResponseWriter& response) -> io::Task<void> {
          const Json body{{"version", "0.1.0"}, {"gateway_port", 81}, {"url", "http://console"}};
          (void)co_await response.send_json(200, body);
          if (asked.path() == "/v1/login-link") greeted.set_value();
        },
        {}, io::Address::of_unix((folder.path / "run/control.sock").string()).value());
    on_started();
    greeted.get_future().wait();
    return {};
  };
  const auto ran = run_line({"up", "--data", folder.path.string(), "--port", "7000", "--gateway-port", "81",
                             "--listen", "127.0.0.1"},
                            {.environment = {}, .processes = processes});
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(seen.control_port, 7000);
  EXPECT_EQ(seen.gateway_port, 81);
  EXPECT_EQ(seen.gateway_address, "127.0.0.1");
  EXPECT_NE(ran.out.find("http://localhost:81"), std::string::npos);
  EXPECT_NE(ran.out.find("http://console"), std::string::npos);
}

TEST(Up, DetachedThatCannotStartTellsWhy) {
  const io::testing::TemporaryFolder folder;
  Processes processes;
  processes.up = [](const UpRequest&, const std::function<void()>&) -> Result<void> {
    return std::unexpected(Error{Code::port_taken, "port 8080: taken", 0, "choose another"});
  };
  const auto ran = run_line({"up", "--detach", "--data", folder.path.string()},
                            {.environment = {}, .processes = processes});
  EXPECT_EQ(ran.status, 1);
  EXPECT_EQ(ran.err, "error: port 8080: taken\nhint: choose another\n");
}

// ---- exec

std::string frame(char kind, const std::string& bytes) {
  return std::string{kind} +
         std::string{'\0', '\0', static_cast<char>(bytes.size() >> 8),
                     static_cast<char>(bytes.size() & 0xff)} +
         bytes;
}

FakeControl::Handler answer_exec(std::string frames) {
  return [frames = std::move(frames)](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
    std::string pending;
    auto stream = co_await response.upgrade("naru-exec", pending);
    if (!stream) co_return;
    (void)co_await stream->write(frames);
  };
}

TEST(Exec, PassesOutputAndExitStatusOn) {
  FakeControl control(
      {{"GET /v1/ps?app=shop",
        {{"instances",
          {instance("shop-web-1", "web", "ready", {{"side", "canary"}}),
           instance("shop-web-2", "web", "ready"), instance("shop-api-3", "api", "ready")}}}}});
  control.special["POST /v1/instances/shop-web-2/exec"] =
      answer_exec(frame(1, "out") + frame(2, "err") + frame(1, "put\n") + frame(4, "42"));
  const auto ran = run_on(
      control, {"exec", "shop/web", "-u", "root", "-w", "/srv", "-e", "A=1", "--", "sh", "-c", "exit 42"});
  EXPECT_EQ(ran.status, 42) << ran.err;
  EXPECT_EQ(ran.out, "output\n");
  EXPECT_EQ(ran.err, "err");
  const Json asked = Json::parse(control.last_body());
  EXPECT_EQ(asked["argv"], (Json{"sh", "-c", "exit 42"}));
  EXPECT_EQ(asked["user"], "root");
  EXPECT_EQ(asked["cwd"], "/srv");
  EXPECT_EQ(asked["env"], Json::array({"A=1"}));
  EXPECT_EQ(asked["tty"], false);
}

TEST(Exec, ThatEndsWithoutAStatusOrWithGarbageIsAnError) {
  FakeControl control({{"GET /v1/ps?app=shop", {{"instances", {instance("shop-web-2", "web", "ready")}}}}});
  const auto run = [&](std::string frames) {
    control.special["POST /v1/instances/shop-web-2/exec"] = answer_exec(std::move(frames));
    return run_on(control, {"exec", "shop/web", "--", "true"});
  };
  EXPECT_NE(run(frame(1, "x")).err.find("its exit status is not known"), std::string::npos);
  EXPECT_NE(run("\x01\xff\xff\xff\xff").err.find("too large"), std::string::npos);
  EXPECT_EQ(run(frame(4, "garbage")).status, 255);
  EXPECT_EQ(run(frame(9, "unknown kinds are skipped") + frame(4, "0")).status, 0);
}

TEST(Exec, WithoutSuchAnInstanceSaysWhatRuns) {
  FakeControl control({{"GET /v1/ps?app=shop",
                        {{"instances",
                          {instance("shop-web-2", "web", "ready"), instance("shop-api-3", "api", "running"),
                           instance("shop-old-1", "old", "failed")}}}}});
  EXPECT_EQ(run_on(control, {"exec", "shop/old", "--", "sh"}).err,
            "error: nothing runs of shop/old\nhint: these services run: api, web\n");
  EXPECT_NE(
      run_on(control, {"exec", "shop", "--", "sh"}).err.find("name one, as shop/api; there are: api, web"),
      std::string::npos);
  const auto refused = run_on(control, {"exec", "shop/web", "--", "sh"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.err.find("hint: ask for something else"), std::string::npos);
}

// ---- app

TEST(App, IsListedAndRemoved) {
  FakeControl control({{"GET /v1/apps",
                        {{"apps",
                          {{{"name", "shop"},
                            {"environments",
                             {{{"name", "production"},
                               {"stable", {{"version", 3}, {"commit", "0123456789"}}},
                               {"rollout", {{"phase", "stepping"}, {"to", 4}, {"weight", 500}}},
                               {"health", "ok"},
                               {"addresses", {"http://localhost:8000"}}},
                              {{"name", "staging"},
                               {"stable", nullptr},
                               {"rollout", nullptr},
                               {"health", "empty"},
                               {"addresses", Json::array()}}}}}}}}},
                       {"DELETE /v1/apps/shop", Json::object()}});
  expect_golden("app-ls.txt", run_on(control, {"app", "ls"}).out);
  EXPECT_EQ(run_on(control, {"app", "rm", "shop"}).out,
            "shop is removed. Its volumes are kept; see `naru volume ls`.\n");
}

class WorkTree {  // enters it, and leaves it again
 public:
  WorkTree() : before_(std::filesystem::current_path()) {
    std::filesystem::current_path(folder_.path);
    io::testing::shell("git init -q -b trunk .");
  }
  ~WorkTree() { std::filesystem::current_path(before_); }

 private:
  io::testing::TemporaryFolder folder_;
  std::filesystem::path before_;
};

TEST(App, IsCreatedWithAGitRemoteInsideAWorkTree) {
  FakeControl control(
      {{"POST /v1/apps",
        {{"app", "shop"}, {"token", "naru_secret"}, {"git_url", "http://localhost:7433/git/shop.git"}}}});
  const WorkTree tree;
  const auto made = run_on(control, {"app", "create", "shop"});
  EXPECT_EQ(made.status, 0) << made.err;
  EXPECT_NE(made.out.find("is added in this repository. Next:\n\n  git push naru trunk:main\n"),
            std::string::npos)
      << made.out;
  EXPECT_EQ(io::testing::shell("git remote get-url naru"),
            "http://naru:naru_secret@127.0.0.1:7433/git/shop.git\n");
  EXPECT_EQ(io::testing::shell("git config --get remote.naru.proxy"), "\n");
  EXPECT_NE(run_on(control, {"app", "create", "shop"}).out.find("is updated"), std::string::npos);
  EXPECT_EQ(Json::parse(run_on(control, {"app", "create", "shop", "--json"}).out)["remote_added"], true);
}

TEST(App, CreatedElsewhereSaysHowToAddTheRemote) {
  FakeControl control(
      {{"POST /v1/apps",
        {{"app", "shop"}, {"token", "naru_secret"}, {"git_url", "http://localhost:7433/git/shop.git"}}}});
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(control.data());
  const auto made = run_on(control, {"app", "create", "shop"});
  std::filesystem::current_path(before);
  EXPECT_NE(made.out.find("git remote add naru http://naru:naru_secret@127.0.0.1:7433/git/shop.git"),
            std::string::npos)
      << made.out;
}

}  // namespace
}  // namespace naru::cli
