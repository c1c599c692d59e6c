#include <fstream>

#include "base/rng.h"
#include "base/version.h"
#include "cli/fake_control.h"
#include "cli/grammar.h"

namespace naru::cli {
namespace {

using testing::run_line;

void each_verb(const CLI::App& app, const std::vector<std::string>& path,
               const std::function<void(const std::vector<std::string>&, const CLI::App&)>& f) {
  f(path, app);
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    auto below = path;
    below.push_back(sub->get_name());
    each_verb(*sub, below, f);
  }
}

TEST(Help, OfEachVerbIsAsItWasAgreed) {
  Grammar grammar;
  each_verb(grammar.root(), {}, [](std::vector<std::string> path, const CLI::App&) {
    const std::string name = path.empty() ? "naru" : fmt::format("{}", fmt::join(path, "-"));
    path.push_back("--help");
    const auto ran = run_line(path);
    EXPECT_EQ(ran.status, 0) << name;
    EXPECT_EQ(ran.err, "") << name;
    testing::expect_golden("help-" + name + ".txt", ran.out);
  });
}

TEST(Help, OfEachVerbHasTwoExamplesOrMoreAndTheJsonOption) {
  Grammar grammar;
  each_verb(grammar.root(), {}, [](const std::vector<std::string>& path, const CLI::App& app) {
    const std::string footer = app.get_footer();
    const bool group = !app.get_subcommands([](const CLI::App*) { return true; }).empty();
    if (group && !path.empty()) {
      EXPECT_TRUE(footer.starts_with("Examples:\n  ")) << fmt::format("{}", fmt::join(path, " "));
    }
    if (group) return;
    EXPECT_GE(std::ranges::count(footer, '\n'), 2) << fmt::format("{}", fmt::join(path, " "));
    EXPECT_NE(app.get_option_no_throw("--json"), nullptr);
  });
}

TEST(Usage, AMistypedVerbIsAnsweredWithTheNearestOne) {
  const auto ran = run_line({"stauts", "shop"});
  EXPECT_EQ(ran.status, 2);
  EXPECT_EQ(ran.err, "error: there is no command 'stauts'\nhint: did you mean `naru status`?\n");
  EXPECT_EQ(run_line({"app", "crate"}).err,
            "error: there is no command 'app crate'\nhint: did you mean `naru app create`?\n");
  EXPECT_EQ(run_line({"zzzzzz"}).err, "error: there is no command 'zzzzzz'\nhint: see `naru --help`\n");
}

TEST(Usage, GlobalOptionsMayStandBeforeTheVerb) {
  const testing::FakeControl control({{"GET /v1/ps", {{"instances", Json::array()}}}});
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"--data", control.data(), "ps"},
                                             {"--data=" + control.data(), "ps"},
                                             {"ps", "--data", control.data()}})
    EXPECT_EQ(run_line(words).out, "Nothing runs.\n");
  EXPECT_EQ(Json::parse(run_line({"--json", "--data", control.data(), "ps"}).out)["instances"].size(), 0U);
  EXPECT_EQ(run_line({"--data", "/x", "stauts"}).err,
            "error: there is no command 'stauts'\nhint: did you mean `naru status`?\n");
  EXPECT_EQ(run_line({"__complete", "--data", control.data(), "vers"}).out, "version\n");
}

TEST(Usage, VersionAndHelpAreFoundWherePeopleLook) {
  EXPECT_EQ(run_line({"--version"}).out, fmt::format("naru {}\n", kVersion));
  const auto help = run_line({"help", "app", "create"});
  EXPECT_EQ(help.status, 0);
  EXPECT_EQ(help.out, run_line({"app", "create", "--help"}).out);
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{}, {"help"}, {"--json"}})
    EXPECT_EQ(run_line(words).out, run_line({"--help"}).out);
}

