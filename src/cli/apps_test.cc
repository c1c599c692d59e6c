// Applications and their git remotes.
#include "cli/fake_control.h"

namespace naru::cli {
namespace {

using testing::expect_golden;
using testing::FakeControl;
using testing::run_on;
using testing::WorkTree;

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
                       {"DELETE /v1/apps/shop", {{"volumes", {"shop.production.data"}}}}});
  expect_golden("app-ls.txt", run_on(control, {"app", "ls"}).out);
  EXPECT_EQ(run_on(control, {"app", "rm", "shop", "--yes"}).out,
            "shop is removed, with its containers, network, repository, releases and logs.\n"
            "Its volumes are kept. To remove them, too:\n  naru volume rm shop.production.data\n");
}

TEST(App, OneEnvironmentIsRemovedNeverTheWholeApplication) {
  FakeControl control({{"DELETE /v1/apps/shop", Json::object()},
                       {"DELETE /v1/apps/shop/environments/staging", {{"volumes", {"shop.staging.data"}}}}});
  const auto removed = run_on(control, {"app", "rm", "shop/staging", "-y"});
  EXPECT_EQ(removed.status, 0) << removed.err;
  EXPECT_EQ(removed.out,
            "shop/staging is removed, with its containers, network, releases and variables.\n"
            "A push whose compose file declares it makes it again.\n"
            "Its volumes are kept. To remove them, too:\n  naru volume rm shop.staging.data\n");
  const auto production = run_on(control, {"app", "rm", "shop/production"});
  EXPECT_NE(production.status, 0);
  EXPECT_NE(production.err.find("naru app stop shop"), std::string::npos) << production.err;
}

TEST(App, IsNotCreatedByTheNameOfAnEnvironment) {
  FakeControl control({{"POST /v1/apps", Json::object()}});
  const auto refused = run_on(control, {"app", "create", "shop/staging"});
  EXPECT_NE(refused.status, 0);
  EXPECT_NE(refused.err.find("naru app create shop;"), std::string::npos) << refused.err;
}

// Nobody listens on port 1: what asks there fails at once.
const std::map<std::string, Json> kCreating{
    {"POST /v1/apps",
     {{"app", "shop"}, {"token", "naru_secret"}, {"git_url", "http://localhost:1/git/shop.git"}}},
    {"GET /v1/version", {{"api_port", 1}}},
    {"GET /v1/apps/shop/status", {{"app", "shop"}}},
    {"GET /v1/tokens", {{"tokens", {{{"name", "shop"}}, {{"name", "shop-2"}}}}}},
    {"POST /v1/tokens", {{"token", "naru_fresh"}}}};

std::string filled(const std::string& url) {
  return io::testing::shell(fmt::format(
      "printf 'url={}\n\n' | GIT_CONFIG_GLOBAL=/dev/null GIT_TERMINAL_PROMPT=0 GIT_ASKPASS=true git "
      "credential fill",
      url));
}

TEST(App, IsCreatedWithAGitRemoteWhoseUrlHoldsNoToken) {
  FakeControl control(kCreating);
  const WorkTree tree;
  const auto made = run_on(control, {"app", "create", "shop"});
  EXPECT_EQ(made.status, 0) << made.err;
  EXPECT_EQ(
      made.out,
      "The application shop is made.\nThe git remote `naru` of this repository leads to it. Next:\n\n  git "
      "push naru trunk:main\n");
  EXPECT_EQ(io::testing::shell("git remote get-url naru"), "http://127.0.0.1:1/git/shop.git\n");
  EXPECT_EQ(io::testing::shell("git config --get remote.naru.proxy"), "\n");
  EXPECT_EQ(io::testing::shell("grep -rl naru_secret .git"), ".git/naru-credentials\n");
  EXPECT_EQ(io::testing::shell("stat -c %a .git/naru-credentials"), "600\n");
  EXPECT_EQ(Json::parse(run_on(control, {"app", "create", "shop", "--json"}).out)["remote_added"], true);
}

TEST(App, ItsTokenIsFoundByGitForItsRepositoryAlone) {
  const WorkTree tree;
  run_on(FakeControl(kCreating), {"app", "create", "shop"});
  EXPECT_NE(filled("http://127.0.0.1:1/git/shop.git").find("username=naru\npassword=naru_secret\n"),
            std::string::npos);
  EXPECT_EQ(filled("http://127.0.0.1:1/git/blog.git").find("naru_secret"), std::string::npos);
  EXPECT_EQ(filled("http://127.0.0.1:2/git/shop.git").find("naru_secret"), std::string::npos);
  // A refusal (control restored from an older copy, say) does not throw it away, and a moved clone keeps it.
  io::testing::shell(
      "printf 'url=http://127.0.0.1:1/git/shop.git\nusername=naru\npassword=naru_secret\n\n' | git "
      "credential "
      "reject");
  io::testing::shell("mkdir moved && mv .git moved/");
  std::filesystem::current_path("moved");
  EXPECT_NE(filled("http://127.0.0.1:1/git/shop.git").find("password=naru_secret\n"), std::string::npos);
}

