#include "build/copy.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "build/testing.h"

namespace naru::build {
namespace {

using testing::TempFolder;
namespace fs = std::filesystem;

class CopyTest : public ::testing::Test {
 protected:
  Result<CopyReport> copy(std::vector<std::string> sources, const std::string& dest, CopyRequest request = {},
                          const CopyLimits& limits = {}) {
    const Fd source(::open(from.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    const Fd target(::open(to.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    request.sources = std::move(sources);
    request.dest = dest;
    if (request.from.layers.empty()) request.from.checkout = "shop/c1";
    return copy_into(source.get(), target.get(), request, limits);
  }
  struct ::stat info(const std::string& path) const {
    struct stat result{};
    EXPECT_EQ(::lstat((to.path() / path).c_str(), &result), 0) << path;
    return result;
  }
  bool there(const std::string& path) const {
    std::error_code ignored;
    return fs::exists(fs::symlink_status(to.path() / path, ignored));
  }
  TempFolder from, to, outside;
};

TEST_F(CopyTest, CopiesAFileToANameOrIntoADirectory) {
  from.write("a", "A", fs::perms(0755));
  from.write("b", "B");
  ASSERT_TRUE(copy({"a"}, "/bin/renamed"));
  EXPECT_EQ(to.read("bin/renamed"), "A");
  EXPECT_EQ(info("bin/renamed").st_mode & 07777, 0755U);
  EXPECT_EQ(info("bin/renamed").st_uid, 0U);
  EXPECT_EQ(info("bin").st_mode & 07777, 0755U);
  ASSERT_TRUE(copy({"a"}, "/new/"));
  EXPECT_EQ(to.read("new/a"), "A");
  ASSERT_TRUE(copy({"b"}, "/new"));  // an existing directory
  EXPECT_EQ(to.read("new/b"), "B");
  ASSERT_TRUE(copy({"a", "b"}, "/many/"));
  EXPECT_EQ(to.read("many/b"), "B");
  ASSERT_TRUE(copy({"b"}, "/bin/renamed"));  // replaces
  EXPECT_EQ(to.read("bin/renamed"), "B");
}

TEST_F(CopyTest, CopiesTheContentsOfADirectory) {
  from.write("src/x/y", "1");
  from.write("src/z", "2");
  fs::create_symlink("z", from.path() / "src/link");
  fs::permissions(from.path() / "src/x", fs::perms(0700));
  to.write("dst/old", "kept");
  const auto report = copy({"src"}, "/dst");
  ASSERT_TRUE(report) << report.error().context;
  EXPECT_EQ(report->files, 2U);
  EXPECT_EQ(report->symlinks, 1U);
  EXPECT_EQ(to.read("dst/x/y"), "1");
  EXPECT_EQ(to.read("dst/old"), "kept");
  EXPECT_EQ(fs::read_symlink(to.path() / "dst/link"), "z");
  EXPECT_EQ(info("dst/x").st_mode & 07777, 0700U);
  EXPECT_EQ(fs::last_write_time(to.path() / "dst/z"), fs::last_write_time(from.path() / "src/z"));
}

TEST_F(CopyTest, CopiesTheWholeContextWithoutWhatIsIgnored) {
  from.write("a", "");
  from.write("secret/key", "");
  from.write("logs/1", "");
  from.write("logs/keep/2", "");
  CopyRequest request;
  request.ignore = "secret\nlogs\n!logs/keep\n";
  ASSERT_TRUE(copy({""}, "/app/", request));
  EXPECT_TRUE(there("app/a"));
  EXPECT_FALSE(there("app/secret"));
  EXPECT_FALSE(there("app/logs/1"));
  EXPECT_TRUE(there("app/logs/keep/2"));
  EXPECT_EQ(info("app").st_mode & 07777, 0755U);
  EXPECT_EQ(copy({"secret/key"}, "/x", request).error().code, Code::build_source_missing);
  EXPECT_EQ(copy({"sec*"}, "/x", request).error().code, Code::build_source_missing);
}

TEST_F(CopyTest, MatchesPatterns) {
  from.write("a.cc", "");
  from.write("b.cc", "");
  from.write("lib/1/x.h", "");
  from.write("lib/2/y.h", "");
  ASSERT_TRUE(copy({"*.cc", "lib/?/*.h"}, "/src/"));
  for (const char* name : {"src/a.cc", "src/b.cc", "src/x.h", "src/y.h"}) EXPECT_TRUE(there(name)) << name;
  EXPECT_EQ(copy({"*.zip"}, "/src/").error().code, Code::build_source_missing);
  EXPECT_EQ(copy({"nothing"}, "/src/").error().code, Code::build_source_missing);
}

TEST_F(CopyTest, SetsOwnersByTheImagesAccounts) {
  from.write("a", "");
  to.write("etc/passwd", "root:x:0:0::/:/bin/sh\nbroken\napp:x:4321:77::/:/bin/sh\n");
  to.write("etc/group", "root:x:0:\nstaff:x:999:\n");
  CopyRequest request;
  request.chown = "app:staff";
  request.chmod = "0640";
  ASSERT_TRUE(copy({"a"}, "/data/in/a", request));
  EXPECT_EQ(info("data/in/a").st_uid, 4321U);
  EXPECT_EQ(info("data/in/a").st_gid, 999U);
  EXPECT_EQ(info("data/in/a").st_mode & 07777, 0640U);
  EXPECT_EQ(info("data/in").st_uid, 4321U);
  request.chown = "app";
  ASSERT_TRUE(copy({"a"}, "/b", request));
  EXPECT_EQ(info("b").st_gid, 4321U);
  request.chown = "12:34";
  ASSERT_TRUE(copy({"a"}, "/c", request));
  EXPECT_EQ(info("c").st_gid, 34U);
  for (const char* bad : {"nobody", "app:nogroup", "4294967295", "broken", "-1"}) {
    request.chown = bad;
    EXPECT_EQ(copy({"a"}, "/d", request).error().code, Code::invalid_argument) << bad;
  }
}

TEST_F(CopyTest, KeepsOwnersBetweenStages) {
  from.write("a", "");
  ASSERT_EQ(::chown((from.path() / "a").c_str(), 55, 66), 0);
  CopyRequest request;
  request.from.layers = {Digest::of_sha256("x")};
  ASSERT_TRUE(copy({"a"}, "/a", request));
  EXPECT_EQ(info("a").st_uid, 55U);
  ASSERT_TRUE(copy({"a"}, "/b"));
  EXPECT_EQ(info("b").st_uid, 0U);
}

TEST_F(CopyTest, MakesADirectoryForWorkdir) {
  ASSERT_TRUE(copy({}, "/a/b/"));
  EXPECT_TRUE(fs::is_directory(to.path() / "a/b"));
  ASSERT_TRUE(copy({}, "/a/b/"));
  to.write("file", "");
  EXPECT_EQ(copy({}, "/file/x/").error().code, Code::invalid_argument);
}

TEST_F(CopyTest, ExtractsALocalArchiveForAdd) {
  from.write("tree/inner", "I");
  const std::string make =
      "tar -C " + from.path().string() + " -czf " + (from.path() / "t.tar.gz").string() + " tree";
  ASSERT_EQ(std::system(make.c_str()), 0);
  CopyRequest request;
  request.add = true;
  const auto added = copy({"t.tar.gz"}, "/x", request);
  ASSERT_TRUE(added) << added.error().context;
  EXPECT_EQ(to.read("x/tree/inner"), "I");
  ASSERT_TRUE(copy({"tree/inner"}, "/plain", request));
  EXPECT_EQ(to.read("plain"), "I");
  ASSERT_TRUE(copy({"t.tar.gz"}, "/y/"));  // COPY does not
  EXPECT_TRUE(there("y/t.tar.gz"));
  from.write("t.xz", std::string("\xFD"
                                 "7zXZ\0abc",
                                 9));
  EXPECT_EQ(copy({"t.xz"}, "/z/", request).error().code, Code::unsupported);
}

// Attacks: the source is a pushed repository.
TEST_F(CopyTest, ReadsNothingOutsideOfTheSource) {
  outside.write("secret", "S");
  fs::create_symlink(outside.path() / "secret", from.path() / "absolute");
  fs::create_symlink("../" + outside.path().filename().string() + "/secret", from.path() / "relative");
  fs::create_directory_symlink(outside.path(), from.path() / "folder");
  fs::create_symlink("/proc/self/root/etc/passwd", from.path() / "magic");
  for (const char* source :
       {"absolute", "relative", "folder/secret", "folder", "magic", "fold*/secret", "../../../../etc/passwd"})
    EXPECT_EQ(copy({source}, "/x").error().code, Code::build_source_missing) << source;
  EXPECT_FALSE(there("x"));
  // Inside a copied directory a link stays a link.
  ASSERT_TRUE(copy({""}, "/all/"));
  EXPECT_TRUE(fs::is_symlink(to.path() / "all/absolute"));
}

// Attacks: the destination is an image's root.
TEST_F(CopyTest, WritesNothingOutsideOfTheDestination) {
  outside.write("victim", "V");
  outside.write("folder/x", "");
  from.write("a", "A");
  from.write("tree/victim", "A");
  fs::create_directory_symlink(outside.path(), to.path() / "out");
  fs::create_symlink(outside.path() / "victim", to.path() / "file");
  fs::create_directory_symlink("../" + outside.path().filename().string(), to.path() / "up");
  (void)copy({"a"}, "/out/victim");
  (void)copy({"a"}, "/file");
  (void)copy({"a"}, "/up/victim");
  (void)copy({"tree"}, "/out");
  (void)copy({"tree"}, "/up/folder/");
  EXPECT_FALSE(copy({"a"}, "relative"));
  EXPECT_EQ(outside.read("victim"), "V");
  EXPECT_FALSE(fs::exists(outside.path() / "folder/victim"));
  // Followed inside the root, as a container would see it.
  EXPECT_EQ(to.read(outside.path().relative_path().string() + "/victim"), "A");
}

TEST_F(CopyTest, FollowsNoLinkInsideACopiedTree) {
  outside.write("victim", "V");
  from.write("tree/link/victim", "A");
  from.write("tree/file", "A");
  fs::create_directories(to.path() / "dst");
  fs::create_directory_symlink(outside.path(), to.path() / "dst/link");
  EXPECT_EQ(copy({"tree"}, "/dst").error().code, Code::invalid_argument);
  EXPECT_EQ(outside.read("victim"), "V");
  fs::remove(to.path() / "dst/link");
  fs::remove(to.path() / "dst/file");
  fs::create_symlink(outside.path() / "victim", to.path() / "dst/file");
  ASSERT_TRUE(copy({"tree"}, "/dst"));  // the link itself is replaced
  EXPECT_EQ(outside.read("victim"), "V");
  EXPECT_EQ(to.read("dst/file"), "A");
}

TEST_F(CopyTest, TakesNoAccountsFromOutside) {
  outside.write("passwd", "evil:x:777:777::/:\n");
  from.write("a", "");
  fs::create_directories(to.path() / "etc");
  fs::create_symlink(outside.path() / "passwd", to.path() / "etc/passwd");
  CopyRequest request;
  request.chown = "evil";
  EXPECT_EQ(copy({"a"}, "/a", request).error().code, Code::invalid_argument);
}

TEST_F(CopyTest, RefusesPipesLoopsAndDirectoriesInTheWay) {
  ASSERT_EQ(::mkfifo((from.path() / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(copy({"pipe"}, "/x").error().code, Code::build_context_invalid);
  fs::create_symlink("loop", from.path() / "loop");
  EXPECT_EQ(copy({"loop"}, "/x").error().code, Code::build_context_invalid);
  from.write("tree/name", "");
  to.write("dst/name/inner", "");
  EXPECT_EQ(copy({"tree"}, "/dst").error().code, Code::invalid_argument);
  EXPECT_TRUE(there("dst/name/inner"));
}

TEST_F(CopyTest, IsBounded) {
  from.write("t/a/b/c", "12345");
  from.write("t/d", "12345");
  EXPECT_EQ(copy({"t"}, "/x", {}, {.max_entries = 2}).error().code, Code::too_large);
  EXPECT_EQ(copy({"t"}, "/x", {}, {.max_bytes = 9}).error().code, Code::too_large);
  EXPECT_EQ(copy({"t"}, "/x", {}, {.max_depth = 1}).error().code, Code::too_large);
}

}  // namespace
}  // namespace naru::build
