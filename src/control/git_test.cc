#include <sys/socket.h>

#include "control/api_fixture_test.h"
#include "control/git_cgi.h"
#include "control/git_check.h"
#include "control/git_hook.h"

namespace naru::control {
namespace {

// A person with a repository and the real git program.
class Git : public ControlTest {
 protected:
  Git() { token_ = create_app("shop"); }

  static constexpr const char* kValid = "services:\n  web:\n    image: localhost:1/none:1\n";

  // Output of a shell command with its errors, and "exit N" at its end.
  std::string shell(const std::string& command) {
    const std::vector<std::string> environment{"HOME=" + folder_.path().string(),
                                               "GIT_CONFIG_NOSYSTEM=1",
                                               "GIT_TERMINAL_PROMPT=0",
                                               "GIT_AUTHOR_NAME=Ada",
                                               "GIT_AUTHOR_EMAIL=ada@example.org",
                                               "GIT_COMMITTER_NAME=Ada",
                                               "GIT_COMMITTER_EMAIL=ada@example.org",
                                               "NO_PROXY=*",
                                               "no_proxy=*"};
    auto output = run_program({"sh", "-c", "(" + command + ") 2>&1; echo exit $?"}, environment);
    EXPECT_TRUE(output) << (output ? "" : output.error().message());
    return output ? *output : "";
  }
  std::filesystem::path clone(const std::string& name, const std::map<std::string, std::string>& files) {
    const auto path = folder_.path() / name;
    std::filesystem::create_directories(path);
    shell("git init -q -b main " + path.string());
    commit(path, files);
    return path;
  }
  void commit(const std::filesystem::path& path, const std::map<std::string, std::string>& files) {
    for (const auto& [file, text] : files) {
      std::filesystem::create_directories((path / file).parent_path());
      std::ofstream(path / file) << text;
    }
    shell(fmt::format("cd {} && git add -A && git commit -q -m 'a change'", path.string()));
  }
  std::string push(const std::filesystem::path& path, const std::string& what = "HEAD:refs/heads/main",
                   std::string token = "") {
    return shell(fmt::format("git -C {} push http://x:{}@127.0.0.1:{}/git/shop.git '{}'", path.string(),
                             token.empty() ? token_ : token, port_, what));
  }
  static bool accepted(const std::string& output) { return output.ends_with("exit 0\n"); }
  std::string head_of_repository() {
    const auto refs = refs_of(data_, "shop");
    return refs && !refs->empty() ? refs->front().second : "";
  }
  // Objects that are not taken yet stand in a folder beside those that are; what there is of one, and of its
  // pack, at any depth.
  std::vector<std::string> unpacked() {
    std::vector<std::string> names;
    std::error_code gone;  // while it is looked at
    std::filesystem::recursive_directory_iterator entry(data_.repository("shop") / "objects", gone), end;
    for (; !gone && entry != end; entry.increment(gone))
      if (entry->path().native().find("incoming") != std::string::npos)
        names.push_back(entry->path().filename());
    return names;
  }
  // How many git programs work in this test's folder.
  std::ptrdiff_t gits() {
    std::ptrdiff_t count = 0;
    std::error_code gone;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const auto cwd = std::filesystem::read_symlink(entry.path() / "cwd", gone);
      if (!gone && cwd.native().starts_with(data_.repository("shop").native())) ++count;
    }
    return count;
  }
  // To control, for requests that no well-behaved client makes.
  Fd connection() const {
    Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return socket;
  }
  static bool eventually(const std::function<bool()>& holds) {
    const MonoTime deadline = SystemClock().mono() + 20s;
    while (!holds() && SystemClock().mono() < deadline) std::this_thread::yield();
    return holds();
  }
  Json pipelines() { return json(local("GET", "/v1/apps/shop/pipelines"))["pipelines"]; }