TEST(Usage, ErrorsAreJsonForWhoAsksForJson) {
  const auto code_of = [](const testing::Ran& ran) {
    EXPECT_EQ(ran.out, "");
    return Json::parse(ran.err).at("error").at("code").get<std::string>();
  };
  const testing::FakeControl nothing;
  const auto refused = testing::run_on(nothing, {"status", "shop", "--json"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_EQ(code_of(refused), "not_found");
  EXPECT_EQ(Json::parse(refused.err)["error"]["hint"], "ask for something else");
  EXPECT_EQ(code_of(testing::run_on(nothing, {"app", "rm", "shop", "--json"})), "invalid_argument");
  EXPECT_EQ(code_of(run_line({"ps", "--json"}, {.environment = {{"NARU_DATA", "/nonexistent"}}})),
            "unavailable");
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"stauts", "--json"}, {"--json", "stauts"}, {"logs", "--json"}, {"ps", "--json", "--bogus"}}) {
    const auto wrong = run_line(words);
    EXPECT_EQ(wrong.status, 2);
    EXPECT_EQ(code_of(wrong), "invalid_argument");
  }
  EXPECT_TRUE(run_line({"exec", "shop/web", "--bogus", "--", "ls", "--json"}).err.starts_with("error: "))
      << "--json is of ls";
}

TEST(Usage, WhatIsMissingOrTooMuchIsNamedAndTheStatusIsTwo) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"logs"},
                                             {"ps", "--bogus"},
                                             {"up", "--port", "70000"},
                                             {"up", "--port", "x"},
                                             {"up", "--listen", "somewhere"},
                                             {"exec", "shop/web"},
                                             {"completion", "tcsh"},
                                             {"logs", "-n", "-1", "shop"},
                                             {"pipeline", "shop", "seven"}}) {
    const auto ran = run_line(words);
    EXPECT_EQ(ran.status, 2) << fmt::format("{}", fmt::join(words, " "));
    EXPECT_TRUE(ran.err.starts_with("error: ")) << ran.err;
    EXPECT_NE(ran.err.find("\nhint: see `naru "), std::string::npos) << ran.err;
  }
}

TEST(Usage, GarbageOfAnyKindIsRefusedWithoutControlBytesInTheMessage) {
  Rng rng(7);
  for (int i = 0; i < 300; ++i) {
    std::vector<std::string> words;
    const std::vector<std::string> known{"app",  "status", "exec", "--", "--json", "-f",
                                         "logs", "env",    "set",  "",   "-"};
    for (std::uint64_t n = 1 + rng.below(4); n > 0; --n) {
      if (rng.chance(0.5)) {
        words.push_back(known[rng.below(known.size())]);
        continue;
      }
      std::string word;
      for (std::uint64_t length = rng.below(12); length > 0; --length)
        word += static_cast<char>(1 + rng.below(255));
      words.push_back(word);
    }
    const auto ran = run_line(words, {.environment = {{"NARU_DATA", "/nonexistent/naru"}}});
    EXPECT_TRUE(ran.status >= 0 && ran.status <= 2);
    for (const char c : ran.err) EXPECT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20) << ran.err;
  }
}

