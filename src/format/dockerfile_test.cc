#include "format/dockerfile.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "base/rng.h"

namespace naru::format {
namespace {

TEST(Dockerfile, WarnsOfAHealthcheckThatWaitsLongerThanProbesMay) {
  const auto warnings = [](std::string_view healthcheck) {
    return parse_dockerfile(fmt::format("FROM scratch\nHEALTHCHECK {} CMD x\n", healthcheck),
                            "web/Dockerfile")
        .value()
        .warnings;
  };
  EXPECT_TRUE(warnings("--timeout=60s").empty());
  EXPECT_TRUE(warnings("--interval=5m").empty());
  const auto found = warnings("--interval=5m --timeout=2m");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_TRUE(found[0].starts_with("web/Dockerfile:2:")) << found[0];
  EXPECT_NE(found[0].find("--timeout=2m is taken as 1m"), std::string::npos) << found[0];
}

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

Error error_of(std::string_view text) {
  auto parsed = parse_dockerfile(text, "web/Dockerfile");
  EXPECT_FALSE(parsed) << text;
  return parsed ? Error{} : parsed.error();
}

Instruction only(std::string_view instruction) {
  auto parsed =
      parse_dockerfile("FROM scratch AS first\nFROM scratch\n" + std::string(instruction), "Dockerfile");
  EXPECT_TRUE(parsed) << (parsed ? "" : parsed.error().context);
  if (!parsed || parsed->stages.back().instructions.empty()) return {};
  return parsed->stages.back().instructions.front();
}

std::string expand(std::string_view word) {
  const auto lookup = [](std::string_view name) -> std::optional<std::string> {
    if (name == "set") return "value";
    if (name == "empty") return "";
    return std::nullopt;
  };
  auto result = expand_word(word, lookup);
  return result ? *result : "error: " + result.error().context;
}

// testdata/dockerfile/NAME.Dockerfile gives NAME.graph; NARU_UPDATE=1 writes them anew.
TEST(Dockerfile, GivesTheGraphsOfTheGoldenFolder) {
  const std::filesystem::path folder = "src/format/testdata/dockerfile";
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".Dockerfile") continue;
    ++files;
    const std::string name = entry.path().filename().string();
    const auto parsed = parse_dockerfile(read(entry.path()), name);
    const std::string graph =
        parsed ? describe(*parsed)
               : parsed.error().context + "\nhint: " + std::string(parsed.error().hint()) + "\n";
    const auto expected = std::filesystem::path(entry.path()).replace_extension(".graph");
    if (std::getenv("NARU_UPDATE") != nullptr) std::ofstream(expected) << graph;
    EXPECT_EQ(graph, read(expected)) << name;
  }
  EXPECT_GE(files, 5U);
}

TEST(Dockerfile, PointsAtAMisspelledInstruction) {
  const Error error = error_of("FROM debian\n\n RUNN apt-get update\n");
  EXPECT_EQ(error.code, Code::dockerfile_invalid);
  EXPECT_EQ(error.context,
            "web/Dockerfile:3:2: unknown instruction 'RUNN'\n"
            "  3 |  RUNN apt-get update\n"
            "    |  ^~~~");
  EXPECT_EQ(error.hint(), "did you mean \"RUN\"?");
}

TEST(Dockerfile, PointsIntoAContinuedLine) {
  const Error error = error_of("FROM debian\nENV A=1 \\\n# why\n    B \\\n    C=3\n");
  EXPECT_TRUE(error.context.starts_with("web/Dockerfile:4:5: 'B' is not NAME=VALUE")) << error.context;
}

