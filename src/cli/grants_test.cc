// `naru app allow` and `disallow`, with a launcher that answers what a test says.
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "cli/fake_control.h"
#include "ipc/channel.h"
#include "model/grant.h"

namespace naru::cli {
namespace {

using testing::expect_golden;
using testing::FakeControl;
using testing::kNow;
using testing::run_on;

Json grant(const std::string& name, std::vector<std::string> used_by = {}) {
  return {{"grant", name}, {"by", "ada"}, {"at", kNow - 245'000}, {"used_by", used_by}};
}
Json answer(std::vector<Json> grants) {
  return {{"app", "shop"}, {"grants", std::move(grants)}};
}

// Does what it is asked: gives, and takes, in a list of its own.
class FakeLauncher {
 public:
  FakeLauncher(const FakeControl& control, std::vector<std::string> has = {}) : has_(std::move(has)) {
    listener_ = std::move(*ipc::listen_unix(control.data() + "/run/launcher.sock"));
    thread_ = std::jthread([this](const std::stop_token& stop) { serve(stop); });
  }
  std::vector<std::string> has() {
    const std::lock_guard lock(mutex_);
    return has_;
  }
  Json asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }

 private:
  void serve(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pollfd entry{listener_.get(), POLLIN, 0};
      if (::poll(&entry, 1, 20) <= 0) continue;
      ipc::Channel channel(Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
      while (auto message = channel.receive(5s))
        if (!channel.send({{"id", message->body["id"]}, {"result", take(message->body)}}, 5s)) break;
    }
  }
  Json take(const Json& request) {
    const std::lock_guard lock(mutex_);
    if (request["op"] == "grant.list") return {{"apps", std::vector{now()}}};
    asked_ = request;
    for (const std::string name : request["grants"]) {
      std::erase(has_, name);
      if (request["op"] == "grant.allow") has_.push_back(name);
    }
    return now();
  }
  AppGrants now() const {
    AppGrants now{"shop", {}, "ada", {}};
    for (const std::string& name : has_) now.grants.push_back({name, "ada", from_epoch_ms(kNow - 245'000)});
    return now;
  }

  Fd listener_;
  std::mutex mutex_;
  std::vector<std::string> has_;
  Json asked_;
  std::jthread thread_;
};

TEST(Grants, AreListedWithWhoUsesThem) {
  FakeControl control(
      {{"GET /v1/apps/shop/grants",
        answer({grant("cap:NET_ADMIN", {"production/vpn", "staging/vpn"}), grant("bind:/srv/photos")})},
       {"GET /v1/apps/blog/grants", answer({})}});
  expect_golden("app-allow.txt", run_on(control, {"app", "allow", "shop"}).out);
  EXPECT_EQ(run_on(control, {"app", "allow", "blog"}).out,
            "blog is allowed nothing beyond its containers.\n");
  EXPECT_EQ(parse_json(run_on(control, {"app", "allow", "blog", "--json"}).out, "it")->at("app"), "shop");
}

TEST(Grants, AreGivenByTheLauncherToRootAlone) {
  FakeControl control({{"GET /v1/apps/shop/grants", answer({grant("cap:NET_ADMIN")})}});
  FakeLauncher launcher(control);
  const auto given =
      run_on(control, {"app", "allow", "shop", "cap:NET_ADMIN"}, {.environment = {{"SUDO_USER", "ada"}}});
  if (::geteuid() != 0) {
    EXPECT_NE(given.err.find("sudo naru app allow shop cap:NET_ADMIN"), std::string::npos) << given.err;
    GTEST_SKIP() << "the rest is root's";
  }
  EXPECT_EQ(given.status, 0) << given.err;
  EXPECT_NE(given.out.find("shop is allowed cap:NET_ADMIN, in all its environments. It can"),
            std::string::npos)
      << given.out;
  EXPECT_EQ(launcher.asked().value("by", ""), "ada");
  EXPECT_EQ(launcher.has(), std::vector<std::string>{"cap:NET_ADMIN"});
}

TEST(Grants, OfAFolderWithASocketOrAFifoSayWhoCanBeSpokenTo) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root gives";
  FakeControl control;
  const std::string folder = control.data() + "/photos", given = "bind:" + folder;
  std::filesystem::create_directories(folder + "/2024/may/late");
  control.otherwise = answer({grant(given)});
  FakeLauncher launcher(control);
  const std::vector<std::string> allow{"app", "allow", "shop", given};
  ASSERT_EQ(::mkfifo((folder + "/2024/may/late/too-deep").c_str(), 0600), 0);
  const auto quiet = run_on(control, allow);
  EXPECT_EQ(quiet.status, 0) << quiet.err;
  EXPECT_EQ(quiet.err, "");
  EXPECT_NE(quiet.out.find("speak as the machine's root to who listens at a socket"), std::string::npos)
      << quiet.out;
  const auto listener = ipc::listen_unix(folder + "/2024/db");
  const auto warned = run_on(control, allow);
  EXPECT_EQ(warned.status, 0) << warned.err;
  EXPECT_NE(warned.err.find(folder + "/2024/db lies in it: shop can speak there"), std::string::npos)
      << warned.err;
}

TEST(Grants, TakenBackSayWhoGoesOnWithThem) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root takes back";
  FakeControl control({{"GET /v1/apps/shop/grants?of=cap%3ANET_ADMIN",
                        {{"app", "shop"}, {"grant", "cap:NET_ADMIN"}, {"used_by", {"production/vpn"}}}}});
  FakeLauncher launcher(control, {"cap:NET_ADMIN"});
  control.special["GET /v1/apps/shop/grants"] = [&](io::Request&,
                                                    io::ResponseWriter& response) -> io::Task<void> {
    const Json now =
        launcher.has().empty() ? answer({}) : answer({grant("cap:NET_ADMIN", {"production/vpn"})});
    (void)co_await response.send_json(200, now);
  };
  const auto json = run_on(control, {"app", "disallow", "shop", "cap:NET_ADMIN", "--json"});
  ASSERT_EQ(json.status, 0) << json.err;
  EXPECT_EQ(parse_json(json.out, "it")->at("disallowed"),
            Json(std::vector{grant("cap:NET_ADMIN", {"production/vpn"})}));
  EXPECT_EQ(run_on(control, {"app", "allow", "shop", "cap:NET_ADMIN", "--json"}).status, 0);
  const auto taken = run_on(control, {"app", "disallow", "shop", "cap:NET_ADMIN"});
  EXPECT_EQ(taken.status, 0) << taken.err;
  EXPECT_EQ(taken.out,
            "shop is no longer allowed cap:NET_ADMIN.\n  In use by production/vpn: what runs goes on with it "
            "until it ends; its next start is refused, also after a crash or a restart of the machine.\n");
}

// Control is down, or held by somebody who wants to keep what the application has.
TEST(Grants, AreTakenBackWhateverControlSays) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root takes back";
  FakeControl control;  // it knows of nothing
  FakeLauncher launcher(control, {"bind:/srv/photos", "cap:NET_ADMIN"});
  const auto taken = run_on(control, {"app", "disallow", "shop", "cap:NET_ADMIN"});
  EXPECT_EQ(taken.status, 0) << taken.err;
  EXPECT_EQ(taken.out, "shop is no longer allowed cap:NET_ADMIN.\n");
  EXPECT_NE(taken.err.find("it is taken back"), std::string::npos) << taken.err;
  EXPECT_EQ(launcher.has(), std::vector<std::string>{"bind:/srv/photos"});
}

// One operator gives while another takes: each waits for his own.
TEST(Grants, AreSaidAsSoonAsControlKnowsThemWhateverElseItKnows) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root gives";
  FakeControl control(
      {{"GET /v1/apps/shop/grants", answer({grant("cap:NET_ADMIN"), grant("cap:SYS_NICE")})}});
  FakeLauncher launcher(control, {"cap:IPC_LOCK"});
  EXPECT_EQ(run_on(control, {"app", "allow", "shop", "cap:NET_ADMIN"}).status, 0);
}

TEST(Grants, AreRefusedBeforeAnybodyIsAskedWhenTheyCannotBe) {
  FakeControl control({{"GET /v1/apps/shop/grants", answer({})}});
  const auto said = [&](std::vector<std::string> words, testing::RunOptions options = {}) {
    const auto refused = run_on(control, std::move(words), std::move(options));
    EXPECT_NE(refused.status, 0);
    return refused.err;
  };
  const auto has = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  has(said({"app", "allow", "shop", "privileged"}), "cannot be granted yet");
  has(said({"app", "allow", "shop", "cap:SYS_ADMIN"}), "it reaches beyond the container");
  has(said({"app", "allow", "shop", "bind:/etc/ssl"}), "it lies in /etc");
  has(said({"app", "allow", "shop/staging", "cap:NET_ADMIN"}), "naru app allow shop cap:NET_ADMIN");
  has(said({"app", "allow", "blog", "cap:NET_ADMIN"}), "there is no GET /v1/apps/blog/grants");
  has(said({"app", "disallow", "shop"}), "GRANT");
}

TEST(Grants, AreNotGivenFromAfar) {
  const auto far =
      testing::run_line({"app", "allow", "shop", "cap:NET_ADMIN"},
                        {.environment = {{"NARU_URL", "http://127.0.0.1:1"}, {"NARU_TOKEN", "x"}}});
  EXPECT_NE(far.status, 0);
  EXPECT_NE(far.err.find("on the machine itself, as root"), std::string::npos) << far.err;
}

TEST(Grants, AreCompleted) {
  FakeControl control({{"GET /v1/apps/shop/grants", answer({grant("bind:/srv/photos")})}});
  EXPECT_EQ(run_on(control, {"__complete", "app", "allow", "shop", "cap:N"}).out,
            "cap:NET_ADMIN\ncap:NET_BROADCAST\n");
  EXPECT_EQ(run_on(control, {"__complete", "app", "disallow", "shop", ""}).out, "bind:/srv/photos\n");
  EXPECT_EQ(run_on(control, {"__complete", "app", "disallow", "shop", "bind:/srv/photos", "b"}).out,
            "bind:/srv/photos\n");
}

}  // namespace
}  // namespace naru::cli
