#include "format/compose.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>

#include "base/rng.h"
#include "format/quantity.h"
#include "model/capabilities.h"

namespace naru::format {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

ComposeFiles folder(const fs::path& root) {
  return {.read_file = [root](const std::string& path) -> Result<std::string> {
            if (!fs::exists(root / path)) return fail(Code::not_found, "{}", path);
            return read(root / path);
          },
          .exists = [root](const std::string& path) { return fs::exists(root / path); },
          .passes_link = {}};
}

// A commit that has everything but env files.
ComposeInput input(std::map<std::string, std::string> variables = {}) {
  return {.app = "shop",
          .variables = std::move(variables),
          .files = {.read_file = {}, .exists = [](const std::string&) { return true; }, .passes_link = {}}};
}

std::map<std::string, std::string> variables_of(const fs::path& file) {
  std::map<std::string, std::string> out;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);)
    if (const auto equals = line.find('='); equals != std::string::npos)
      out[line.substr(0, equals)] = line.substr(equals + 1);
  return out;
}

std::vector<Grant> grants_of(const fs::path& file) {
  std::vector<Grant> out;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) out.push_back(parse_grant(line).value());
  return out;
}

std::string describe(const Result<ComposeFile>& file) {
  if (!file) return fmt::format("{}\n{}\n", code_info(file.error().code).name, file.error().context);
  std::string out;
  for (const ComposeDiagnostic& warning : file->warnings) out += warning.text() + "\n";
  return out + Json(file->spec).dump(2) + "\n";
}

Result<ComposeFile> parse(std::string_view text, std::map<std::string, std::string> variables = {}) {
  return parse_compose(text, input(std::move(variables)));
}

std::string error_of(std::string_view text) {
  const auto file = parse(text);
  return file ? "accepted" : file.error().context;
}

// testdata/compose/CASE/compose.yaml gives CASE/expected; NARU_UPDATE=1 writes them anew.
TEST(Compose, GivesThePlansOfTheGoldenFolder) {
  int cases = 0;
  for (const auto& entry : fs::directory_iterator("src/format/testdata/compose")) {
    const fs::path root = entry.path();
    ComposeInput given{.app = "shop",
                       .variables = variables_of(root / "variables"),
                       .files = folder(root),
                       .grants = grants_of(root / "grants")};
    const std::string got = describe(parse_compose(read(root / "compose.yaml"), given));
    if (std::getenv("NARU_UPDATE") != nullptr) std::ofstream(root / "expected") << got;
    EXPECT_EQ(got, read(root / "expected")) << root;
    ++cases;
  }
  EXPECT_GE(cases, 12);
}

TEST(Compose, ReadsTheApplicationsOfThisRepositoryWithoutAWarning) {
  for (const char* file : {"examples/shop/compose.yaml", "e2e/apps/ledger/compose.yml"}) {
    const fs::path path = fs::path(file);
    ComposeInput given{.app = "app", .files = folder(path.parent_path())};
    const auto read_file = parse_compose(read(path), given);
    ASSERT_TRUE(read_file) << read_file.error().context;
    for (const ComposeDiagnostic& warning : read_file->warnings) ADD_FAILURE() << warning.text();
    EXPECT_GE(read_file->spec.services.size(), 3u);
  }
}

TEST(Compose, NamesFileLineColumnPathAndHint) {
  EXPECT_EQ(error_of("services:\n  web:\n    image: x\n    ports:\n      - \"80:http\"\n"),
            "compose.yaml:5:9: services.web.ports[0]: found \"80:http\", expected "
            "[HOST_IP:][HOST:]CONTAINER[/tcp|udp] such as \"8080:80\"\n"
            "    |       - \"80:http\"\n"
            "    |         ^");
}

TEST(Compose, AHealthCheckMayTakeAMinuteAndNoLonger) {
  const auto text = [](const char* timeout) {
    return fmt::format("services:\n  web:\n    image: x\n    healthcheck: {{test: [CMD, x], timeout: {}}}\n",
                       timeout);
  };
  EXPECT_TRUE(parse(text("60s")));
  const std::string error = error_of(text("61s"));
  EXPECT_TRUE(error.starts_with("compose.yaml:4:")) << error;
  EXPECT_NE(error.find("services.web.healthcheck.timeout: found \"61s\", expected at most 1m00s"),
            std::string::npos)
      << error;
}

