// Applications and their git remotes.
#include "cli/fake_control.h"

namespace naru::cli {
namespace {

using testing::expect_golden;
using testing::FakeControl;
using testing::run_on;

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
  EXPECT_EQ(run_on(control, {"app", "rm", "shop"}).out,
            "shop is removed, with its containers, network, repository, releases and logs.\n"
            "Its volumes are kept. To remove them, too:\n  naru volume rm shop.production.data\n");
}

TEST(App, OneEnvironmentIsRemovedNeverTheWholeApplication) {
  FakeControl control({{"DELETE /v1/apps/shop", Json::object()},
                       {"DELETE /v1/apps/shop/environments/staging", {{"volumes", {"shop.staging.data"}}}}});
  const auto removed = run_on(control, {"app", "rm", "shop/staging"});
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
