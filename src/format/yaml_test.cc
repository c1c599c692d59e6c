#include "format/yaml.h"

#include <gtest/gtest.h>

#include "format/dotenv.h"
#include "format/interpolation.h"
#include "format/quantity.h"
#include "format/shell_words.h"

namespace naru::format {
namespace {

YamlNode good(std::string_view text) {
  auto node = parse_yaml(text, "f.yaml");
  EXPECT_TRUE(node) << node.error().context;
  return node ? std::move(*node) : YamlNode();
}
std::string bad(std::string_view text) {
  const auto node = parse_yaml(text, "f.yaml");
  return node ? "accepted" : node.error().context;
}

TEST(Yaml, RemembersWhereValuesStand) {
  const YamlNode root = good("a:\n  - x\n  - {k: v}\nb:\n");
  const YamlNode& list = *root.find("a");
  EXPECT_EQ(std::pair(list.items[1].find("k")->line, list.items[1].find("k")->column), std::pair(3u, 9u));
  EXPECT_EQ(root.find("b")->line, 4u);
}

TEST(Yaml, TakesOnlyPlainScalarsForNull) {
  const YamlNode root = good("a: ~\nb: '~'\nc: null\nd: \"\"\ne:\nf: !!str null\n");
  EXPECT_TRUE(root.find("a")->is_null() && root.find("c")->is_null() && root.find("e")->is_null());
  EXPECT_FALSE(root.find("b")->is_null() || root.find("d")->is_null() || root.find("f")->is_null());
}

TEST(Yaml, MergesWithTheNearerKeyWinning) {
  const YamlNode root = good("x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz: {<<: [*x, *y], a: 0}\n");
  const YamlNode& z = *root.find("z");
  EXPECT_EQ(z.find("a")->text + z.find("b")->text + z.find("c")->text, "024");
}

TEST(Yaml, FollowsTheCoreSchemaOfVersion12) {
  EXPECT_EQ(yaml_bool("yes"), std::nullopt);
  EXPECT_EQ(yaml_bool("True"), true);
  EXPECT_EQ(yaml_int("0o17"), 15);
  EXPECT_EQ(yaml_int("0x1F"), 31);
  EXPECT_EQ(yaml_int("-12"), -12);
  EXPECT_EQ(yaml_int("1_000"), std::nullopt);
  EXPECT_EQ(yaml_int("99999999999999999999"), std::nullopt);
  EXPECT_EQ(yaml_float("1.5e1"), 15.0);
  EXPECT_EQ(yaml_float(".inf"), std::nullopt);
}

TEST(Yaml, NamesThePlaceOfAFault) {
  EXPECT_EQ(bad("a: 1\nb: *none\n"),
            "f.yaml:2:4: found the alias *none, but no anchor &none is complete before it\n    | b: *none\n  "
            "  |    ^");
  EXPECT_TRUE(bad("a: 1\na: 2\n").starts_with("f.yaml:2:1: found the key \"a\" a second time"));
  EXPECT_TRUE(bad("a: &a [*a]\n").starts_with("f.yaml:1:8: found the alias"));
  EXPECT_TRUE(bad("a: [1\n").starts_with("f.yaml:"));
  EXPECT_TRUE(bad("a: 1\n---\nb: 1\n").find("second document") != std::string::npos);
  EXPECT_TRUE(bad("a: !reset 1\n").find("!reset") != std::string::npos);
  EXPECT_TRUE(bad("[a]: b\n").find("collection as a key") != std::string::npos);
  EXPECT_TRUE(bad(std::string_view("a: \0", 4)).find("0x00") != std::string::npos);
}

TEST(Excerpt, CutsLongLinesAroundTheColumn) {
  const std::string line = std::string(500, 'a') + "X" + std::string(500, 'b');
  const std::string shown = caret_under(line, 501);
  const auto newline = shown.find('\n');
  EXPECT_LT(newline, 200u);
  EXPECT_EQ(shown[shown.rfind('^') - newline - 1], 'X');
}

TEST(Quantity, ReadsDurations) {
  EXPECT_EQ(parse_duration("1m30s"), 90'000ms);
  EXPECT_EQ(parse_duration("1.5s"), 1500ms);
  EXPECT_EQ(parse_duration("10us"), 1ms);
  EXPECT_EQ(parse_duration("0"), 0ms);
  for (const auto* text : {"", "5", "s", "5x", "-5s", "5s ", "1e9h", "99999999999999999999d", "5s3"})
    EXPECT_EQ(parse_duration(text), std::nullopt) << text;
}

TEST(Quantity, ReadsSizesAndPercentages) {
  EXPECT_EQ(parse_bytes("512m"), 512u << 20);
  EXPECT_EQ(parse_bytes("1.5KiB"), 1536u);
  EXPECT_EQ(parse_bytes("2GB"), 2ull << 30);
  EXPECT_EQ(parse_bytes("7"), 7u);
  for (const auto* text : {"", "m", "-1m", "1mm", "1e9", "99999999t", "1 m b"})
    EXPECT_EQ(parse_bytes(text), std::nullopt) << text;
  EXPECT_EQ(parse_percentage("0.5%")->value, 50u);
  EXPECT_EQ(parse_percentage("100")->value, 10'000u);
  for (const auto* text : {"", "%", "101%", "-5%", "5%%", "NaN"})
    EXPECT_EQ(parse_percentage(text), std::nullopt) << text;
}

TEST(ShellWords, SplitsAsAShellDoes) {
  EXPECT_EQ(*split_shell_words(R"(a 'b c' "d \"e" f\ g "" h"i"'j')"),
            (std::vector<std::string>{"a", "b c", "d \"e", "f g", "", "hij"}));
  EXPECT_TRUE(split_shell_words("  ")->empty());
  for (const auto* text : {"'a", "\"a", "a\\", "\"a\\\""}) EXPECT_FALSE(split_shell_words(text)) << text;
}

std::string filled(std::string_view text) {
  const std::map<std::string, std::string, std::less<>> variables{{"A", "a"}, {"EMPTY", ""}};
  const auto done = interpolate(text, [&](std::string_view name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  });
  if (!done) return "error: " + done.error().context;
  std::string out = done->text;
  for (const auto& name : done->unset) out += " unset:" + name;
  for (const auto& one : done->required) out += fmt::format(" required:{}={}", one.name, one.message);
  return out;
}

TEST(Interpolation, FollowsTheComposeSpecification) {
  EXPECT_EQ(filled("$A ${A} $$A $${A}"), "a a $A ${A}");
  EXPECT_EQ(filled("${EMPTY:-d} ${EMPTY-d} ${NO-d} ${NO:-${A}}"), "d  d a");
  EXPECT_EQ(filled("${A:+x} ${EMPTY:+x} ${EMPTY+x} ${NO+x}"), "x  x ");
  EXPECT_EQ(filled("${NO:-${NO2:-deep}}"), "deep");
  EXPECT_EQ(filled("[$NO]"), "[] unset:NO");
  EXPECT_EQ(filled("${NO:?say why}${EMPTY?fine}"), " required:NO=say why");
}

TEST(Interpolation, RefusesWhatItDoesNotKnow) {
  for (const auto* text : {"$", "$1", "${", "${A", "${}", "${A!b}", "${A:}", "${A:b}", "100% $ x"})
    EXPECT_TRUE(filled(text).starts_with("error: ")) << text;
  std::string deep, end;
  for (int i = 0; i < 100; ++i) deep += "${NO:-", end += "}";
  EXPECT_TRUE(filled(deep + end).starts_with("error: "));
}

TEST(Dotenv, ReadsQuotesCommentsAndVariables) {
  const auto entries = parse_dotenv(
      "# c\nA=1\nexport B='x $A' # c\nC=\"two\nlines\\t$A\\$\"\nD=a#b c # d\nE=\nF\n", ".env", {});
  ASSERT_TRUE(entries) << entries.error().context;
  std::string all;
  for (const DotenvEntry& entry : *entries)
    all += fmt::format("{}:{}={};", entry.line, entry.key, entry.value.value_or("-"));
  EXPECT_EQ(all, "2:A=1;3:B=x $A;4:C=two\nlines\t1$;6:D=a#b c;7:E=;8:F=-;");
}

TEST(Dotenv, NamesTheLineOfAFault) {
  const auto error = [](std::string_view text) {
    const auto entries = parse_dotenv(text, ".env", {});
    return entries ? "accepted" : entries.error().context;
  };
  EXPECT_TRUE(error("A=1\nnot a key\n").starts_with(".env:2: "));
  EXPECT_TRUE(error("A='x\n").starts_with(".env:1: "));
  EXPECT_TRUE(error("A='x' y\n").starts_with(".env:1: "));
  EXPECT_TRUE(error("A=${\n").starts_with(".env:1: "));
  EXPECT_TRUE(error("\n\nA=${B:?no}\n").starts_with(".env:3: "));
}

}  // namespace
}  // namespace naru::format