TEST(Dockerfile, SaysWhatIsNotSupportedInsteadOfIgnoringIt) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"ONBUILD RUN true", "ONBUILD is not supported"},
      {"MAINTAINER me", "MAINTAINER is deprecated"},
      {"RUN --mount=type=cache,target=/x make", "RUN --mount is not supported"},
      {"RUN --network=none make", "RUN --network is not supported"},
      {"RUN cat <<EOF\nx\nEOF", "here-documents are not supported"},
      {"COPY <<EOF /x\nEOF", "here-documents are not supported"},
      {"COPY --link a b", "COPY --link is not supported"},
      {"ADD https://example.org/a.tar /x", "ADD of the address"},
      {"ADD --checksum=sha256:0 a b", "ADD --checksum is not supported"},
      {"COPY --from=$x a b", "variables in --from are not supported"},
  };
  for (const auto& [line, what] : cases) {
    const Error error = error_of("FROM debian\n" + line);
    EXPECT_EQ(error.code, Code::unsupported) << line;
    EXPECT_TRUE(error.context.starts_with("web/Dockerfile:2:")) << error.context;
    EXPECT_NE(error.context.find(what), std::string::npos) << error.context;
    EXPECT_FALSE(error.remedy.empty()) << line;
  }
  EXPECT_EQ(error_of("# syntax=my/frontend\nFROM debian").code, Code::unsupported);
}

TEST(Dockerfile, RefusesWhatCannotBeMeant) {
  for (const char* text : {"",
                           "# only a comment",
                           "RUN true",
                           "FROM",
                           "FROM a b",
                           "FROM a AS",
                           "FROM a AS 9x",
                           "FROM a AS x\nFROM b AS X",
                           "FROM a\nRUN",
                           "FROM a\nCOPY x",
                           "FROM a\nCOPY --from=0 x y",
                           "FROM a\nCOPY --frm=b x y",
                           "FROM a\nCOPY --from= x y",
                           "FROM a AS me\nCOPY --from=me x y",
                           "FROM a\nENV",
                           "FROM a\nENV X",
                           "FROM a\nENV =x",
                           "FROM a\nENV A=1 'open",
                           "FROM a\nLABEL \"x=1",
                           "FROM a\nARG a b c=1 =x",
                           "FROM a\nSHELL bash",
                           "FROM a\nSHELL []",
                           "FROM a\nUSER a b",
                           "FROM a\nSTOPSIGNAL",
                           "FROM a\nHEALTHCHECK",
                           "FROM a\nHEALTHCHECK NONE x",
                           "FROM a\nHEALTHCHECK --interval=x CMD y",
                           "FROM a\nHEALTHCHECK --retries=-1 CMD y",
                           "FROM a\nHEALTHCHECK CMD",
                           "FROM a\nVOLUME []",
                           "FROM a\nRUN []",
                           "FROM a\nEXPOSE --x=1 80",
                           "# escape=x\nFROM a",
                           "# escape=\\\n# escape=`\nFROM a",
                           "FROM --platform a"}) {
    const Error error = error_of(text);
    EXPECT_EQ(error.code, Code::dockerfile_invalid) << text;
    EXPECT_TRUE(error.context.starts_with("web/Dockerfile:")) << error.context;
  }
  EXPECT_EQ(error_of(std::string("FROM a\nRUN \0x", 13)).code, Code::dockerfile_invalid);
  EXPECT_TRUE(
      error_of("FROM a\nRUN \xC3\x28").context.starts_with("web/Dockerfile:2:5: a byte that is not UTF-8"));
}

TEST(Dockerfile, IsBounded) {
  EXPECT_EQ(error_of(std::string(kMaxDockerfileBytes + 1, ' ')).code, Code::too_large);
  std::string stages, instructions = "FROM a\n";
  for (std::size_t i = 0; i <= kMaxDockerfileStages; ++i) stages += "FROM a\n";
  for (std::size_t i = 0; i <= kMaxDockerfileInstructions; ++i) instructions += "RUN x\n";
  EXPECT_EQ(error_of(stages).code, Code::too_large);
  EXPECT_EQ(error_of(instructions).code, Code::too_large);
}

