#include <poll.h>
#include <sys/stat.h>

#include "control/api_fixture_test.h"
#include "control/tokens.h"
#include "model/changes.h"
#include "os/counted_fsync_test.h"
#include "os/file.h"
#include "store/store.h"

namespace naru::control {
namespace {

class Api : public ControlTest {};

io::Headers bearer(const std::string& token) {
  return {{"Authorization", "Bearer " + token}};
}

TEST_F(Api, SlowsDownWhoGuessesTokensButNotWhoHasOne) {
  const std::string token = create_app("shop");
  int last = 0;
  for (int i = 0; i < 40; ++i) last = remote("GET", "/v1/apps", bearer("naru_" + std::to_string(i))).status;
  EXPECT_EQ(last, 429);
  EXPECT_EQ(remote("GET", "/v1/apps", bearer(token)).status, 200);
}

TEST_F(Api, RefusesForeignHostsAndSites) {
  const std::string token = create_app("shop");
  io::Headers headers = bearer(token);
  headers.push_back({"Origin", "http://evil.example"});
  const auto foreign = remote("POST", "/v1/apps/shop/stop", headers);
  EXPECT_EQ(foreign.status, 403);
  EXPECT_TRUE(std::string(json(foreign)["error"]["hint"]).contains("in the console itself")) << foreign.body;
  headers = bearer(token);
  headers.push_back({"Sec-Fetch-Site", "cross-site"});
  EXPECT_EQ(remote("POST", "/v1/apps/shop/stop", headers).status, 403);
  headers = bearer(token);
  headers.push_back({"Host", "evil.example"});
  EXPECT_EQ(remote("GET", "/v1/apps", headers).status, 403);
  headers = bearer(token);
  headers.push_back({"Origin", fmt::format("http://127.0.0.1:{}", port_)});
  EXPECT_EQ(remote("POST", "/v1/apps/shop/stop", headers).status, 200);
}

TEST_F(Api, AnAppsTokenOpensThatAppOnly) {
  const std::string token = create_app("shop");
  create_app("blog");
  EXPECT_EQ(remote("GET", "/v1/apps/shop/status", bearer(token)).status, 200);
  EXPECT_EQ(remote("GET", "/v1/apps/blog/status", bearer(token)).status, 403);
  EXPECT_EQ(remote("GET", "/git/blog.git/info/refs?service=git-upload-pack", bearer(token)).status, 403);
  EXPECT_EQ(remote("GET", "/v1/tokens", bearer(token)).status, 403);
  EXPECT_EQ(remote("POST", "/v1/down", bearer(token)).status, 403);
  EXPECT_EQ(json(remote("GET", "/v1/apps", bearer(token)))["apps"].size(), 1u);
  const std::string admin = json(local("POST", "/v1/tokens", R"({"name":"ci"})"))["token"];
  EXPECT_EQ(remote("GET", "/v1/apps/blog/status", bearer(admin)).status, 200);
  EXPECT_EQ(remote("POST", "/v1/down", bearer(admin)).status, 403) << "only on the machine itself";
  EXPECT_EQ(local("DELETE", "/v1/tokens/ci").status, 200);
  EXPECT_EQ(remote("GET", "/v1/apps", bearer(admin)).status, 401);
}

TEST_F(Api, NobodyIsAllowedAnythingByARequest) {
  const std::string shop = create_app("shop"), blog = create_app("blog");
  const Json nothing{{"app", "shop"}, {"grants", Json::array()}};
  EXPECT_EQ(json(remote("GET", "/v1/apps/shop/grants", bearer(shop))), nothing);
  EXPECT_EQ(remote("GET", "/v1/apps/shop/grants", bearer(blog)).status, 403);
  EXPECT_EQ(local("GET", "/v1/apps/nobody/grants").status, 404);
  for (const char* method : {"POST", "PUT", "DELETE"}) {
    EXPECT_EQ(remote(method, "/v1/apps/shop/grants", bearer(shop), R"({"grants": ["cap:NET_ADMIN"]})").status,
              400);
    EXPECT_EQ(local(method, "/v1/apps/shop/grants", R"({"grants": ["cap:NET_ADMIN"]})").status, 400);
  }
  EXPECT_EQ(json(local("GET", "/v1/apps/shop/status"))["grants"], Json::array());
}

TEST_F(Api, TokensHaveNamesThatAPathCarriesAndOlderOnesAreRemovedAllTheSame) {
  for (const char* name : {"../x", "a/b", ".", "..", "-x", "_x", "a b", "a\\u001bb", "a\\nb", ""}) {
    const auto refused = local("POST", "/v1/tokens", fmt::format(R"({{"name":"{}"}})", name));
    EXPECT_EQ(refused.status, 400) << name;
    EXPECT_EQ(refused.body.find("\\u001b"), std::string::npos) << refused.body;
  }
  EXPECT_EQ(local("POST", "/v1/tokens", R"({"name":"ci-2.main_A"})").status, 201);
  stop();
  const auto path = data_.control() / "tokens.json";
  Json file = parse_json(*os::read_file(path, 1 << 20), "tokens").value();
  for (const char* name : {"../x", "a/b"})
    file["tokens"].push_back(
        {{"name", name}, {"app", ""}, {"hash", std::string("sha256:") + name}, {"created", 1}});
  std::ofstream(path) << file.dump();
  start();
  EXPECT_EQ(json(local("GET", "/v1/tokens"))["tokens"].size(), 3U);
  EXPECT_EQ(local("DELETE", "/v1/tokens?name=..%2Fx").status, 200);
  EXPECT_EQ(local("DELETE", "/v1/tokens?name=a%2Fb").status, 200);
  EXPECT_EQ(local("DELETE", "/v1/tokens").status, 404);
  EXPECT_EQ(json(local("GET", "/v1/tokens"))["tokens"].size(), 1U);
}

// Who looks whether a link leads anywhere does not use it up.
TEST_F(Api, AHeadOfALoginLinkDoesNotUseItsCode) {
  const std::string url = json(local("POST", "/v1/login-link"))["url"];
  const std::string path = url.substr(url.find("/login"));
  const auto looked = remote("HEAD", path);
  EXPECT_EQ(looked.status, 401);
  EXPECT_EQ(looked.header("set-cookie"), "");
  EXPECT_EQ(remote("GET", path).status, 303);
}

TEST_F(Api, ALoginLinkWorksOnceAndItsCookieNeedsAnOrigin) {
  create_app("shop");
  const std::string url = json(local("POST", "/v1/login-link"))["url"];
  const std::string path = url.substr(url.find("/login"));
  const auto in = remote("GET", path);
  ASSERT_EQ(in.status, 303) << in.body;
  const std::string cookie(in.header("set-cookie"));
  EXPECT_NE(cookie.find("HttpOnly; SameSite=Strict"), std::string::npos) << cookie;
  EXPECT_EQ(remote("GET", path).status, 401);
  const std::string pair = cookie.substr(0, cookie.find(';'));
  EXPECT_EQ(remote("GET", "/v1/apps", {{"Cookie", pair}}).status, 200);
  EXPECT_EQ(remote("POST", "/v1/apps/shop/stop", {{"Cookie", pair}}).status, 403);
  EXPECT_EQ(remote("POST", "/v1/apps/shop/stop",
                   {{"Cookie", pair}, {"Origin", fmt::format("http://127.0.0.1:{}", port_)}})
                .status,
            200);
}

TEST_F(Api, RefusesWhatItCannotRead) {
  create_app("shop");
  EXPECT_EQ(local("POST", "/v1/apps", "{\"app\":").status, 400);
  EXPECT_EQ(local("POST", "/v1/apps", "[1]").status, 400);
  EXPECT_EQ(local("POST", "/v1/apps", R"({"app":7})").status, 400);
  EXPECT_EQ(local("POST", "/v1/apps", R"({"app":"../etc"})").status, 400);
  EXPECT_EQ(local("POST", "/v1/apps", R"({"app":"shop"})").status, 409);
  EXPECT_EQ(local("POST", "/v1/apps", std::string(3 << 20, ' ')).status, 413);
  EXPECT_EQ(local("GET", "/v1/apps/nobody/status").status, 404);
  EXPECT_EQ(local("GET", "/v1/apps/shop/status?env=moon").status, 404);
  EXPECT_EQ(local("GET", "/v1/apps/shop/rollout").status, 404);
  EXPECT_EQ(local("GET", "/v1/pipelines/x").status, 400);
  EXPECT_EQ(local("GET", "/v1/pipelines/7").status, 404);
  EXPECT_EQ(local("PUT", "/v1/apps").status, 400);
  EXPECT_EQ(local("POST", "/v1/apps/shop/rollback", R"({"version":"three"})").status, 400);
  EXPECT_EQ(local("POST", "/v1/apps/shop/promote").status, 409);
  EXPECT_EQ(local("POST", "/v1/instances/none/exec", R"({"argv":["ls"]})").status, 404);
  EXPECT_EQ(local("POST", "/internal/check", R"({"app":"shop","updates":[{"old":"x","new":"y","ref":"z"}]})")
                .status,
            400);
}

TEST_F(Api, ShowsAnAppFromItsMakingToItsEnd) {
  create_app("shop");
  const Json status = json(local("GET", "/v1/apps/shop/status"));
  EXPECT_EQ(status["app"], "shop");
  EXPECT_EQ(status["env"], "production");
  EXPECT_TRUE(status["stable"].is_null());
  EXPECT_EQ(status["message"], "nothing runs yet; push a commit");
  EXPECT_TRUE(std::filesystem::exists(data_.repository("shop") / "hooks" / "pre-receive"));
  EXPECT_EQ(local("GET", "/v1/apps/shop/releases").status, 200);
  EXPECT_EQ(local("GET", "/v1/apps/shop/rollouts").status, 200);
  EXPECT_EQ(local("GET", "/v1/apps/shop/pipelines").status, 200);
  EXPECT_EQ(local("GET", "/v1/ps").status, 200);
  EXPECT_EQ(local("GET", "/v1/images").status, 200);
  EXPECT_EQ(local("DELETE", "/v1/apps/shop").status, 200);
  EXPECT_EQ(local("GET", "/v1/apps/shop/status").status, 404);
  EXPECT_FALSE(std::filesystem::exists(data_.repository("shop")));
}

TEST_F(Api, ANameThatThereIsNotIsAnErrorThatSaysWhatWasMeant) {
  create_app("shop");
  const std::string meant = "did you mean shop?", all = "there is: production";
  for (const auto& [path, hint] : std::vector<std::pair<std::string, std::string>>{
           {"/v1/ps?app=shpo", meant},
           {"/v1/ps?app=shop&env=web", all},
           {"/v1/events?app=shpo", meant},
           {"/v1/events?app=shpo&follow=1", meant},
           {"/v1/apps/shpo/logs", meant},
           {"/v1/apps/shop/logs?env=stagin", all},
           {"/v1/apps/shop/logs?service=web", "naru status shop"},
           {"/v1/apps/shpo/status", meant},
           {"/v1/apps/shop/status?env=prodution", "did you mean production?"},
           {"/v1/apps/shpo/pipelines", meant},
           {"/v1/apps/kubernetes/releases", "there is: shop; see `naru app ls`"}}) {
    const auto answer = local("GET", path);
    EXPECT_EQ(answer.status, 404) << path;
    EXPECT_NE(json(answer).value("/error/hint"_json_pointer, "").find(hint), std::string::npos)
        << path << ": " << answer.body;
  }
  EXPECT_EQ(local("POST", "/v1/apps/shpo/promote", "{}").status, 404);
  EXPECT_EQ(local("POST", "/v1/apps/shpo/env", R"({"set":{"A":"1"}})").status, 404);
  EXPECT_EQ(local("GET", "/v1/ps?app=shop&env=production").status, 200);
  EXPECT_EQ(local("DELETE", "/v1/apps/shop").status, 200);
  EXPECT_EQ(local("GET", "/v1/events?app=shop").status, 200) << "what is gone has a past";
}

TEST_F(Api, AnAppGetsItsTokenWhateverOthersAreCalled) {
  EXPECT_EQ(local("POST", "/v1/tokens", R"({"name":"shop"})").status, 201) << "an admin's, of the same name";
  const std::string token = create_app("shop");
  EXPECT_EQ(remote("GET", "/v1/apps/shop/status", bearer(token)).status, 200);
  EXPECT_EQ(code(local("POST", "/v1/apps", R"({"app":"shop"})")), "already_exists");

  // As a kill between the application and its token leaves it.
  EXPECT_EQ(local("DELETE", "/v1/tokens/shop-2").status, 200);
  const std::string again = create_app("shop");
  EXPECT_EQ(remote("GET", "/v1/apps/shop/status", bearer(again)).status, 200);
  EXPECT_EQ(remote("GET", "/v1/apps/shop/status", bearer(token)).status, 401);
}

// The file's place is a folder: nothing can be written over it.
TEST(TokensTest, WhatCannotBeWrittenHasNotHappened) {
  const TempFolder folder;
  const SystemClock clock;
  const auto path = folder.path() / "tokens.json";
  auto tokens = std::move(*Tokens::open(path, clock));
  const std::string token = *tokens->create_for("shop");
  std::filesystem::remove(path);
  std::filesystem::create_directories(path / "in-the-way");
  EXPECT_FALSE(tokens->remove_app("shop"));
  EXPECT_FALSE(tokens->remove("shop"));
  EXPECT_FALSE(tokens->create_for("other"));
  EXPECT_TRUE(tokens->check(token, ""));
  EXPECT_TRUE(tokens->has("shop"));
  EXPECT_FALSE(tokens->has("other"));
}

TEST(TokensTest, ARemovedOneIsGoneFromTheDiskBeforeItIsAnswered) {
  const TempFolder folder;
  const SystemClock clock;
  auto tokens = std::move(*Tokens::open(folder.path() / "tokens.json", clock));
  ASSERT_TRUE(tokens->create_for("shop"));
  const int files = os::synced.files, folders = os::synced.folders;
  ASSERT_TRUE(tokens->remove("shop"));
  EXPECT_EQ(os::synced.files, files + 1);
  EXPECT_EQ(os::synced.folders, folders + 1);
}

TEST_F(Api, WhatCannotBeNotedIsNotStoppedByDown) {
  create_app("shop");
  std::filesystem::create_directories(data_.control() / "stopped-by-down.json/in-the-way");
  EXPECT_EQ(local("POST", "/v1/down", R"({"all":true})").status, 500);
  EXPECT_EQ(json(local("GET", "/v1/apps/shop/status"))["stopped"], false);
  std::filesystem::remove_all(data_.control() / "stopped-by-down.json");
  for (int i = 0; i < 2; ++i) {  // the first has left nothing in the second's way
    EXPECT_EQ(code(local("POST", "/v1/down", R"({"all":true})")), "unavailable") << "there is no supervisor";
    EXPECT_EQ(json(local("GET", "/v1/apps/shop/status"))["stopped"], false) << "Naru goes on, so it does too";
  }
}

// Nothing of it is mounted, as while it waits for its next start: only control knows.
TEST_F(Api, AVolumeOfWhatRunsIsNotRemoved) {
  create_app("shop");
  stop();
  {
    auto store = std::move(*store::Store::open(data_.control().string()));
    State state = *store.load();
    Changes changes(state, from_epoch_ms(1000));
    Release release;
    release.id = changes.next_id();
    release.app = "shop";
    release.version = 1;
    release.services.resize(1);
    release.services[0].spec.name = "store";
    release.services[0].spec.mounts.push_back({MountKind::volume, "entries", "/data"});
    changes.emit(event::ReleaseCreated{release});
    changes.emit(event::ReleasePending{"shop/production", release.id, false});
    ASSERT_TRUE(store.commit(state, changes.events(), changes.touched(), changes.now()));
  }
  start();
  const auto refused = local("DELETE", "/v1/volumes?name=shop.production.entries");
  EXPECT_EQ(refused.status, 409) << refused.body;
  EXPECT_NE(refused.body.find("naru app stop shop"), std::string::npos) << refused.body;
  EXPECT_EQ(local("POST", "/v1/apps/shop/stop", "{}").status, 200);
  EXPECT_EQ(code(local("DELETE", "/v1/volumes?name=shop.production.entries")), "unavailable")
      << "asked of the launcher, which is not there";
}

TEST_F(Api, KeepsVariablesAndMasksThem) {
  create_app("shop");
  EXPECT_EQ(local("POST", "/v1/apps/shop/env", R"({"set":{"DB_PASSWORD":"open-sesame"}})").status, 200);
  EXPECT_EQ(local("POST", "/v1/apps/shop/env", R"({"set":{"1X":"y"}})").status, 400);
  EXPECT_EQ(local("POST", "/v1/apps/shop/env", R"({"set":{"X":3}})").status, 400);
  EXPECT_EQ(local("POST", "/v1/apps/shop/env", "{}").status, 400);
  EXPECT_EQ(json(local("GET", "/v1/apps/shop/env"))["variables"][0]["value"], "***");
  EXPECT_EQ(json(local("GET", "/v1/apps/shop/env?reveal=1"))["variables"][0]["value"], "open-sesame");
  const auto events = local("GET", "/v1/events?app=shop");
  EXPECT_NE(events.body.find("VariablesSet"), std::string::npos) << events.body;
  EXPECT_EQ(events.body.find("open-sesame"), std::string::npos) << events.body;
}

// A launcher that says one thing to who asks for it, and nothing else.
class FakeLauncher {
 public:
  FakeLauncher(const std::string& socket, Json hello) : listener_(std::move(*ipc::listen_unix(socket))) {
    thread_ = std::jthread([this, hello = std::move(hello)](const std::stop_token& stop) {
      std::vector<ipc::Channel> clients;
      while (!stop.stop_requested()) {
        pollfd entry{listener_.get(), POLLIN, 0};
        if (::poll(&entry, 1, 10) == 1)
          clients.emplace_back(Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
        for (ipc::Channel& client : clients)
          if (client.valid()) answer(client, hello);
      }
    });
  }

 private:
  static void answer(ipc::Channel& client, const Json& hello) {
    const auto asked = client.read_available();
    if (!asked) return client.close();
    for (const ipc::Message& message : *asked) {
      Json reply{{"id", message.body.value("id", 0U)}};
      if (message.body.value("op", "") == "hello")
        reply["result"] = hello;
      else
        reply["error"] = ipc::error_to_json({Code::unsupported, "only hello", 0, ""});
      if (!client.send(reply, 1s)) return client.close();
    }
  }

  Fd listener_;
  std::jthread thread_;
};

TEST_F(Api, TheDoctorNamesTheChainsOfOtherFirewalls) {
  const auto check = [&](const std::vector<std::string>& drops) {
    const FakeLauncher launcher(data_.launcher_socket().string(), {{"version", "1"},
                                                                   {"boot_id", "0123456789"},
                                                                   {"cgroup", "v2"},
                                                                   {"notices", Json::array()},
                                                                   {"forward_drops", drops}});
    for (const MonoTime end = SystemClock().mono() + 20s; SystemClock().mono() < end;) {
      const Json doctor = json(local("GET", "/v1/doctor"));
      for (const Json& line : doctor["checks"])
        if (line["name"] == "firewall") return line;
    }
    return Json();
  };
  const Json well = check({});
  ASSERT_TRUE(well.is_object()) << "the launcher was never asked";
  EXPECT_EQ(well["ok"], true);
  const Json firewalld = check({"inet firewalld filter_FORWARD"});
  ASSERT_TRUE(firewalld.is_object()) << "nor the second one";
  EXPECT_EQ(firewalld["ok"], false);
  EXPECT_EQ(firewalld["detail"],
            "what their rules do not allow, chains of another firewall stop: inet firewalld filter_FORWARD");
  EXPECT_TRUE(firewalld["remedy"].get<std::string>().contains("firewalld: zone trusted"));
}

TEST_F(Api, SaysHowThePlatformIs) {
  create_app("shop");
  const Json doctor = json(local("GET", "/v1/doctor"));
  bool launcher_missing = false;
  for (const Json& check : doctor["checks"])
    launcher_missing = launcher_missing || (check["name"] == "launcher" && check["ok"] == false);
  EXPECT_TRUE(launcher_missing) << doctor.dump();
  const auto metrics = local("GET", "/metrics");
  EXPECT_NE(metrics.body.find("naru_platform{what=\"applications\"} 1\n"), std::string::npos) << metrics.body;
  EXPECT_EQ(local("GET", "/").status, 200);
}

TEST_F(Api, StreamsStatusAndEventsUntilTheClientLeaves) {
  create_app("shop");
  for (const char* path :
       {"/v1/live?app=shop", "/v1/events?follow=1&app=shop", "/v1/apps/shop/logs?follow=1"}) {
    io::FetchRequest request;
    request.url = std::string("http://localhost") + path;
    request.unix_socket = data_.control_socket().string();
    request.total_timeout = 60s;
    std::string got;
    request.on_body = [&](std::string_view bytes) -> Result<void> {
      got += bytes;
      return fail(Code::cancelled, "enough");
    };
    if (std::string(path).find("logs") != std::string::npos)
      request.total_timeout = 400ms;  // nothing is said: no container runs
    EXPECT_FALSE(io::fetch(std::move(request)));
    if (std::string(path).find("logs") == std::string::npos) {
      EXPECT_NE(got.find("data: "), std::string::npos) << path;
    }
  }
}

// Else it would ask the database without a pause.
TEST_F(Api, AReaderWhoSaysThatItHasSeenMoreThanThereIsWaits) {
  create_app("shop");
  for (const char* seen : {"9223372036854775807", "18446744073709551615", "99999999999999999999", "-1"}) {
    io::FetchRequest request;
    request.url = "http://localhost/v1/events?follow=1&app=shop&after=9223372036854775807";
    request.unix_socket = data_.control_socket().string();
    request.headers = {{"Last-Event-ID", seen}};
    request.total_timeout = 300ms;
    std::string got;
    request.on_body = [&](std::string_view bytes) -> Result<void> {
      got += bytes;
      return {};
    };
    EXPECT_FALSE(io::fetch(std::move(request)));
    EXPECT_EQ(got, "") << seen;
  }
}

// A value of one application, guessed in the name of another, must not come back masked.
TEST_F(Api, MasksEventsByTheValuesOfTheirOwnApplication) {
  create_app("shop");
  EXPECT_EQ(local("POST", "/v1/apps/shop/env", R"({"set":{"DB_PASSWORD":"open-sesame"}})").status, 200);
  create_app("open-sesame");
  EXPECT_NE(local("GET", "/v1/events?app=open-sesame").body.find(R"("name":"open-sesame")"),
            std::string::npos)
      << local("GET", "/v1/events?app=open-sesame").body;
}

TEST_F(Api, TheLiveStreamBeginsWithThePastOfTrafficForWhoAsks) {
  create_app("shop");
  const auto beginning = [&](const std::string& path) {
    io::FetchRequest request;
    request.url = "http://localhost" + path;
    request.unix_socket = data_.control_socket().string();
    request.total_timeout = 60s;
    std::string got;
    request.on_body = [&](std::string_view bytes) -> Result<void> {
      got += bytes;
      if (got.find("event: status") == std::string::npos) return {};
      return fail(Code::cancelled, "enough");
    };
    EXPECT_FALSE(io::fetch(std::move(request)));
    return got;
  };
  std::string got;
  const auto deadline = SystemClock().mono() + 60s;  // the next sample is a second away
  while (!got.starts_with("event: past") && SystemClock().mono() < deadline)
    got = beginning("/v1/live?app=shop&since=1");
  const auto list =
      parse_json(got.substr(got.find("data: ") + 6, got.find("\n\n") - got.find("data: ") - 6), "");
  ASSERT_TRUE(list) << got;
  EXPECT_EQ((*list)[0]["app"], "shop");
  EXPECT_GT((*list)[0]["at"], 1'000'000'000'000);
  EXPECT_EQ(beginning("/v1/live?app=shop").find("event: past"), std::string::npos);
  EXPECT_EQ(beginning("/v1/live?app=shop&since=99999999999999999").find("event: past"), std::string::npos);
}

TEST_F(Api, ARestartKeepsAppsAndTokens) {
  const std::string token = create_app("shop");
  stop();
  start();
  EXPECT_EQ(remote("GET", "/v1/apps/shop/status", bearer(token)).status, 200);
  struct stat info{};
  ASSERT_EQ(::stat((data_.control() / "tokens.json").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  std::ifstream file(data_.control() / "tokens.json");
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  EXPECT_EQ(text.find(token), std::string::npos) << "only its digest is kept";
}

TEST_F(Api, ImportsAnImageAndTellsItsHistory) {
  const std::string root = folder_.path() / "root";
  std::filesystem::create_directories(root + "/bin");
  std::ofstream(root + "/bin/hello") << "hi";
  ASSERT_TRUE(run_program({"tar", "-C", root, "-cf", folder_.path() / "root.tar", "."}));
  std::ifstream file(folder_.path() / "root.tar", std::ios::binary);
  const std::string tar((std::istreambuf_iterator<char>(file)), {});
  const auto made = local("POST", "/v1/images/import?reference=tiny:1", tar);
  ASSERT_EQ(made.status, 200) << made.body;
  const Json images = json(local("GET", "/v1/images"))["images"];
  ASSERT_EQ(images.size(), 1u);
  EXPECT_NE(images[0]["created"], "") << "it says when it came";
  EXPECT_EQ(local("GET", "/v1/images/history?reference=tiny:1").status, 200);
  EXPECT_EQ(local("POST", "/v1/images/import?reference=bad:1", "this is no archive").status, 400);
  EXPECT_EQ(local("GET", "/v1/images/history?reference=none:1").status, 404);
  EXPECT_EQ(local("DELETE", "/v1/images?reference=tiny:1").status, 200);
  for (const auto& entry : std::filesystem::directory_iterator(data_.control()))
    EXPECT_FALSE(entry.path().filename().string().starts_with("import-")) << entry.path();
}

// Takes connections and says nothing, until it goes.
class SilentRegistry {
 public:
  SilentRegistry() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(::listen(fd_.get(), 64), 0);
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &length);
    image_ = fmt::format("127.0.0.1:{}/slow:1", ntohs(address.sin_port));
  }
  const std::string& image() const { return image_; }
  void go() { fd_.reset(); }

 private:
  Fd fd_;
  std::string image_;
};

TEST_F(Api, ManySlowPullsLeaveThreadsForTheRest) {
  SilentRegistry registry;
  const std::string body = Json{{"reference", registry.image()}}.dump();
  std::atomic<int> taken = 0, refused = 0;
  std::vector<std::thread> people;
  for (int i = 0; i < 12; ++i)  // more than there are worker threads
    people.emplace_back([&] {
      const auto answer = local("POST", "/v1/images/pull", body);
      if (answer.status == 200) ++taken;
      if (answer.status == 429 && answer.body.find("wait until one of them has ended") != std::string::npos)
        ++refused;
    });
  const auto deadline = SystemClock().mono() + 60s;
  while (refused < 8 && SystemClock().mono() < deadline) std::this_thread::sleep_for(5ms);
  EXPECT_EQ(refused, 8);
  EXPECT_EQ(taken, 0) << "the others go on";
  const auto begun = SystemClock().mono();
  EXPECT_EQ(local("GET", "/v1/version").status, 200);
  EXPECT_EQ(local("GET", "/v1/images").status, 200) << "which needs a thread, too";
  create_app("shop");
  EXPECT_LT(SystemClock().mono() - begun, 30s);
  EXPECT_EQ(local("DELETE", "/v1/apps/shop").status, 429);
  registry.go();
  for (std::thread& person : people) person.join();
  EXPECT_EQ(taken, 4);
  EXPECT_EQ(local("DELETE", "/v1/apps/shop").status, 200);
}

}  // namespace
}  // namespace naru::control
