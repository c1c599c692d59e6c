// --json on every verb: what it prints is JSON and nothing else.
#include "cli/grammar.h"
#include "cli/test_views.h"

namespace naru::cli {
namespace {

using testing::FakeControl;
using testing::instance;
using testing::run_on;

// What each verb is given; a verb that is missing here fails the test.
const std::map<std::string, std::vector<std::string>> kWords{
    {"down", {}},
    {"app create", {"shop"}},
    {"app connect", {"shop"}},
    {"app ls", {}},
    {"app rm", {"shop", "--yes"}},
    {"app stop", {"shop"}},
    {"app start", {"shop"}},
    {"app allow", {"shop"}},
    {"status", {"shop"}},
    {"ps", {}},
    {"logs", {"shop"}},
    {"image ls", {}},
    {"image pull", {"debian"}},
    {"image import", {"file", "x:1"}},
    {"image rm", {"x:1"}},
    {"image history", {"x:1"}},
    {"prune", {}},
    {"rollout", {"shop"}},
    {"promote", {"shop"}},
    {"abort", {"shop"}},
    {"rollback", {"shop"}},
    {"releases", {"shop"}},
    {"pipeline", {"shop", "17"}},
    {"pipeline retry", {"shop", "17"}},
    {"env set", {"shop", "A=1"}},
    {"env unset", {"shop", "A"}},
    {"env ls", {"shop"}},
    {"env import", {"shop", "variables"}},
    {"exec", {"shop/web", "--", "true"}},
    {"events", {}},
    {"volume ls", {}},
    {"volume rm", {"x", "--yes"}},
    {"token create", {"x"}},
    {"token ls", {}},
    {"token rm", {"x"}},
    {"open", {}},
    {"doctor", {}},
    {"version", {}},
    {"completion", {"bash"}},
};
// Not run here, with the reason.
const std::map<std::string, std::string> kElsewhere{
    {"up", "starts processes; up_test and e2e read its JSON"},
    {"app disallow", "asks the launcher; grants_test reads its JSON"},
    {"image bootstrap", "makes an image as root; e2e/test_housekeeping.py reads its JSON"},
};

void each_leaf(const CLI::App& app, const std::string& path,
               const std::function<void(const std::string&)>& f) {
  const auto subs = app.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* sub : subs)
    each_leaf(*sub, path.empty() ? sub->get_name() : path + " " + sub->get_name(), f);
  const bool words = !app.get_options([](const CLI::Option* o) { return o->get_positional(); }).empty();
  if (!path.empty() && (subs.empty() || words)) f(path);
}

// One document, or one a line.
bool is_json(const std::string& text) {
  if (Json::accept(text)) return true;
  std::istringstream lines(text);
  std::string line;
  int count = 0;
  while (std::getline(lines, line)) {
    if (!Json::accept(line)) return false;
    ++count;
  }
  return count > 0;
}

FakeControl::Handler stream_of(std::string event, Json data) {
  return [=](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
    if (!co_await response.start_events()) co_return;
    (void)co_await response.event(event, data.dump());
    (void)co_await response.finish();
  };
}

FakeControl::Handler exit_at_once() {
  return [](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
    std::string pending;
    auto stream = co_await response.upgrade("naru-exec", pending);
    if (stream) (void)co_await stream->write(std::string("\4\0\0\0\0010", 6));
  };
}

TEST(JsonOption, IsKeptByEveryVerb) {
  const testing::WorkTree tree;
  std::ofstream("file") << "x";
  std::ofstream("variables") << "A=1\n";
  std::set<std::string> seen;
  Grammar grammar;
  each_leaf(grammar.root(), "", [&](const std::string& verb) {
    seen.insert(verb);
    if (kElsewhere.contains(verb)) return;
    ASSERT_TRUE(kWords.contains(verb)) << "give `naru " << verb << "` a row in kWords";
    FakeControl control({{"GET /v1/ps?app=shop", {{"instances", {instance("web-1", "web", "ready")}}}}});
    control.otherwise = Json{{"state", "succeeded"}, {"containers", 0}};
    control.special["POST /v1/instances/web-1/exec"] = exit_at_once();
    const Json line{
        {"time", 0}, {"service", "web"}, {"instance", "web-1"}, {"stream", "stdout"}, {"text", ""}};
    control.special["GET /v1/apps/shop/logs?env=production&tail=100"] = stream_of("line", line);
    std::vector<std::string> words;
    std::istringstream path(verb);
    for (std::string word; path >> word;) words.push_back(word);
    words.emplace_back("--json");
    std::ranges::copy(kWords.at(verb), std::back_inserter(words));
    const auto ran = run_on(control, words);
    EXPECT_TRUE(is_json(ran.out)) << "naru " << verb << " printed: " << ran.out << "\nand: " << ran.err
                                  << "\nasked: " << fmt::format("{}", fmt::join(control.requests(), ", "));
  });
  for (const auto& [verb, words] : kWords) EXPECT_TRUE(seen.contains(verb)) << verb << " is gone";
  for (const auto& [verb, reason] : kElsewhere) EXPECT_TRUE(seen.contains(verb)) << verb << " is gone";
}

}  // namespace
}  // namespace naru::cli