TEST(Dockerfile, TakesAJsonArrayAsTheExecFormAndAllElseAsTheShells) {
  EXPECT_FALSE(std::get<RunInstruction>(only("RUN [\"a\", \"b c\"]").body).command.shell);
  EXPECT_EQ(std::get<RunInstruction>(only("RUN [\"a\", \"b c\"]").body).command.words,
            (std::vector<std::string>{"a", "b c"}));
  EXPECT_TRUE(std::get<RunInstruction>(only("RUN ['a']").body).command.shell);
  EXPECT_TRUE(std::get<RunInstruction>(only("RUN [ -f x ] && y").body).command.shell);
  EXPECT_TRUE(std::get<CmdInstruction>(only("CMD []").body).command.words.empty());
  EXPECT_EQ(std::get<CopyInstruction>(only("COPY [\"a b\", \"c\", \"/d/\"]").body).sources,
            (std::vector<std::string>{"a b", "c"}));
}

TEST(Dockerfile, ReadsHealthcheckOptions) {
  const auto check =
      std::get<HealthcheckInstruction>(only("HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=2h "
                                            "--start-interval=250ms --retries=7 CMD [\"/probe\"]")
                                           .body);
  EXPECT_EQ(check.interval, 90s);
  EXPECT_EQ(check.timeout, 1500ms);
  EXPECT_EQ(check.start_period, 2h);
  EXPECT_EQ(check.start_interval, 250ms);
  EXPECT_EQ(check.retries, 7U);
  EXPECT_EQ(check.command->words, std::vector<std::string>{"/probe"});
  EXPECT_FALSE(std::get<HealthcheckInstruction>(only("HEALTHCHECK NONE").body).command);
}

TEST(Dockerfile, FindsStagesByNameAndNumber) {
  const auto file = parse_dockerfile("FROM a AS Build\nFROM b\nFROM c AS test\n", "Dockerfile");
  ASSERT_TRUE(file);
  EXPECT_EQ(file->find_stage("BUILD"), 0U);
  EXPECT_EQ(file->find_stage("test"), 2U);
  EXPECT_EQ(file->find_stage("1"), 1U);
  EXPECT_EQ(file->find_stage("3"), std::nullopt);
  EXPECT_EQ(file->find_stage(""), std::nullopt);
}

TEST(Dockerfile, ReadsCarriageReturnsAndAByteOrderMark) {
  const auto file = parse_dockerfile("\xEF\xBB\xBF# escape=`\r\nFROM a\r\nRUN x `\r\n  y\r\n", "Dockerfile");
  ASSERT_TRUE(file) << file.error().context;
  EXPECT_EQ(std::get<RunInstruction>(file->stages[0].instructions[0].body).command.words[0], "x   y");
}

TEST(ExpandWord, SubstitutesAsTheReferenceSays) {
  EXPECT_EQ(expand("a$set/b"), "avalue/b");
  EXPECT_EQ(expand("${set}x"), "valuex");
  EXPECT_EQ(expand("$unset|${unset}"), "|");
  EXPECT_EQ(expand("${unset:-d$set}${empty:-e}${empty-f}"), "dvaluee");
  EXPECT_EQ(expand("${set:+yes}${unset:+no}${empty+there}${empty:+no}"), "yesthere");
  EXPECT_EQ(expand("${unset:-${unset:-deep}}"), "deep");
  EXPECT_EQ(expand("\\$set"), "$set");
  EXPECT_EQ(expand("'$set'\"$set\""), "$setvalue");
  EXPECT_EQ(expand("\"a\\\"b\\n\""), "a\"b\\n");
  EXPECT_EQ(expand("cost$"), "cost$");
  EXPECT_EQ(expand("100$%"), "100$%");
  EXPECT_EQ(expand("${unset:?is needed}"), "error: unset: is needed");
}