TEST(Compose, RefusesNamesThatNoContainerOrVolumeCanHave) {
  const auto service = [](std::string app, const std::string& name) {
    ComposeInput given = input();
    given.app = std::move(app);
    const auto file = parse_compose("services:\n  " + name + ": {image: x}\n", given);
    return file ? "accepted" : file.error().context;
  };
  const std::string app(24, 'a');
  EXPECT_EQ(service(app, std::string(21, 's')), "accepted");
  const std::string longer = service(app, std::string(22, 's'));
  EXPECT_TRUE(longer.starts_with("compose.yaml:2:")) << longer;
  EXPECT_NE(longer.find("a service name of 22 characters, expected at most 21"), std::string::npos) << longer;
  EXPECT_EQ(service("shop", std::string(40, 's')), "accepted");
  EXPECT_NE(service("shop", "Web").find("call it \"web\""), std::string::npos);
  for (const char* volume : {"Data", "a..b", "_a"}) {
    const std::string error = error_of(fmt::format(
        "services:\n  db:\n    image: x\n    volumes:\n      - {0}:/data\nvolumes: {{{0}: }}\n", volume));
    EXPECT_TRUE(error.starts_with("compose.yaml:5:")) << volume << ": " << error;
  }
}

TEST(Compose, RefusesAHostPortForUdp) {
  const std::string error =
      error_of("services:\n  dns:\n    image: x\n    ports:\n      - \"5353:53/udp\"\n");
  EXPECT_TRUE(error.starts_with("compose.yaml:5:9: services.dns.ports[0]: found the host port 5353 for UDP"))
      << error;
}

TEST(Compose, AUdpPortIsDeclaredAsComposeHasIt) {
  const auto application = parse(
      "services:\n  dns:\n    image: x\n    expose: [\"53/udp\"]\n    ports: [\"5000-5001/udp\", {target: "
      "69, "
      "protocol: udp}]\n");
  ASSERT_TRUE(application);
  std::set<std::uint16_t> ports;
  for (const PortSpec& port : application->spec.services.at(0).ports) {
    EXPECT_EQ(port.transport, Transport::udp);
    EXPECT_FALSE(port.host);
    ports.insert(port.container);
  }
  EXPECT_EQ(ports, (std::set<std::uint16_t>{53, 69, 5000, 5001}));
}

TEST(Compose, AFileHasABoundedNumberOfUdpPorts) {
  const auto text = [](int last) {
    return fmt::format(
        "services:\n  a:\n    image: x\n    expose: [\"1-128/udp\"]\n  b:\n    image: x\n    expose:\n      "
        "- "
        "\"1-{}/udp\"\n",
        last);
  };
  EXPECT_TRUE(parse(text(128)));
  const std::string error = error_of(text(129));
  EXPECT_TRUE(error.starts_with("compose.yaml:8:9: services.b.expose[0]: found more than 256 UDP ports"))
      << error;
}

TEST(Compose, ABracketWithoutItsEndIsNamedWhereItWasOpened) {
  const std::string error =
      error_of("services:\n  web:\n    image: x\n    command: [\"a\",\n    ports:\n      - 80\n");
  EXPECT_TRUE(error.starts_with("compose.yaml:4:14: not valid YAML: [ is opened here and not closed"))
      << error;
}

TEST(Compose, SuggestsTheServiceThatWasMeant) {
  EXPECT_NE(error_of("services:\n  web: {image: x, depends_on: [catlog]}\n  catalog: {image: x}\n")
                .find("did you mean \"catalog\"?"),
            std::string::npos);
}

TEST(Compose, ReportsAtMostTwentyErrorsAndCountsTheRest) {
  std::string text = "services:\n";
  for (int i = 0; i < 50; ++i) text += fmt::format("  s{}: {{restart: \"no\"}}\n", i);
  const std::string error = error_of(text);
  EXPECT_NE(error.find("services.s19:"), std::string::npos);
  EXPECT_EQ(error.find("services.s20:"), std::string::npos);
  EXPECT_NE(error.find("and 30 more errors"), std::string::npos);
}

TEST(Compose, WarnsOnceForAVariableThatIsNotSet) {
  const auto file = parse("services:\n  web: {image: \"x:${TAG}\", command: \"$TAG ${TAG}\"}\n");
  ASSERT_TRUE(file) << file.error().context;
  ASSERT_EQ(file->warnings.size(), 1u);
  EXPECT_NE(file->warnings[0].text().find("naru env set shop TAG=..."), std::string::npos);
}

TEST(Compose, PrefersTheEnvironmentsVariablesToTheDotenvFile) {
  ComposeInput given = input({{"A", "environment"}});
  given.files.read_file = [](const std::string& path) -> Result<std::string> {
    if (path != ".env") return fail(Code::not_found, "{}", path);
    return "A=file\nB=$A-b\n";
  };
  const auto file = parse_compose("services: {web: {image: x, command: [\"$A\", \"$B\"]}}", given);
  ASSERT_TRUE(file) << file.error().context;
  EXPECT_EQ(*file->spec.services[0].command, (std::vector<std::string>{"environment", "environment-b"}));
}