TEST(Nearest, FindsTypingErrorsAndBeginningsButNoStrangers) {
  const std::vector<std::string> names{"status", "rollout", "rollback", "ps"};
  EXPECT_EQ(nearest_command("statsu", names), "status");
  EXPECT_EQ(nearest_command("rollot", names), "rollout");
  EXPECT_EQ(nearest_command("sp", names), "ps");
  EXPECT_EQ(nearest_command("rollb", names), "rollback");
  EXPECT_EQ(nearest_command("kubernetes", names), "");
  EXPECT_EQ(nearest_command(std::string(100'000, 'x'), names), "");
}

TEST(Completion, OffersVerbsOptionsApplicationsAndServices) {
  const testing::FakeControl control(
      {{"GET /v1/apps",
        {{"apps",
          {{{"name", "shop"}, {"environments", {{{"name", "production"}}, {{"name", "staging"}}}}}}}}},
       {"GET /v1/apps/shop/status", {{"services", {{{"name", "web"}}, {{"name", "catalog"}}}}}},
       {"GET /v1/volumes",
        {{"volumes", {{{"name", "shop.production.data"}}, {{"name", "blog.production.x"}}}}}},
       {"GET /v1/images", {{"images", {{{"reference", "docker.io/library/debian:bookworm-slim"}}}}}},
       {"GET /v1/apps/shop/releases?env=production",
        {{"releases",
          {{{"version", 3}, {"current", true}, {"served", true}},
           {{"version", 2}, {"served", false}},
           {{"version", 1}, {"served", true}}}}}}});
  const auto complete = [&](std::vector<std::string> words) {
    words.insert(words.begin(), "__complete");
    return testing::run_on(control, words).out;
  };
  EXPECT_EQ(complete({"st"}), "status\n");
  EXPECT_EQ(complete({"app", "r"}), "rm\n");
  EXPECT_EQ(complete({"logs", "--fo"}), "--follow\n");
  EXPECT_EQ(complete({"status", ""}), "shop\nshop/staging\n");
  EXPECT_EQ(complete({"exec", "shop/c"}), "shop/catalog\n");
  EXPECT_EQ(complete({"completion", ""}), "bash\nzsh\nfish\n");
  EXPECT_EQ(complete({"volume", "rm", "shop.p"}), "shop.production.data\n");
  EXPECT_EQ(complete({"image", "rm", ""}), "docker.io/library/debian:bookworm-slim\n");
  EXPECT_EQ(complete({"image", "pull", ""}), "") << "what is here need not be pulled";
  EXPECT_EQ(complete({"rollback", "shop", "v"}), "v1\n") << "what was live";
  EXPECT_EQ(complete({"promote", "shop", "v"}), "v2\nv1\n") << "what may be tried again";
  EXPECT_EQ(complete({}), run_line({"__complete", ""}).out);
  for (const char* shell : {"bash", "zsh", "fish"})
    EXPECT_NE(run_line({"completion", shell}).out.find("naru __complete"), std::string::npos);
}

// A person at a real bash, which cuts words at ':'. `script` gives it a terminal.
TEST(Completion, InBashPutsTogetherWhatStandsAroundAColon) {
  const io::testing::TemporaryFolder folder;
  const std::string path = folder.path.string();
  std::ofstream(path + "/naru") << run_line({"completion", "bash"}).out << R"(
naru() {
  if [ "$1" != __complete ]; then echo "$*" >> )"
                                << path << R"(/said; return; fi
  printf '%s\n' shop cap:NET_ADMIN cap:NET_RAW debian:book localhost:5000/a:1 | grep "^${@: -1}"
}
)";
  std::ofstream(path + "/typed") << "PS1=; unset HISTFILE; source " << path << "/naru\n"
                                 << "naru app allow sh\tcap:NET_A\t\n"
                                 << "naru app allow shop cap:NET_ADMIN cap:NET_R\t\n"
                                 << "naru image rm debian:\t\n"
                                 << "naru image rm loc\t\n"
                                 << "naru image rm localhost:5000/a:\t\n"
                                 << "naru app allow shop cap: sh\t\nexit\n";
  const std::string seen = io::testing::shell(fmt::format(
      "INPUTRC=/dev/null TERM=dumb script -qfc 'bash --norc --noprofile -i' /dev/null < {}/typed", path));
  EXPECT_EQ(io::testing::shell("cat " + path + "/said"),
            "app allow shop cap:NET_ADMIN\n"
            "app allow shop cap:NET_ADMIN cap:NET_RAW\n"
            "image rm debian:book\n"
            "image rm localhost:5000/a:1\n"
            "image rm localhost:5000/a:1\n"
            "app allow shop cap: shop\n")
      << seen;
}

}  // namespace
}  // namespace naru::cli