TEST(App, IsNotCreatedWhereTheRemoteLeadsElsewhere) {
  FakeControl control(kCreating);
  const WorkTree tree;
  io::testing::shell("git remote add naru http://naru:naru_blog@127.0.0.1:1/git/blog.git");
  for (const char* verb : {"create", "connect"}) {
    const auto refused = run_on(control, {"app", verb, "shop"});
    EXPECT_EQ(refused.status, 1);
    EXPECT_NE(refused.err.find("leads to http://127.0.0.1:1/git/blog.git, not to shop"), std::string::npos)
        << refused.err;
    EXPECT_EQ(refused.err.find("naru_blog"), std::string::npos);
    EXPECT_NE(refused.err.find("git remote rename naru another"), std::string::npos);
  }
  for (const std::string& request : control.requests()) EXPECT_NE(request, "POST /v1/apps");
  EXPECT_EQ(io::testing::shell("git remote get-url naru"),
            "http://naru:naru_blog@127.0.0.1:1/git/blog.git\n");
  EXPECT_EQ(io::testing::shell("git config --local --get-regexp '^credential'"), "");
}

TEST(App, ThatIsThereIsConnectedToASecondClone) {
  FakeControl control(kCreating);
  const WorkTree tree;
  const auto connected = run_on(control, {"app", "connect", "shop"});
  EXPECT_EQ(connected.status, 0) << connected.err;
  EXPECT_EQ(
      connected.out,
      "The git remote `naru` of this repository leads to shop at http://127.0.0.1:1/git/shop.git, with a "
      "token of its own. Next:\n\n  git push naru trunk:main\n");
  EXPECT_EQ(Json::parse(control.last_body()), (Json{{"name", "shop-3"}, {"app", "shop"}}));
  EXPECT_NE(filled("http://127.0.0.1:1/git/shop.git").find("password=naru_fresh\n"), std::string::npos);
}

TEST(App, ARemoteOfAnOlderNaruIsMended) {
  FakeControl control(kCreating);
  const WorkTree tree;
  io::testing::shell("git remote add naru http://naru:naru_old@127.0.0.1:7000/git/shop.git");
  const auto connected = run_on(control, {"app", "connect", "shop"});
  EXPECT_NE(connected.out.find("(before: http://127.0.0.1:7000/git/shop.git)"), std::string::npos)
      << connected.out << connected.err;
  EXPECT_EQ(io::testing::shell("git remote get-url naru"), "http://127.0.0.1:1/git/shop.git\n");
  EXPECT_EQ(io::testing::shell("grep -c . .git/naru-credentials"), "1\n") << "the new token replaced the old";
}

TEST(App, WhoMayMakeNoTokenConnectsWithHisOwn) {
  std::string host;
  const io::testing::TestServer server(
      [&](io::Request& request, io::ResponseWriter& response) -> io::Task<void> {
        if (request.path() == "/v1/tokens") {
          const Error error{Code::forbidden, "for shop only", 0, {}};
          (void)co_await response.send_error(error);
          co_return;
        }
        const Json body{{"api_port", 7433}};
        (void)co_await response.send_json(request.path().starts_with("/git") ? 404 : 200, body);
      });
  const WorkTree tree;
  const auto connected =
      testing::run_line({"app", "connect", "shop"},
                        {.environment = {{"NARU_URL", server.url() + "/"}, {"NARU_TOKEN", "naru_push"}}});
  EXPECT_EQ(connected.status, 0) << connected.err;
  EXPECT_NE(filled(server.url() + "/git/shop.git").find("password=naru_push\n"), std::string::npos);
}

TEST(App, CreatedElsewhereSaysHowToGoOn) {
  FakeControl control(kCreating);
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(control.data());
  const auto made = run_on(control, {"app", "create", "shop"});
  const auto connected = run_on(control, {"app", "connect", "shop"});
  std::filesystem::current_path(before);
  EXPECT_NE(made.out.find("  naru app connect shop\n  git push naru main\n"), std::string::npos) << made.out;
  EXPECT_NE(
      made.out.find("password naru_secret:\n\n  git remote add naru http://naru@127.0.0.1:1/git/shop.git"),
      std::string::npos)
      << made.out;
  EXPECT_EQ(connected.status, 1);
  EXPECT_NE(connected.err.find("belongs to no git repository"), std::string::npos) << connected.err;
}

TEST(App, ThatIsTakenIsSaidWithTheWayToConnect) {
  FakeControl control;
  control.special["POST /v1/apps"] = [](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
    const Error error{Code::already_exists, "there is an application 'shop' already", 0, {}};
    (void)co_await response.send_error(error);
  };
  const WorkTree tree;
  EXPECT_NE(run_on(control, {"app", "create", "shop"}).err.find("naru app connect shop"), std::string::npos);
}