TEST(Compose, ReadsBooleansAndNumbersAfterInterpolation) {
  const auto file = parse(
      "services: {web: {image: x, read_only: \"${FIXED}\", deploy: {replicas: $N}, ports: "
      "[\"${P:-80}:80\"]}}",
      {{"FIXED", "true"}, {"N", "3"}});
  ASSERT_TRUE(file) << file.error().context;
  EXPECT_TRUE(file->spec.services[0].read_only);
  EXPECT_EQ(file->spec.services[0].replicas, 3u);
  EXPECT_EQ(file->spec.services[0].ports[0].host, 80);
}

TEST(Compose, AServiceThatIsWaitedForDoesNotRestartAndOthersDo) {
  const auto file = parse(
      "services:\n  a: {image: x, depends_on: {b: {condition: service_completed_successfully}}}\n  b: "
      "{image: x}\n");
  ASSERT_TRUE(file) << file.error().context;
  EXPECT_EQ(file->spec.find("a")->restart.mode, RestartMode::always);
  EXPECT_EQ(file->spec.find("b")->restart.mode, RestartMode::no);
}

TEST(Compose, LetsThroughTheCapabilitiesThatContainersHaveAndNoOthers) {
  for (const std::string_view name : kContainerCapabilities) {
    const auto file = parse(
        fmt::format("services: {{web: {{image: x, cap_drop: [ALL], cap_add: [{}, cap_{}]}}}}", name, name));
    EXPECT_TRUE(file) << file.error().context;
  }
  for (const std::string_view name : {"MKNOD", "SYS_ADMIN", "ALL"}) {
    const auto file = parse(fmt::format("services: {{web: {{image: x, cap_add: [{}]}}}}", name));
    ASSERT_FALSE(file) << name;
    EXPECT_EQ(file.error().code, Code::forbidden);
    EXPECT_EQ(file.error().hint().find("operator"), std::string::npos) << file.error().hint();
  }
  EXPECT_TRUE(parse("services: {web: {image: x, cap_drop: [MKNOD]}}"));
}

