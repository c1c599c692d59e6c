// Images, volumes, tokens, and what the doctor finds.
#include "cli/fake_control.h"

namespace naru::cli {
namespace {

using testing::expect_golden;
using testing::FakeControl;
using testing::kNow;
using testing::run_line;
using testing::run_on;

TEST(Images, AreListedRemovedAndTheirHistoryShown) {
  const FakeControl control({{"GET /v1/images",
                              {{"images",
                                {{{"reference", "docker.io/library/debian:bookworm-slim"},
                                  {"name", "debian:bookworm-slim"},
                                  {"manifest", "sha256:0123456789abcdef0123"},
                                  {"size", 29'100'000},
                                  {"created", "2025-01-01T00:00:00Z"}},
                                 {{"name", "base:curl"},
                                  {"manifest", "sha256:fedcba9876543210"},
                                  {"size", 1},
                                  {"created", "1970-01-01T00:00:00Z"}}}}}},
                             {"GET /v1/images/history?reference=debian%3Abookworm-slim",
                              {{"history",
                                {{{"created_by", "RUN make"}, {"size", 1'234'567}, {"empty", false}},
                                 {{"created_by", "CMD [\"sh\"]"}, {"size", 0}, {"empty", true}}}}}},
                             {"DELETE /v1/images?reference=debian%3Abookworm-slim",
                              {{"removed", "x"}, {"blobs", 2}, {"layers", 1}, {"bytes", 29'100'000}}}});
  expect_golden("image-ls.txt", run_on(control, {"image", "ls"}).out);
  expect_golden("image-history.txt", run_on(control, {"image", "history", "debian:bookworm-slim"}).out);
  EXPECT_EQ(run_on(control, {"image", "rm", "debian:bookworm-slim"}).out,
            "debian:bookworm-slim is removed; 29.1 MB are free\n");
}

TEST(Prune, SaysWhatWentAndWhatWasLeft) {
  FakeControl control({{"POST /v1/prune",
                        {{"dry_run", false},
                         {"releases", 3},
                         {"rollouts", 4},
                         {"pipelines", 0},
                         {"layers", 2},
                         {"layer_bytes", 120'000'000},
                         {"logs", 5},
                         {"log_bytes", 2'000},
                         {"bytes", 120'002'000},
                         {"skipped", "images and layers: builds were under way"}}}});
  const auto said = run_on(control, {"prune", "--keep", "3"});
  EXPECT_EQ(said.status, 0);
  expect_golden("prune.txt", said.out + said.err);
  EXPECT_EQ(Json::parse(control.last_body()), (Json{{"dry_run", false}, {"keep", 3}}));
  EXPECT_EQ(Json::parse(run_on(control, {"prune", "--dry-run", "--json"}).out)["bytes"], 120'002'000);
  EXPECT_EQ(Json::parse(control.last_body()), (Json{{"dry_run", true}, {"keep", 10}}));
  EXPECT_EQ(run_on(control, {"prune", "--keep", "0"}).status, 2);
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
       {"GET /v1/version", {{"api_port", 7433}}},
       {"DELETE /v1/tokens/a%20b", Json::object()},
       {"POST /v1/login-link", {{"url", "http://localhost:7433/login?code=1"}}}});
  EXPECT_EQ(
      run_on(control, {"volume", "ls"}).out,
      "VOLUME                SIZE     APP   MOUNTED BY\nshop.production.data  12.0 KB  shop  shop-store-4\n");
  EXPECT_EQ(run_on(control, {"volume", "rm", "shop.production.data", "--yes"}).status, 0);
  EXPECT_EQ(run_on(control, {"token", "ls"}).out, "TOKEN  FOR         MADE\nci     everything  5s ago\n");
  const auto made = run_on(control, {"token", "create", "ci", "--app", "shop"});
  EXPECT_EQ(made.out, "naru_abc\n") << "alone, for scripts";
  EXPECT_NE(
      made.err.find("  export NARU_URL=http://127.0.0.1:7433 NARU_TOKEN=naru_...\n  naru app connect shop "),
      std::string::npos)
      << made.err;
  EXPECT_NE(made.err.find("  git remote add naru http://127.0.0.1:7433/git/shop.git\n"), std::string::npos);
  EXPECT_EQ(run_on(control, {"token", "rm", "a b"}).status, 0);
  EXPECT_EQ(run_on(control, {"open"}).out, "http://localhost:7433/login?code=1\n");
}

TEST(Operator, IsToldTheAddressForOtherMachines) {
  const std::string elsewhere = "https://naru.example.org:7443";
  const FakeControl control(
      {{"POST /v1/tokens", {{"token", "naru_abc"}}},
       {"GET /v1/version", {{"api_port", 7433}, {"https", elsewhere}}},
       {"POST /v1/login-link",
        {{"url", "http://localhost:7433/login?code=1"}, {"https", elsewhere + "/login?code=1"}}}});
  const auto made = run_on(control, {"token", "create", "ci"});
  EXPECT_NE(made.err.find("export NARU_URL=" + elsewhere + " "), std::string::npos) << made.err;
  EXPECT_NE(made.err.find("NARU_CA=FILE"), std::string::npos);
  EXPECT_EQ(made.err.find("ssh -L"), std::string::npos);
  EXPECT_EQ(Json::parse(run_on(control, {"token", "create", "ci", "--json"}).out)["git_url"],
            elsewhere + "/git/APP.git");
  const auto opened = run_on(control, {"open"});
  EXPECT_EQ(opened.out, "http://localhost:7433/login?code=1\n") << "alone, for scripts";
  EXPECT_EQ(opened.err, "note: from another machine: " + elsewhere + "/login?code=1\n");
}

TEST(Doctor, ShowsChecksAndFailsWhenOneDoes) {
  const Json checks{{"checks",
                     {{{"name", "disk"}, {"ok", false}, {"detail", "1 GB free"}, {"remedy", "free some"}},
                      {{"name", "git"}, {"ok", true}, {"detail", "git 2.39"}, {"remedy", ""}}}}};
  const auto ran = run_on(FakeControl({{"GET /v1/doctor", checks}}), {"doctor"});
  EXPECT_EQ(ran.status, 1);
  EXPECT_EQ(ran.out, "   CHECK  FINDING\n✗  disk   1 GB free\n          → free some\n✓  git    git 2.39\n");
}

TEST(Doctor, CutsNothingAndDoesNotCallANoticeWell) {
  const std::string detail = "cgroups are " + std::string(200, 'x') + " to their end";
  const Json checks{{"checks", {{{"name", "notice"}, {"ok", true}, {"detail", detail}}}}};
  const auto ran = run_on(FakeControl({{"GET /v1/doctor", checks}}), {"doctor"}, {.interactive = true});
  EXPECT_EQ(ran.status, 0);
  EXPECT_EQ(ran.out, "   CHECK   FINDING\n!  notice  " + detail + "\n");
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

}  // namespace
}  // namespace naru::cli
