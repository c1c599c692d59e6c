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
