// --json on every verb: what comes out is JSON and nothing else, and it is what control said.
#include "cli/grammar.h"
#include "cli/test_views.h"

namespace naru::cli {
namespace {

using testing::FakeControl;
using testing::run_on;

constexpr const char* kMark = "as control said";

struct Asked {
  std::vector<std::string> words;  // without --json
  std::string keeps = "mark";      // a key of the document, or of one line of the stream
};

// In a folder of its own: `app create` looks for a repository where it is called, two verbs read a file.
std::map<std::string, Asked> every_verb(const std::string& folder) {
  std::ofstream(folder + "/.env") << "A=1\n";
  std::ofstream(folder + "/root.tar") << "bytes";
  const auto in_folder = [&](const char* name) { return folder + "/" + name; };
  return {
      {"up", {{"up"}}},
      {"down", {{"down"}}},
      {"app create", {{"app", "create", "shop"}}},
      {"app ls", {{"app", "ls"}}},
      {"app rm", {{"app", "rm", "shop", "--yes"}}},
      {"app stop", {{"app", "stop", "shop"}}},
      {"app start", {{"app", "start", "shop"}}},
      {"status", {{"status", "shop"}}},
      {"ps", {{"ps"}}},
      {"logs", {{"logs", "shop"}}},
      {"image ls", {{"image", "ls"}}},
      {"image pull", {{"image", "pull", "debian"}, "progress"}},
      {"image import", {{"image", "import", in_folder("root.tar"), "debian"}}},
      {"image rm", {{"image", "rm", "debian"}}},
      {"image history", {{"image", "history", "debian"}}},
      {"prune", {{"prune"}}},
      {"rollout", {{"rollout", "shop"}}},
      {"promote", {{"promote", "shop"}}},
      {"abort", {{"abort", "shop"}}},
      {"rollback", {{"rollback", "shop"}}},
      {"releases", {{"releases", "shop"}}},
      {"pipeline", {{"pipeline", "shop"}}},
      {"pipeline retry", {{"pipeline", "retry", "shop", "17"}}},
      {"env set", {{"env", "set", "shop", "A=1"}}},
      {"env unset", {{"env", "unset", "shop", "A"}}},
      {"env ls", {{"env", "ls", "shop"}}},
      {"env import", {{"env", "import", "shop", in_folder(".env")}}},
      {"exec", {{"exec", "shop/web", "--", "true"}, "exit"}},
      {"events", {{"events"}}},
      {"volume ls", {{"volume", "ls"}}},
      {"volume rm", {{"volume", "rm", "shop.production.data"}}},
      {"token create", {{"token", "create", "ci"}}},
      {"token ls", {{"token", "ls"}}},
      {"token rm", {{"token", "rm", "ci"}}},
      {"open", {{"open"}}},
      {"doctor", {{"doctor"}}},
      {"version", {{"version"}, "running"}},
      {"completion", {{"completion", "bash"}, "script"}},
  };
}

// Of these, a unit test cannot see the end: a minute of work with apt. What it prints is what `image import`
// prints.
const std::set<std::string> kNotHere{"image bootstrap"};

std::set<std::string> leaves(const CLI::App& app, const std::string& path = {}) {
  std::set<std::string> found;
  const auto below = app.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* sub : below)
    found.merge(leaves(*sub, path.empty() ? sub->get_name() : path + " " + sub->get_name()));
  const bool takes_words = !app.get_options([](const CLI::Option* o) { return o->get_positional(); }).empty();
  if (below.empty() || takes_words) found.insert(path);
  return found;
}

void prepare(FakeControl& control) {
  // Enough of every view for the verbs that look into what they ask for.
  control.otherwise = {{"mark", kMark},
                       {"app", "shop"},
                       {"token", "naru_secret"},
                       {"git_url", "http://localhost:7433/git/shop.git"},
                       {"url", "http://localhost:7433/login?code=7"},
                       {"pipelines", {{{"id", 17}, {"mark", kMark}}}},
                       {"instances", {testing::instance("shop-web-2", "web", "ready")}}};
  control.special["GET /v1/apps/shop/logs?env=production&tail=100"] =
      [](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
    (void)co_await response.start_events();
    (void)co_await response.event("line", R"({"mark":"as control said","text":"hello"})");
    (void)co_await response.finish();
  };
  control.special["POST /v1/images/pull"] = [](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
    (void)co_await response.start(200, std::nullopt, "text/plain");
    (void)co_await response.write("layer 1 of 2\npulled debian\n");
    (void)co_await response.finish();
  };
  control.special["POST /v1/instances/shop-web-2/exec"] = [](io::Request&,
                                                             io::ResponseWriter& response) -> io::Task<void> {
    std::string pending;
    auto stream = co_await response.upgrade("naru-exec", pending);
    if (stream)
      (void)co_await stream->write(
          std::string("\x04\0\0\0\x01"
                      "0",
                      6));
  };
}

// One document, or one a line.
std::vector<Json> documents(const std::string& text) {
  if (const Json whole = Json::parse(text, nullptr, false); !whole.is_discarded()) return {whole};
  std::vector<Json> found;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) found.push_back(Json::parse(line, nullptr, false));
  return found;
}

TEST(AsJson, EveryVerbAnswers) {
  const io::testing::TemporaryFolder folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path);
  const auto verbs = every_verb(folder.path.string());
  for (const auto& [verb, asked] : verbs) {
    SCOPED_TRACE(verb);
    FakeControl control;
    prepare(control);
    auto words = asked.words;
    // Before what follows "--", which belongs to the program that runs.
    words.insert(std::ranges::find(words, "--"), "--json");
    const auto ran = run_on(control, words);
    EXPECT_EQ(ran.status, 0) << ran.err;
    const auto said = documents(ran.out);
    ASSERT_FALSE(said.empty()) << "nothing was printed";
    for (const Json& document : said) EXPECT_TRUE(document.is_object()) << ran.out;
    EXPECT_TRUE(said.front().contains(asked.keeps)) << ran.out;
    if (asked.keeps == "mark") {
      EXPECT_EQ(said.front().value("mark", ""), kMark);
    }
  }
  std::filesystem::current_path(before);

  // A new verb needs a line above.
  Grammar grammar;
  std::set<std::string> tried = kNotHere;
  for (const auto& [verb, asked] : verbs) tried.insert(verb);
  EXPECT_EQ(leaves(grammar.root()), tried);
}

TEST(AsJson, AnErrorLeavesTheOutputEmptyAndSaysItBeside) {
  const auto ran = run_on(FakeControl(), {"ps", "--json"});
  EXPECT_EQ(ran.status, 1);
  EXPECT_EQ(ran.out, "");
  EXPECT_NE(ran.err.find("error: "), std::string::npos);
}

}  // namespace
}  // namespace naru::cli