  std::string token_;
};

TEST_F(Git, APushThatIsRefusedDoesNotShowTheValueOfAVariable) {
  ASSERT_EQ(local("POST", "/v1/apps/shop/env", R"({"set":{"PORT":"open-sesame"}})").status, 200);
  const auto path =
      clone("work", {{"compose.yaml", "services:\n  web:\n    image: a:1\n    ports: ['${PORT}:80']\n"}});
  const std::string refused = push(path);
  EXPECT_FALSE(accepted(refused));
  EXPECT_NE(refused.find("***"), std::string::npos) << refused;
  EXPECT_EQ(refused.find("open-sesame"), std::string::npos) << refused;
}

TEST_F(Git, APushStartsAPipelineAndShowsItsProgress) {
  const auto repository = clone("one", {{"compose.yaml", kValid}});
  const std::string output = push(repository);
  EXPECT_TRUE(accepted(output)) << output;
  EXPECT_NE(output.find("a change"), std::string::npos) << output;
  EXPECT_NE(output.find("no release was made"), std::string::npos)
      << "its image cannot be pulled: " << output;
  ASSERT_EQ(pipelines().size(), 1u);
  EXPECT_EQ(pipelines()[0]["commit"], head_of_repository());
  EXPECT_EQ(pipelines()[0]["state"], "failed");
  const std::string why = pipelines()[0]["builds"][0]["error"];
  ASSERT_FALSE(why.empty());
  const auto first = output.find(why);
  EXPECT_NE(first, std::string::npos) << output;
  EXPECT_EQ(output.find(why, first + 1), std::string::npos) << "said twice: " << output;
  const auto log =
      local("GET", fmt::format("/v1/pipelines/{}/log?follow=1", pipelines()[0]["id"].get<int>()));
  EXPECT_NE(log.body.find("[web]"), std::string::npos) << log.body;
  EXPECT_NE(shell(fmt::format("git clone -q http://x:{}@127.0.0.1:{}/git/shop.git {}", token_, port_,
                              (folder_.path() / "back").string()))
                .find("exit 0"),
            std::string::npos);
}

TEST_F(Git, WhoSetsAVariableIsToldWhichServicesSeeIt) {
  const auto set = [&] {
    return json(local("POST", "/v1/apps/shop/env",
                      R"({"set":{"LEVEL":"debug","KEY":"secret","PORT":"8080","NOBODY":"1"}})"))["used_by"];
  };
  EXPECT_EQ(set(), Json::object()) << "nothing was pushed yet";
  const std::string file =
      "services:\n  web:\n    image: localhost:1/none:1\n    environment: [KEY]\n    ports: ['${PORT:-80}']\n"
      "  api:\n    image: localhost:1/none:1\n    environment: {LOG: 'x-${LEVEL:-info}', KEY: }\n";
  const std::string output = push(clone("one", {{"compose.yaml", file}}));
  EXPECT_TRUE(accepted(output)) << output;
  const Json used = set();
  EXPECT_EQ(used["LEVEL"], Json{"api"});
  EXPECT_EQ(used["KEY"], (Json{"web", "api"}));
  EXPECT_EQ(used["NOBODY"], Json::array());
  EXPECT_FALSE(used["PORT"].empty());
}

TEST_F(Git, AVariableThatChangesNothingForAnyServiceDeliversNothingAgain) {
  const std::string output = push(clone("one", {{"compose.yaml",
                                                 "services:\n  web:\n    image: localhost:1/none:1\n"
                                                 "    environment: [KEY]\n"}}));
  ASSERT_TRUE(accepted(output)) << output;
  ASSERT_EQ(pipelines().size(), 1U);
  const auto change = [&](const char* body) { return json(local("POST", "/v1/apps/shop/env", body)); };
  const Json unseen = change(R"({"set":{"NOBODY":"1"}})");
  EXPECT_FALSE(unseen.contains("pipeline")) << unseen.dump();
  EXPECT_EQ(json(local("GET", "/v1/apps/shop/env"))["variables"][0]["name"], "NOBODY") << "kept for later";
  const Json seen = change(R"({"set":{"KEY":"1"}})");
  EXPECT_TRUE(seen.contains("pipeline")) << seen.dump();
  EXPECT_EQ(pipelines().size(), 2U);
  const Json same = change(R"({"set":{"KEY":"1"}})");
  EXPECT_FALSE(same.contains("pipeline"));
  EXPECT_EQ(same["unchanged"], Json{"KEY"});
  ASSERT_TRUE(eventually([&] { return pipelines()[0]["state"] == "failed"; }));
  EXPECT_NE(change(R"({"set":{"KEY":"1"}})")["hint"].get<std::string>().find("`naru pipeline retry shop`"),
            std::string::npos)
      << "what runs does not have it";
  const Json none = change(R"({"unset":["NOPE"]})");
  EXPECT_FALSE(none.contains("pipeline"));
  EXPECT_EQ(none["not_set"], Json{"NOPE"});
  EXPECT_FALSE(change(R"({"unset":["NOBODY"]})").contains("pipeline"));
  EXPECT_EQ(pipelines().size(), 2U);
  EXPECT_TRUE(change(R"({"unset":["KEY"]})").contains("pipeline"));
}

TEST_F(Git, AFaultInTheComposeFileRefusesThePushWithItsPlace) {
  const auto repository = clone("one", {{"compose.yaml", "services:\n  web:\n    image: [1\n"}});
  const std::string output = push(repository);
  EXPECT_FALSE(accepted(output)) << output;
  EXPECT_NE(output.find("the push is refused"), std::string::npos) << output;
  EXPECT_NE(output.find("compose.yaml:"), std::string::npos) << output;
  EXPECT_EQ(head_of_repository(), "");
  EXPECT_TRUE(pipelines().empty());
  std::error_code ignored;
  EXPECT_TRUE(std::filesystem::is_empty(data_.checkouts() / "shop", ignored))
      << "what was refused leaves nothing";
}

TEST_F(Git, NoComposeFileIsSaidClearly) {
  const std::string output = push(clone("one", {{"README", "hello"}}));
  EXPECT_FALSE(accepted(output));
  EXPECT_NE(output.find("the commit has no compose.yaml at its top"), std::string::npos) << output;
}

TEST_F(Git, AFaultInADockerfileRefusesThePushWithItsPlace) {
  const std::string output = push(clone("one", {{"compose.yaml", "services:\n  web:\n    build: ./web\n"},
                                                {"web/Dockerfile", "FROM debian\nRUNN make\n"}}));
  EXPECT_FALSE(accepted(output));
  EXPECT_NE(output.find("web/Dockerfile:2"), std::string::npos) << output;
}

TEST_F(Git, AHostPortThatIsTakenIsNamed) {
  std::uint16_t port = 0;
  const Fd taken(listen_tcp(port));
  const std::string output = push(clone(
      "one",
      {{"compose.yaml", fmt::format("services:\n  web:\n    image: debian\n    ports: ['{}:80']\n", port)}}));
  EXPECT_FALSE(accepted(output));
  EXPECT_NE(output.find(fmt::format(
                "compose.yaml:4:13: services.web.ports[0]: host port {} is taken on this machine", port)),
            std::string::npos)
      << output;
}

TEST_F(Git, StrangeBranchesAreRefusedAndOthersKept) {
  const auto repository = clone("one", {{"compose.yaml", kValid}});
  for (const char* ref : {"HEAD:refs/heads/a$(id)b", "HEAD:refs/heads/w\xc3\xa9ird", "HEAD:refs/notes/x",
                          "HEAD:refs/heads/;rm"}) {
    const std::string output = push(repository, ref);
    EXPECT_FALSE(accepted(output)) << ref << output;
    EXPECT_NE(output.find("naru: the push is refused"), std::string::npos) << ref << output;
  }
  const std::string kept = push(repository, "HEAD:refs/heads/feature/x-1");
  EXPECT_TRUE(accepted(kept)) << kept;
  EXPECT_NE(kept.find("is kept; what is delivered is main"), std::string::npos) << kept;
  EXPECT_TRUE(pipelines().empty());
}

constexpr const char* kTakeItIn = "hint: take it in with `git pull --rebase naru main` and push again";

TEST_F(Git, TwoPushesAtOnceLeaveOneHeadAndItsPipeline) {
  const auto one = clone("one", {{"compose.yaml", kValid}, {"one", "1"}});
  const auto two = clone("two", {{"compose.yaml", kValid}, {"two", "2"}});
  std::string first, second;
  std::thread other([&] { first = push(one); });
  second = push(two);
  other.join();
  EXPECT_NE(accepted(first), accepted(second)) << first << second;
  const std::string& loser = accepted(first) ? second : first;
  // Its own git saw the other's commit, or Naru did before or after taking the pack.
  const bool seen = loser.contains(" ! [rejected]        HEAD -> main (fetch first)\n");
  const bool told = loser.contains(" ! [remote rejected] HEAD -> main (pre-receive hook declined)\n") ||
                    loser.contains(" ! [remote rejected] HEAD -> main (failed to update ref)\n");
  EXPECT_NE(seen, told && loser.contains(kTakeItIn)) << loser;
  EXPECT_EQ(pipelines()[0]["commit"], head_of_repository());
}

// Both pass every check. git runs the hook `update` after them, before it takes the branch's lock: that is
// where the other push comes in.
TEST_F(Git, WhoLosesTheBranchAtTheLastMomentIsToldWhatToDo) {
  const auto repository = clone("one", {{"compose.yaml", kValid}});
  push(repository, "HEAD:refs/heads/other");
  const auto hook = data_.repository("shop") / "hooks/update";
  const auto beside = [&](const std::string& does) {
    std::ofstream(hook) << "#!/bin/sh\n" << does << '\n';
    std::filesystem::permissions(hook, std::filesystem::perms::owner_all);
  };
  const auto loses = [&](const std::string& because) {
    const std::string output = push(repository);
    EXPECT_NE(output.find("cannot lock ref 'refs/heads/main': " + because), std::string::npos) << output;
    EXPECT_NE(output.find("remote: naru: another push came first"), std::string::npos) << output;
    EXPECT_NE(output.find(std::string("remote: ") + kTakeItIn), std::string::npos) << output;
    EXPECT_NE(output.find(" ! [remote rejected] HEAD -> main (failed to update ref)\nerror: failed to push"),
              std::string::npos)
        << output;
    EXPECT_FALSE(accepted(output));
  };
  beside("git update-ref refs/heads/main refs/heads/other");
  commit(repository, {{"two", "2"}});
  loses("reference already exists");
  EXPECT_TRUE(pipelines().empty());
  std::filesystem::remove(hook);
  ASSERT_TRUE(accepted(push(repository)));
  commit(repository, {{"three", "3"}});
  beside("git update-ref refs/heads/main refs/heads/other");
  loses("is at ");
  // What is no race is git's to explain.
  std::filesystem::remove(hook);
  const std::string below = push(repository, "HEAD:refs/heads/other/below");
  EXPECT_NE(below.find("cannot lock ref 'refs/heads/other/below'"), std::string::npos) << below;
  EXPECT_EQ(below.find("another push came first"), std::string::npos) << below;
}

TEST_F(Git, WhoComesSecondIsToldWhatToDo) {
  const auto repository = clone("one", {{"compose.yaml", kValid}});
  ASSERT_TRUE(accepted(push(repository)));
  const std::string head = head_of_repository(), zero(40, '0');
  const auto check = [&](const std::string& old) {
    return local(
               "POST", "/internal/check",
               Json{{"app", "shop"}, {"updates", {{{"old", old}, {"new", head}, {"ref", "refs/heads/main"}}}}}
                   .dump())
        .body;
  };
  EXPECT_NE(check(head).find("\"accepted\":true"), std::string::npos) << check(head);
  EXPECT_NE(check(zero).find("another push came first: refs/heads/main is at " + head.substr(0, 10)),
            std::string::npos)
      << check(zero);
  // What it says is what he does.
  const std::string hint = check(zero);
  const auto begin = hint.find("`git ") + 5;
  ASSERT_NE(hint.find("`git "), std::string::npos) << hint;
  const auto second = clone("two", {{"compose.yaml", kValid}, {"two", "2"}});
  shell(fmt::format("git -C {} remote add naru http://x:{}@127.0.0.1:{}/git/shop.git", second.string(),
                    token_, port_));
  const std::string taken_in =
      shell(fmt::format("git -C {} {}", second.string(), hint.substr(begin, hint.find('`', begin) - begin)));
  EXPECT_TRUE(accepted(taken_in)) << taken_in;
  EXPECT_TRUE(accepted(push(second)));
}

TEST_F(Git, WhoComesSecondLeavesNoFiles) {
  const auto repository = clone("one", {{"compose.yaml", kValid}});
  ASSERT_TRUE(accepted(push(repository)));
  commit(repository, {{"two", "2"}});
  push(repository, "HEAD:refs/heads/other");  // its objects are there
  const std::string second = shell("git -C " + repository.string() + " rev-parse HEAD").substr(0, 40);
  const auto refused =
      local("POST", "/internal/check",
            Json{{"app", "shop"},
                 {"updates", {{{"old", std::string(40, '0')}, {"new", second}, {"ref", "refs/heads/main"}}}}}
                .dump());
  EXPECT_NE(refused.body.find("another push came first"), std::string::npos) << refused.body;
  EXPECT_TRUE(std::filesystem::exists(data_.checkouts() / "shop" / head_of_repository()));
  EXPECT_FALSE(std::filesystem::exists(data_.checkouts() / "shop" / second));
}

TEST_F(Git, ABusyHostPortAtPlanningNamesTheRetry) {
  std::uint16_t port = 0, free = 0;
  const Fd taken(listen_tcp(port));
  close(listen_tcp(free));
  const auto repository = clone("one", {{"compose.yaml",
                                         "services:\n  web:\n    image: localhost:1/none:1\n"
                                         "    ports: ['${PORT}:80']\n"}});
  ASSERT_EQ(local("POST", "/v1/apps/shop/env", Json{{"set", {{"PORT", std::to_string(free)}}}}.dump()).status,
            200);
  ASSERT_TRUE(accepted(push(repository)));
  local("POST", "/v1/apps/shop/env", Json{{"set", {{"PORT", std::to_string(port)}}}}.dump());
  ASSERT_TRUE(eventually([&] { return pipelines()[0]["state"] == "failed"; }));
  const Json failed = pipelines()[0];
  EXPECT_NE(failed["error"].get<std::string>().find("is taken on this machine"), std::string::npos) << failed;
  EXPECT_EQ(failed["hint"], "then, without a new commit: naru pipeline retry shop");
}

// git has taken the younger push when control hears of the older one.
TEST_F(Git, ALateHookDeliversWhatTheBranchNamesNow) {
  const auto repository = clone("one", {{"compose.yaml", kValid}});
  push(repository, "HEAD:refs/heads/other");  // its objects are there
  commit(repository, {{"two", "2"}});
  const std::string zero(40, '0');
  const auto head = [&] {
    const std::string said = shell("git -C " + repository.string() + " rev-parse HEAD");
    return said.substr(0, 40);
  };
  const std::string first = shell("git -C " + repository.string() + " rev-parse HEAD~1").substr(0, 40);
  shell(
      fmt::format("git -C {} push --receive-pack='git -c core.hooksPath=/dev/null receive-pack' {} "
                  "HEAD:refs/heads/main",
                  repository.string(), data_.repository("shop").string()));
  const auto told = [&](const std::string& commit) {
    return local(
        "POST", "/internal/pushed",
        Json{{"app", "shop"}, {"updates", {{{"old", zero}, {"new", commit}, {"ref", "refs/heads/main"}}}}}
            .dump());
  };
  const auto late = told(first);
  EXPECT_NE(late.body.find("was overtaken by another push"), std::string::npos) << late.body;
  ASSERT_EQ(pipelines().size(), 1u);
  EXPECT_EQ(pipelines()[0]["commit"], head());
  told(head());
  EXPECT_EQ(pipelines().size(), 1u) << "it is delivered once";
}

TEST_F(Git, APipelineThatFailedIsTriedAgain) {
  EXPECT_EQ(code(local("POST", "/v1/apps/shop/pipelines/retry")), "not_found");
  const std::string output = push(clone("one", {{"compose.yaml", kValid}}));
  EXPECT_NE(output.find("naru pipeline retry shop"), std::string::npos) << output;
  const Json failed = pipelines()[0];
  EXPECT_EQ(failed["state"], "failed");
  EXPECT_NE(failed["hint"].get<std::string>().find("naru pipeline retry shop"), std::string::npos) << failed;
  EXPECT_EQ(code(local("POST", "/v1/apps/shop/pipelines/retry", R"({"id": "7"})")), "invalid_argument");
  const auto again = local("POST", "/v1/apps/shop/pipelines/retry", Json{{"id", failed["id"]}}.dump());
  EXPECT_EQ(again.status, 201) << again.body;
  EXPECT_EQ(json(again)["commit"], failed["commit"]);
  EXPECT_GT(json(again)["id"], failed["id"]);
  EXPECT_EQ(pipelines().size(), 2u);
}

TEST_F(Git, AWrongTokenPushesNothing) {
  const std::string output =
      push(clone("one", {{"compose.yaml", kValid}}), "HEAD:refs/heads/main", "naru_wrong");
  EXPECT_FALSE(accepted(output));
  EXPECT_NE(output.find("Authentication failed"), std::string::npos) << output;
  EXPECT_NE(output.find("remote: hint: in the repository: naru app connect shop"), std::string::npos)
      << output;
  EXPECT_EQ(head_of_repository(), "");
}

TEST_F(Git, APushThatWasStoredButNotBegunIsFoundAtTheNextStart) {
  const auto repository = clone("one", {{"compose.yaml", kValid}});
  stop();
  // As if control had died between git's update of the branch and the pipeline.
  shell(
      fmt::format("git -C {} -c core.hooksPath=/dev/null push --receive-pack='git -c "
                  "core.hooksPath=/dev/null receive-pack' {} HEAD:refs/heads/main",
                  repository.string(), data_.repository("shop").string()));
  ASSERT_NE(head_of_repository(), "");
  start();
  ASSERT_TRUE(eventually([&] { return pipelines().size() == 1; }));
  EXPECT_EQ(pipelines()[0]["commit"], head_of_repository());
}

TEST_F(Git, APackThatIsTooLargeIsRefusedWithItsBound) {
  std::string bytes(4 << 20, '\0');
  Rng rng(1);
  for (char& c : bytes) c = static_cast<char>(rng.next());
  const auto repository = clone("one", {{"compose.yaml", kValid}, {"big", bytes}});
  const std::string output = push(repository);
  EXPECT_FALSE(accepted(output));
  EXPECT_NE(output.find("pack exceeds maximum allowed size"), std::string::npos) << output;
  EXPECT_NE(output.find("remote: hint: this push has 4 MiB, the bound is 1 MiB"), std::string::npos)
      << output;
  EXPECT_NE(output.find("`naru up --max-push-mb 5`"), std::string::npos) << output;
  EXPECT_EQ(head_of_repository(), "");
}

TEST_F(Git, ABodyBeyondEveryBoundIsRefusedAtItsHead) {
  const Fd socket = connection();
  const std::string request = fmt::format(
      "POST /git/shop.git/git-receive-pack HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\n"
      "Content-Type: application/x-git-receive-pack-request\r\nContent-Length: 1000000000000\r\n\r\n0000",
      port_, token_);
  ASSERT_EQ(::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(request.size()));
  std::string answer(4096, '\0');
  const ssize_t got = ::recv(socket.get(), answer.data(), answer.size(), 0);
  ASSERT_GT(got, 0);
  answer.resize(static_cast<std::size_t>(got));
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 413 ")) << answer;
  EXPECT_NE(answer.find("a push of 1000000000000 bytes"), std::string::npos) << answer;
  EXPECT_NE(answer.find("--max-push-mb"), std::string::npos) << answer;
}

// The attack: what is shown to whoever pushes next writes to their terminal.
TEST_F(Git, EscapeSequencesOfACommitDoNotReachTheTerminal) {
  const auto repository = clone("one", {{"compose.yaml", kValid}});
  shell(
      fmt::format("cd {} && git commit -q --allow-empty -m \"$(printf 'red\\033[31m \\033]0;title\\007 "
                  "\\302\\233 caf\\303\\251')\"",
                  repository.string()));
  const std::string output = push(repository);
  EXPECT_TRUE(accepted(output)) << output;
  EXPECT_NE(output.find("red?[31m ?]0;title? ? caf\xc3\xa9"), std::string::npos) << output;
  commit(repository, {{"compose.yaml", "services:\n  web:\n    image: \"x\\e]0;title\\a\\u009b1\"\n"}});
  const std::string refused = push(repository);
  EXPECT_FALSE(accepted(refused)) << refused;
  for (const std::string& said : {output, refused}) {
    std::string text = said;
    // git itself ends each line with "erase to the end of the line" on a terminal, with blanks elsewhere.
    EXPECT_EQ(text.find('\033'), std::string::npos) << text;
    EXPECT_EQ(text.find('\007'), std::string::npos) << text;
    EXPECT_EQ(text.find("\xc2\x9b"), std::string::npos) << text;
  }
}

TEST_F(Git, ASubjectThatIsNoTextIsKeptAsFarAsItIs) {
  const auto repository = clone("one", {{"compose.yaml", kValid}});
  shell(fmt::format(
      "cd {} && git -c i18n.commitEncoding=none commit -q --allow-empty -m \"$(printf 'caf\\351 \\377')\"",
      repository.string()));
  const std::string output = push(repository);
  EXPECT_TRUE(accepted(output)) << output;
  EXPECT_NE(output.find("caf? ?"), std::string::npos) << output;
}

TEST_F(Git, ABindOfASymbolicLinkIsRefusedWithItsPlace) {
  const auto repository = clone("one", {{"real/page", "x"}});
  shell(fmt::format("cd {} && ln -s real linked && ln -s real/page page", repository.string()));
  for (const char* source : {"./linked", "./page", "./linked/page"}) {
    commit(repository, {{"compose.yaml", fmt::format("services:\n  web:\n    image: localhost:1/none:1\n"
                                                     "    volumes:\n      - {}:/there:ro\n",
                                                     source)}});
    const std::string output = push(repository);
    EXPECT_FALSE(accepted(output)) << output;
    EXPECT_NE(output.find("compose.yaml:5:"), std::string::npos) << output;
    EXPECT_NE(output.find("symbolic link"), std::string::npos) << output;
  }
  commit(repository, {{"compose.yaml",
                       "services:\n  web:\n    image: localhost:1/none:1\n    volumes:\n      "
                       "- ./real/page:/there:ro\n"}});
  EXPECT_TRUE(accepted(push(repository)));
}

TEST_F(Git, AClientThatGoesAwayInTheMiddleIsForgotten) {
  {
    const Fd socket = connection();
    // A branch, and the head of a pack of a thousand objects, none of which comes.
    const std::string branch = std::string(40, '0') + " " + std::string(40, 'a') + " refs/heads/main" +
                               std::string("\0 report-status", 15);
    std::string request = fmt::format(
        "POST /git/shop.git/git-receive-pack HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\n"
        "Content-Type: application/x-git-receive-pack-request\r\nContent-Length: 100000\r\n\r\n{:04x}{}0000",
        port_, token_, branch.size() + 4, branch);
    request.append("PACK\0\0\0\2\0\0\3\xe8", 12);
    ASSERT_EQ(::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(request.size()));
    const auto is_pack = [](const std::string& name) { return name.starts_with("tmp_pack"); };
    ASSERT_TRUE(eventually([&] { return std::ranges::any_of(unpacked(), is_pack); })) << "git waits for more";
    EXPECT_GT(gits(), 0);
  }
  // What git leaves of it is housekeeping's; it is not taken, and nobody goes on with it.
  EXPECT_TRUE(eventually([&] { return gits() == 0; }));
  EXPECT_EQ(head_of_repository(), "");
  const std::string output = push(clone("one", {{"compose.yaml", kValid}}));
  EXPECT_TRUE(accepted(output)) << output;
  EXPECT_EQ(pipelines().size(), 1u);
  const MonoTime before = SystemClock().mono();
  stop();
  EXPECT_LT(SystemClock().mono() - before, 20s) << "nothing of it goes on";
}

TEST_F(Git, OnlyTheSmartProtocolIsServed) {
  const io::Headers headers{{"Authorization", "Bearer " + token_}};
  for (const char* path : {"/git/shop.git/HEAD", "/git/shop.git/config", "/git/shop.git/hooks/pre-receive",
                           "/git/shop.git/info/refs", "/git/shop.git/objects/info/packs"})
    EXPECT_EQ(remote("GET", path, headers).status, 404) << path;
  EXPECT_EQ(remote("POST", "/git/shop.git/git-receive-pack", headers, "garbage").status, 415)
      << "git's own answer to a wrong content type";
}

TEST(GitNames, OnlyPlainBranchesAndTagsAreTaken) {
  for (const char* ref : {"refs/heads/main", "refs/tags/v1.2", "refs/heads/feature/a_b-c"})
    EXPECT_TRUE(check_ref_name(ref)) << ref;
  for (const char* ref : {"", "refs/heads/", "main", "refs/heads/-x", "refs/heads/a b", "refs/heads/\x01",
                          "refs/remotes/x/y", "HEAD"})
    EXPECT_FALSE(check_ref_name(ref)) << ref;
  const auto refused = check_ref_name("refs/heads/" + std::string(101, 'a'));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::push_refused);
}