TEST(Compose, SurvivesAliasesThatGrowAndFilesThatAreTooLarge) {
  std::string laughs = "a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n";
  for (int i = 1; i < 12; ++i) {
    laughs += fmt::format("a{}: &a{} [", i, i);
    for (int k = 0; k < 9; ++k) laughs += fmt::format("{}*a{}", k == 0 ? "" : ",", i - 1);
    laughs += "]\n";
  }
  EXPECT_EQ(parse(laughs).error().code, Code::too_large);
  EXPECT_EQ(parse(std::string(2 << 20, ' ')).error().code, Code::too_large);
  EXPECT_EQ(parse(std::string(100'000, '[')).error().code, Code::too_large);
  const std::string long_text = fmt::format("a: &a {}\nb: [{}]\n", std::string(100'000, 'x'), [] {
    std::string aliases;
    for (int i = 0; i < 10'000; ++i) aliases += "*a,";
    return aliases;
  }());
  EXPECT_EQ(parse(long_text).error().code, Code::too_large);
  const std::string growing = "services: {web: {image: x, command: [" + [] {
    std::string items;
    for (int i = 0; i < 200; ++i) items += "$BIG,";
    return items;
  }() + "]}}";
  EXPECT_EQ(parse(growing, {{"BIG", std::string(100'000, 'x')}}).error().code, Code::too_large);
}

TEST(Compose, EveryTruncationOfAGoodFileIsReadOrRefused) {
  const std::string text = read("src/format/testdata/compose/shop/compose.yaml");
  for (std::size_t length = 0; length < text.size(); ++length) (void)parse(text.substr(0, length));
}

TEST(Compose, GarbageIsReadOrRefusedButNeverHarms) {
  const std::string seed = read("src/format/testdata/compose/shop/compose.yaml");
  static constexpr std::string_view kPieces[] = {
      "\"", "'",  "{",  "}", "[", "]", ": ", "- ", "&a ", "*a",   "<<: *service", "${",           "}",
      "$",  "\n", "\t", "%", "!", "|", ">",  "#",  "?",   "\xff", "\x00",         "999999999999", "-1"};
  Rng rng(7);
  for (int round = 0; round < 1500; ++round) {
    std::string text = seed;
    for (std::uint64_t edit = 0; edit < 1 + rng.below(6); ++edit) {
      const std::size_t at = rng.below(text.size());
      const std::string_view piece = kPieces[rng.below(std::size(kPieces))];
      if (rng.chance(0.5))
        text.insert(at, piece);
      else
        text.replace(at, std::min<std::size_t>(rng.below(20), text.size() - at), piece);
    }
    const auto file = parse(text);
    if (!file) {
      const Code code = file.error().code;
      EXPECT_TRUE(code == Code::compose_invalid || code == Code::forbidden || code == Code::unsupported ||
                  code == Code::too_large);
      EXPECT_FALSE(file.error().context.empty());
    }
  }
}

TEST(Compose, AcceptsItsOwnNulls) {
  EXPECT_TRUE(
      parse("services:\n  web:\n    image: x\n    ports:\n    environment:\n    volumes: ~\n    "
            "build:\nvolumes:\n"));
}

// ---- docs/compose.md, the page that people read

const char* const kPage = "docs/compose.md";

TEST(ComposePage, NamesEveryKeyThatTheReaderKnows) {
  // The words of the page's code spans, without its examples.
  const std::string page = std::regex_replace(read(kPage), std::regex("```[^`]*```"), "");
  std::set<std::string> told;
  const std::regex span("`([^`]+)`"), word("[a-z_0-9]+"), key(R"re(\{\s*"([a-z_0-9]+)",)re");
  for (std::sregex_iterator at(page.begin(), page.end(), span), end; at != end; ++at) {
    const std::string code = (*at)[1];
    for (std::sregex_iterator part(code.begin(), code.end(), word); part != end; ++part)
      told.insert(part->str());
  }
  std::size_t keys = 0;
  for (const auto& file : fs::directory_iterator("src/format")) {
    const std::string name = file.path().filename();
    if (!name.starts_with("compose") || !name.ends_with(".cc") || name.ends_with("_test.cc")) continue;
    const std::string source = read(file.path());
    for (std::sregex_iterator at(source.begin(), source.end(), key), end; at != end; ++at, ++keys)
      EXPECT_TRUE(told.contains((*at)[1]))
          << name << " reads `" << (*at)[1] << "`, and " << kPage << " does not name it";
  }
  EXPECT_GT(keys, 150U) << "the pattern no longer finds how keys are written";
}

TEST(Compose, AProbeAsksWhatIsKnownToSpeakHttpBeforeWhatMay) {
  const auto asked = [](std::string_view services) {
    const auto file =
        parse_compose(fmt::format("services:\n{}x-naru: {{ rollout: {{ probe: / }} }}\n", services), input());
    return file ? file->spec.rollout.probe->service : file.error().message();
  };
  const std::string book = "  book: { image: x, ports: [\"7070:7070\"] }\n",
                    inner = "  inner: { image: x, expose: [\"8080\"] }\n",
                    web = "  web: { image: x, ports: [\"222:22\", \"80:8080\"] }\n";
  EXPECT_EQ(asked(book + inner + web), "web");
  EXPECT_EQ(asked(book + inner), "inner");
  EXPECT_EQ(asked(book), "book");
}

// What the page's table says is the default of a key, without what stands behind it.
std::string told_default(const std::string& key) {
  const std::string page = read(kPage), begin = "| `" + key + "` | ";
  const auto at = page.find(begin);
  if (at == std::string::npos) return "no row of " + key;
  const auto cell = page.find(" | `", at + begin.size()) + 4;
  return page.substr(cell, page.find('`', cell) - cell);
}

TEST(ComposePage, TellsTheDefaultsThatHold) {
  const RolloutPolicy policy;
  const ProbeSpec probe;
  EXPECT_EQ(parse_duration(told_default("bake")), policy.bake);
  EXPECT_EQ(parse_duration(told_default("warm_up")), policy.warm_up);
  EXPECT_EQ(parse_duration(told_default("ready_deadline")), policy.ready_deadline);
  EXPECT_EQ(parse_duration(told_default("steps[].duration")), CanaryStep().min_duration);
  EXPECT_EQ(told_default("steps[].users"), fmt::format("{}", CanaryStep().min_users));
  EXPECT_EQ(told_default("alpha"), fmt::format("{}", policy.alpha));
  EXPECT_EQ(told_default("objective"), fmt::format("{}%", policy.error_objective * 100));
  EXPECT_EQ(told_default("margin"), fmt::format("{}", policy.error_margin));
  EXPECT_EQ(told_default("latency_margin"), fmt::format("{}", policy.latency_margin));
  EXPECT_EQ(told_default("probe.path"), probe.path);
  EXPECT_EQ(told_default("probe.rate"), fmt::format("{}", probe.rate));
  EXPECT_EQ(told_default("test"), ServiceSpec().test_target);
}

TEST(ComposePage, HasExamplesThatAreReadWithoutAWarning) {
  const std::string page = read(kPage);
  const std::string fence = "```yaml\n";
  std::size_t examples = 0;
  for (auto at = page.find(fence); at != std::string::npos; at = page.find(fence, at + 1), ++examples) {
    const auto begin = at + fence.size();
    const std::string text = page.substr(begin, page.find("```", begin) - begin);
    const auto file = parse_compose(text, input());
    ASSERT_TRUE(file) << file.error().message() << "\n" << text;
    EXPECT_TRUE(file->warnings.empty()) << file->warnings.front().text();
  }
  EXPECT_GE(examples, 3U);
}

}  // namespace
}  // namespace naru::format