TEST(ExpandWord, RefusesWhatHasNoEnd) {
  const auto none = [](std::string_view) { return std::nullopt; };
  for (const char* bad : {"${", "${x", "${}", "${x:-", "'x", "\"x", "${x:-'}"})
    EXPECT_EQ(expand_word(bad, none).error().code, Code::dockerfile_invalid) << bad;
  for (const char* bad : {"${x#y}", "${x:=y}", "${x/y/z}"})
    EXPECT_EQ(expand_word(bad, none).error().code, Code::unsupported) << bad;
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "${x:-";
  EXPECT_EQ(expand_word(deep, none).error().code, Code::too_large);
  EXPECT_EQ(expand_word(std::string(kMaxExpandedWordBytes + 2, 'a'), none).error().code, Code::too_large);
}

TEST(Dockerfile, SurvivesGarbage) {
  const std::string seed = read("src/format/testdata/dockerfile/multistage.Dockerfile");
  const std::string alphabet = "FROM RUN\n\\\"'[]{}$:-=#<&\xff\x01\t`,";
  Rng rng(11);
  for (int round = 0; round < 3000; ++round) {
    std::string text = seed;
    for (auto edits = 1 + rng.below(12); edits > 0; --edits) {
      const auto at = rng.below(text.size());
      if (rng.chance(0.5))
        text[at] = alphabet[rng.below(alphabet.size())];
      else
        text.erase(at, rng.below(20));
      if (text.empty()) text = "F";
    }
    const auto parsed = parse_dockerfile(text, "Dockerfile");
    if (parsed)
      (void)describe(*parsed);
    else
      EXPECT_TRUE(parsed.error().context.starts_with("Dockerfile:")) << parsed.error().context;
    (void)expand_word(text, [](std::string_view) { return std::optional<std::string>("v"); });
  }
}

// ---- docs/dockerfile.md, the page that people read

const char* const kPage = "docs/dockerfile.md";

std::vector<std::string> spans_of(const std::string& text) {
  std::vector<std::string> spans;
  const std::regex span("`([^`]+)`");
  for (std::sregex_iterator at(text.begin(), text.end(), span), end; at != end; ++at)
    spans.push_back((*at)[1]);
  return spans;
}

// The rows of the table below the line `heading`, their cells as they stand.
std::vector<std::vector<std::string>> table(std::string_view heading) {
  std::istringstream page(read(kPage));
  std::vector<std::vector<std::string>> rows;
  std::string line;
  while (std::getline(page, line) && line != heading) {
  }
  while (std::getline(page, line) && !line.starts_with("|")) {
  }
  for (; line.starts_with("|"); std::getline(page, line)) {
    std::istringstream cells(line.substr(1));
    rows.emplace_back();
    for (std::string cell; std::getline(cells, cell, '|');) rows.back().push_back(cell);
  }
  if (rows.size() > 2) rows.erase(rows.begin(), rows.begin() + 2);
  return rows;
}

using Flags = std::map<std::string, std::set<std::string>>;

// What dockerfile.cc hands to only_flags, by keyword: flags that it knows, and those that it says are not
// supported.
std::pair<Flags, Flags> flags_of_the_reader() {
  const std::string source = read("src/format/dockerfile.cc");
  const std::regex call(R"re(only_flags\((\w+|"[A-Z]+"), args, \{([^}]*)\}(?:,\s*\{([^}]*)\})?\))re"),
      text(R"re("([a-z-]+)")re");
  std::pair<Flags, Flags> flags;
  std::size_t of_copy = 0;
  for (std::sregex_iterator at(source.begin(), source.end(), call), end; at != end; ++at) {
    std::string keyword = (*at)[1];
    if (keyword.starts_with('"'))
      keyword = keyword.substr(1, keyword.size() - 2);
    else if ((*at)[2].length() > 0)
      keyword = of_copy++ == 0 ? "ADD" : "COPY";
    const std::string known = (*at)[2], not_yet = (*at)[3];
    for (std::sregex_iterator flag(known.begin(), known.end(), text); flag != end; ++flag)
      flags.first[keyword].insert("--" + flag->str(1));
    for (std::sregex_iterator flag(not_yet.begin(), not_yet.end(), text); flag != end; ++flag)
      flags.second[keyword].insert("--" + flag->str(1));
  }
  return flags;
}