TEST(GitProcess, HasItsMemoryBoundedAndIsKilledBeforeNaru) {
  const TempFolder folder;
  const auto program = folder.path() / "git";
  std::ofstream(program) << "#!/bin/sh\nread line\ncat /proc/self/oom_score_adj\nulimit -v\n";
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  auto reactor = std::move(io::Reactor::create().value());
  auto git = GitProcess::start(*reactor, {"PATH=" + folder.path().string() + ":" + ::getenv("PATH")});
  ASSERT_TRUE(git);
  const auto asked = [](GitProcess& process) -> io::Task<std::string> {
    std::array<char, 64> answer;
    if (!co_await process.input.write("go\n", io::after(10s))) co_return "it reads nothing";
    std::string said;
    while (true) {
      const auto got = co_await process.output.read(answer, io::after(10s));
      if (!got) co_return got.error().message();
      if (*got == 0) co_return said;
      said.append(answer.data(), *got);
    }
  };
  EXPECT_EQ(reactor->block_on(asked(*git)), "500\n1048576\n");
  const auto program_too = run_program(
      {"sh", "-c",
       "while read score </proc/self/oom_score_adj; [ \"$score\" != 500 ]; do :; done; echo $score"},
      {});
  EXPECT_EQ(program_too.value(), "500\n");
}

TEST(Checkout, AFolderWithoutAComposeFileIsNamed) {
  const auto read =
      read_compose(std::filesystem::path(testing::TempDir()) / "no-such-checkout", "shop", {}, {});
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Code::compose_missing);
}

}  // namespace
}  // namespace naru::control

// The test is also the program that git's hooks run.
int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "git-hook") return naru::control::git_hook(argv[2]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
