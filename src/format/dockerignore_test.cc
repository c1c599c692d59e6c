#include "format/dockerignore.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace naru::format {
namespace {

bool glob(std::string_view pattern, std::string_view path, bool double_star = false) {
  auto parsed = PathGlob::parse(pattern, {.double_star = double_star});
  EXPECT_TRUE(parsed) << pattern;
  return parsed && parsed->matches(path);
}

bool ignores(std::string_view text, std::string_view path) {
  auto parsed = Dockerignore::parse(text);
  EXPECT_TRUE(parsed) << text;
  return parsed && parsed->ignores(path);
}

TEST(PathGlob, StaysWithinANameUnlessAskedToCrossDirectories) {
  EXPECT_TRUE(glob("*.cc", "main.cc"));
  EXPECT_FALSE(glob("*.cc", "src/main.cc"));
  EXPECT_TRUE(glob("src/*/?.h", "src/base/a.h"));
  EXPECT_FALSE(glob("src/?", "src//"));
  EXPECT_TRUE(glob("**/*.cc", "a/b/c.cc", true));
  EXPECT_TRUE(glob("**/*.cc", "c.cc", true));
  EXPECT_FALSE(glob("**/c.cc", "a/xc.cc", true));
  EXPECT_TRUE(glob("a/**", "a/b/c", true));
  EXPECT_FALSE(glob("a/**", "b/a", true));
  EXPECT_TRUE(glob("a/**/z", "a/z", true));
  EXPECT_TRUE(glob("a/**/z", "a/b/c/z", true));
}

TEST(PathGlob, KnowsClassesAndEscapes) {
  EXPECT_TRUE(glob("[a-c]x", "bx"));
  EXPECT_FALSE(glob("[^a-c]x", "bx"));
  EXPECT_FALSE(glob("a[^x]b", "a/b"));
  EXPECT_TRUE(glob("\\*", "*"));
  EXPECT_FALSE(glob("\\*", "a"));
  EXPECT_TRUE(glob("[]]", "]"));
}

TEST(PathGlob, RefusesWhatHasNoEnd) {
  for (const char* bad : {"[", "[a", "a\\", "[z-a]", "[^", "[\\"})
    EXPECT_EQ(PathGlob::parse(bad, {}).error().code, Code::malformed) << bad;
  EXPECT_EQ(PathGlob::parse(std::string(5000, 'a'), {}).error().code, Code::too_large);
}

TEST(PathGlob, TakesNoExponentialTime) {
  std::string pattern;
  for (int i = 0; i < 300; ++i) pattern += "**a*";
  EXPECT_FALSE(glob(pattern, std::string(2000, 'a') + "/b/" + std::string(1000, 'c'), true));
}

TEST(Dockerignore, LetsTheLastMatchDecide) {
  EXPECT_TRUE(ignores("*.md\n!README.md", "NOTES.md"));
  EXPECT_FALSE(ignores("*.md\n!README.md", "README.md"));
  EXPECT_TRUE(ignores("*.md\n!README*.md\nREADME-secret.md", "README-secret.md"));
}

TEST(Dockerignore, LeavesOutWhatLiesBelowAnIgnoredDirectory) {
  EXPECT_TRUE(ignores("node_modules", "node_modules/a/b.js"));
  EXPECT_FALSE(ignores("node_modules", "web/node_modules/a"));
  EXPECT_TRUE(ignores("**/node_modules", "web/node_modules/a"));
  EXPECT_FALSE(ignores("build\n!build/keep", "build/keep"));
  EXPECT_TRUE(ignores("build\n!build/keep", "build/other"));
}

TEST(Dockerignore, CleansPatternsAndSkipsComments) {
  EXPECT_TRUE(ignores("/build/", "build/x"));
  EXPECT_TRUE(ignores("./a/../b", "b"));
  EXPECT_FALSE(ignores("# b\n\n   \n", "# b"));
  EXPECT_TRUE(ignores("\xEF\xBB\xBF.git\r\n", ".git/config"));
  EXPECT_FALSE(ignores("*\n!src", "src/a/b"));
  EXPECT_TRUE(ignores("*\n! src", "other"));
}

TEST(Dockerignore, SaysFileAndLineOfABadPattern) {
  auto parsed = Dockerignore::parse("ok\n[a", "web/.dockerignore");
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().code, Code::malformed);
  EXPECT_TRUE(parsed.error().context.starts_with("web/.dockerignore:2:")) << parsed.error().context;
  EXPECT_EQ(Dockerignore::parse("!").error().code, Code::malformed);
  std::string many;
  for (std::size_t i = 0; i <= Dockerignore::kMaxPatterns; ++i) many += "a\n";
  EXPECT_EQ(Dockerignore::parse(many).error().code, Code::too_large);
}

TEST(Dockerignore, SurvivesGarbage) {
  Rng rng(7);
  for (int round = 0; round < 2000; ++round) {
    std::string text, path;
    const std::string alphabet = "*?[]^-!\\/ab.#\n\r \xff\0";
    for (auto n = rng.below(60); n > 0; --n) text += alphabet[rng.below(alphabet.size())];
    for (auto n = rng.below(20); n > 0; --n) path += alphabet[rng.below(alphabet.size())];
    if (auto parsed = Dockerignore::parse(text)) (void)parsed->ignores(path);
  }
}

}  // namespace
}  // namespace naru::format
