#include "build/context.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "build/testing.h"

namespace naru::build {
namespace {

using testing::TempFolder;
namespace fs = std::filesystem;

std::vector<std::string> paths(const ContextListing& listing) {
  std::vector<std::string> all;
  for (const ContextEntry& entry : listing.entries) all.push_back(entry.path);
  return all;
}

using Paths = std::vector<std::string>;

TEST(Context, ListsWhatIsNotIgnoredWithDigests) {
  TempFolder checkout;
  checkout.write("web/a", "hello", fs::perms(0755));
  checkout.write("web/node_modules/x/y", "1");
  checkout.write("web/node_modules/keep/z", "2");
  checkout.write("web/.dockerignore", "node_modules\n!node_modules/keep\n");
  fs::create_symlink("/etc/passwd", checkout.path() / "web/link");
  const auto listing = scan_context(checkout.path(), "./web/", "web/Dockerfile");
  ASSERT_TRUE(listing) << listing.error().context;
  EXPECT_EQ(paths(*listing),
            (Paths{".dockerignore", "a", "link", "node_modules/keep", "node_modules/keep/z"}));
  EXPECT_EQ(listing->find("a")->digest, Digest::of_sha256("hello"));
  EXPECT_EQ(listing->find("a")->mode, 0755U);
  EXPECT_EQ(listing->find("link")->target, "/etc/passwd");
  EXPECT_TRUE(listing->find("link")->digest.empty());
  EXPECT_EQ(listing->find("node_modules"), nullptr);
}

TEST(Context, PrefersTheIgnoreFileOfTheDockerfile) {
  TempFolder checkout;
  checkout.write("a", "");
  checkout.write("b", "");
  checkout.write(".dockerignore", "a\n");
  checkout.write("Dockerfile.dockerignore", "b\n.*\n*.dockerignore\n");
  const auto listing = scan_context(checkout.path(), ".", "Dockerfile");
  ASSERT_TRUE(listing);
  EXPECT_EQ(paths(*listing), Paths{"a"});
}

// A pushed repository may hold links to anywhere: neither the context, nor the Dockerfile, nor the ignore
// file follows one.
TEST(Context, LeavesTheCheckoutThroughNoLink) {
  TempFolder outside, checkout;
  outside.write("web/Dockerfile", "FROM secret");
  outside.write("web/secret", "secret");
  fs::create_symlink(outside.path(), checkout.path() / "out");
  fs::create_symlink(outside.path() / "web", checkout.path() / "web");
  checkout.write("app/a", "");
  fs::create_symlink(outside.path() / "web/Dockerfile", checkout.path() / "app/Dockerfile");
  fs::create_symlink(outside.path() / "web/secret", checkout.path() / "app/.dockerignore");
  EXPECT_EQ(scan_context(checkout.path(), "web", "web/Dockerfile").error().code, Code::build_context_invalid);
  EXPECT_EQ(scan_context(checkout.path(), "out/web", "x").error().code, Code::build_context_invalid);
  EXPECT_EQ(scan_context(checkout.path(), "app", "app/Dockerfile").error().code, Code::build_context_invalid);
  EXPECT_EQ(read_dockerfile(checkout.path(), "app/Dockerfile").error().code, Code::build_context_invalid);
  EXPECT_EQ(read_dockerfile(checkout.path(), "out/web/Dockerfile").error().code, Code::build_context_invalid);
  EXPECT_FALSE(
      read_dockerfile(checkout.path(), "../" + outside.path().filename().string() + "/web/Dockerfile"));
  EXPECT_EQ(read_dockerfile(checkout.path(), "app").error().code, Code::dockerfile_missing);
}

TEST(Context, RefusesPipesAndIsBounded) {
  TempFolder checkout;
  checkout.write("a/b/c/d", "12345");
  checkout.write("e", "12345");
  EXPECT_EQ(scan_context(checkout.path(), "", "D", {.max_entries = 2}).error().code, Code::too_large);
  EXPECT_EQ(scan_context(checkout.path(), "", "D", {.max_bytes = 9}).error().code, Code::too_large);
  EXPECT_EQ(scan_context(checkout.path(), "", "D", {.max_depth = 2}).error().code, Code::too_large);
  EXPECT_TRUE(scan_context(checkout.path(), "", "D"));
  ASSERT_EQ(::mkfifo((checkout.path() / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(scan_context(checkout.path(), "", "D").error().code, Code::build_context_invalid);
  EXPECT_EQ(read_dockerfile(checkout.path(), "pipe").error().code, Code::dockerfile_missing);
}

TEST(ResolveInRoot, StaysInsideWhateverTheLinksSay) {
  const std::map<std::string, std::string> links{{"up", "../../../etc"}, {"abs", "/a/b"},
                                                 {"a/rel", "../c"},      {"loop", "loop2"},
                                                 {"loop2", "loop"},      {"chain", "abs/../x"}};
  const auto read = [&](const std::string& path) -> std::optional<std::string> {
    const auto at = links.find(path);
    return at == links.end() ? std::nullopt : std::optional(at->second);
  };
  EXPECT_EQ(*resolve_in_root("up/passwd", read), "etc/passwd");
  EXPECT_EQ(*resolve_in_root("/x/../../abs/./f", read), "a/b/f");
  EXPECT_EQ(*resolve_in_root("a/rel/f", read), "c/f");
  EXPECT_EQ(*resolve_in_root("chain", read), "a/x");
  EXPECT_EQ(*resolve_in_root("", read), "");
  EXPECT_EQ(resolve_in_root("loop/x", read).error().code, Code::build_context_invalid);
}

TEST(CleanRelative, StopsAtTheRoot) {
  EXPECT_EQ(clean_relative("/a/./b//../c/"), "a/c");
  EXPECT_EQ(clean_relative("../../x"), "x");
  EXPECT_EQ(clean_relative("."), "");
}

}  // namespace
}  // namespace naru::build