TEST(DockerfilePage, NamesEveryInstructionAndItsFlags) {
  const std::string source = read("src/format/dockerfile.cc");
  const auto begin = source.find("kKeywords{");
  const std::string list = source.substr(begin, source.find("};", begin) - begin);
  std::set<std::string> known, told;
  const std::regex word(R"re("([A-Z]+)")re");
  for (std::sregex_iterator at(list.begin(), list.end(), word), end; at != end; ++at) known.insert((*at)[1]);
  const auto [flags, not_yet] = flags_of_the_reader();
  for (const auto& row : table("## Instructions")) {
    ASSERT_EQ(row.size(), 3U);
    const auto named = spans_of(row[1]);
    for (const std::string& keyword : spans_of(row[0])) {
      told.insert(keyword);
      EXPECT_EQ(std::set<std::string>(named.begin(), named.end()),
                flags.contains(keyword) ? flags.at(keyword) : std::set<std::string>())
          << keyword;
    }
  }
  EXPECT_EQ(told, known);
  EXPECT_EQ(known.size(), 16U);
  EXPECT_GE(flags.size(), 4U) << "the pattern no longer finds how flags are read";
  std::set<std::string> refused;
  for (const auto& row : table("By the push, before anything is built:"))
    for (const std::string& span : spans_of(row.at(0))) refused.insert(span);
  EXPECT_EQ(not_yet.size(), 3U);
  for (const auto& [keyword, names] : not_yet)
    for (const std::string& name : names)
      EXPECT_TRUE(refused.contains(keyword + " " + name)) << keyword << " " << name;
}

TEST(DockerfilePage, TellsWhatIsRefusedAndHow) {
  std::size_t lines = 0;
  for (const auto& row : table("By the push, before anything is built:")) {
    ASSERT_EQ(row.size(), 3U);
    const auto code = spans_of(row[1]);
    ASSERT_EQ(code.size(), 1U) << row[1];
    for (const std::string& span : spans_of(row[0])) {
      ++lines;
      const Error error =
          error_of(span.starts_with('#') ? span + "\nFROM debian" : "FROM debian\n" + span + " a b\n");
      EXPECT_EQ(code_info(error.code).name, code[0]) << span;
      EXPECT_FALSE(error.hint().empty()) << span;
    }
  }
  EXPECT_GE(lines, 20U);
}

TEST(DockerfilePage, HasAnExampleThatIsReadWithoutAWarning) {
  const std::string page = read(kPage), fence = "```dockerfile\n";
  const auto begin = page.find(fence) + fence.size();
  const auto file = parse_dockerfile(page.substr(begin, page.find("```", begin) - begin), kPage);
  ASSERT_TRUE(file) << file.error().message();
  EXPECT_TRUE(file->warnings.empty());
  EXPECT_EQ(file->stages.size(), 3U);
  std::set<std::string> used;
  for (const Stage& stage : file->stages)
    for (const Instruction& instruction : stage.instructions) used.insert(instruction.keyword);
  EXPECT_GE(used.size(), 11U);
}

TEST(DockerfilePage, TellsTheBoundsThatHold) {
  const std::string page = read(kPage);
  for (const std::string& bound : {fmt::format("a file of {} MiB", kMaxDockerfileBytes >> 20),
                                   fmt::format("{} stages", kMaxDockerfileStages),
                                   fmt::format("{},{:03} instructions", kMaxDockerfileInstructions / 1000,
                                               kMaxDockerfileInstructions % 1000),
                                   fmt::format("{} KiB for a word", kMaxExpandedWordBytes >> 10)})
    EXPECT_NE(page.find(bound), std::string::npos) << bound;
}

}  // namespace
}  // namespace naru::format