// A control whose application is stopped, and has so many containers left at each question.
class StoppingControl : public FakeControl {
 public:
  StoppingControl()
      : FakeControl({{"POST /v1/apps/shop/stop",
                      {{"app", "shop"}, {"message", "stopping"}, {"instances", {{{"id", "shop-web-7"}}}}}},
                     {"GET /v1/apps/shop/status?env=production",
                      {{"app", "shop"}, {"message", "stopped"}, {"instances", Json::array()}}}}) {
    special["GET /v1/ps?app=shop&env=production"] = [this](io::Request&, io::ResponseWriter& response) {
      return tell(response);
    };
  }
  std::vector<int> left{0};  // the last one again and again; -1: it restarts
  std::int64_t grace = 10'000;
  std::size_t asked = 0;

 private:
  io::Task<void> tell(io::ResponseWriter& response) {
    const int count = left[std::min(asked++, left.size() - 1)];
    if (count < 0) {
      const Error error{Code::unavailable, "control is stopping", 0, "ask again"};
      (void)co_await response.send_error(error);
      co_return;
    }
    Json instances = Json::array();
    for (int i = 0; i < count; ++i)
      instances.push_back({{"id", "shop-web-7"}, {"phase", "retiring"}, {"stop_grace", grace}});
    const Json answer{{"instances", instances}};
    (void)co_await response.send_json(200, answer);
  }
};

TEST(App, ThatIsStoppedIsWaitedForUntilItsContainersAreGone) {
  StoppingControl control;
  control.left = {3, 2, 1, 0};
  const auto ran = run_on(control, {"app", "stop", "shop"});
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(control.asked, 4U) << "until none was left";
  EXPECT_EQ(ran.out, "shop: stopped\n");
  EXPECT_TRUE(ran.err.contains("note: 3 containers finish their requests and stop\n")) << ran.err;
  EXPECT_TRUE(ran.err.contains("note: 1 container finishes its requests and stops\n")) << ran.err;
  control.asked = 0;
  const Json told = Json::parse(run_on(control, {"app", "stop", "shop", "--json"}).out);
  EXPECT_EQ(told["instances"], Json::array()) << "as it is after the wait";
}

TEST(App, IsStoppedOverARestartOfControl) {
  StoppingControl control;
  control.left = {1, -1, -1, 1, 0};
  const auto ran = run_on(control, {"app", "stop", "shop"});
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(ran.out, "shop: stopped\n");
  EXPECT_TRUE(ran.err.contains("note: control is stopping; the stop was taken, and control is asked again\n"))
      << ran.err;
  control.left = {-1};
  EXPECT_EQ(run_on(control, {"app", "stop", "shop"}).status, 1) << "not for ever";
}

TEST(App, IsGivenItsStopGracePeriodToStop) {
  StoppingControl control;
  control.left = {1};
  control.grace = 300'000;
  const auto ran = run_on(control, {"app", "stop", "shop"});
  EXPECT_EQ(ran.status, 1);
  EXPECT_TRUE(ran.err.contains("shop: shop-web-7 not stopped within 6m20s")) << ran.err;
  EXPECT_TRUE(ran.err.contains("the stop goes on without this command; naru ps shop")) << ran.err;
}

TEST(App, OfANameThatCannotBeIsToldWhichNamesAreAllowed) {
  for (const char* name : {"My App", "shop!", "-x", "a/b/c"}) {
    const auto ran = run_on(FakeControl(), {"app", "create", "--", name});
    EXPECT_EQ(ran.status, 1) << name;
    EXPECT_TRUE(ran.err.contains("it takes 1 to 24 of a-z, 0-9 and '-', beginning with a letter")) << ran.err;
  }
  EXPECT_TRUE(run_on(FakeControl(), {"app", "create", "My App"}).err.contains("naru app create my-app\n"));
}

TEST(Confirming, WhatCannotBeUndoneNeedsAYesWhereNobodyCanBeAsked) {
  FakeControl control({{"DELETE /v1/apps/shop", Json::object()},
                       {"DELETE /v1/apps/shop/environments/staging", Json::object()},
                       {"DELETE /v1/volumes?name=shop.production.data", Json::object()}});
  const std::vector<std::vector<std::string>> verbs{
      {"app", "rm", "shop"}, {"app", "rm", "shop/staging"}, {"volume", "rm", "shop.production.data"}};
  for (const auto& words : verbs) {
    const std::string line = fmt::format("naru {}", fmt::join(words, " "));
    const auto asked = control.requests().size();
    const auto refused = run_on(control, words);
    EXPECT_EQ(refused.status, 1) << line;
    EXPECT_NE(refused.err.find("Nothing is done: standard input is no terminal"), std::string::npos)
        << refused.err;
    EXPECT_NE(refused.err.find(line + " --yes"), std::string::npos) << refused.err;
    const auto no = run_on(control, words, {.typed = ""});
    EXPECT_EQ(no.status, 1);
    EXPECT_NE(no.err.find("Go on? [y/N] "), std::string::npos) << no.err;
    EXPECT_EQ(control.requests().size(), asked) << line << " asked control before the person";
    EXPECT_EQ(run_on(control, words, {.typed = "y"}).status, 0);
    auto sure = words;
    sure.emplace_back("--yes");
    EXPECT_EQ(run_on(control, sure).status, 0);
    EXPECT_EQ(control.requests().size(), asked + 2);
  }
}

}  // namespace
}  // namespace naru::cli
