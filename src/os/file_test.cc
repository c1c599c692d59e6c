#include "os/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "base/rng.h"
#include "os/counted_fsync_test.h"
#include "os/listing.h"
#include "os/process.h"

namespace naru::os {
namespace {

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder = std::filesystem::temp_directory_path() / ("naru-file-" + secure_random_hex(6));
    std::filesystem::create_directories(folder / "root/inside");
    std::ofstream(folder / "secret") << "secret";
    std::ofstream(folder / "root/inside/file") << "inside";
    std::filesystem::create_symlink("../secret", folder / "root/up");
    std::filesystem::create_symlink("/inside/file", folder / "root/absolute");
    std::filesystem::create_symlink("inside", folder / "root/link");
  }
  void TearDown() override { std::filesystem::remove_all(folder); }
  std::filesystem::path folder;
};

TEST_F(FileTest, IsReplacedAsAWholeAndKeptThroughAPowerFailureWhenAsked) {
  const auto file = folder / "kept";
  synced.files = synced.folders = 0;
  ASSERT_TRUE(write_file_atomically(file, "one", {.mode = 0640}));
  EXPECT_EQ(synced.files + synced.folders, 0);
  EXPECT_EQ(std::filesystem::status(file).permissions(), std::filesystem::perms(0640));
  ASSERT_TRUE(write_file_atomically(file, "two", {.durable = Durable::yes, .first_as = folder / "beside"}));
  EXPECT_EQ(synced.files, 1) << "the bytes";
  EXPECT_EQ(synced.folders, 1) << "the name";
  EXPECT_EQ(read_file(file, 10).value(), "two");
  // What cannot take its name leaves nothing behind.
  std::filesystem::create_directories(folder / "taken/by");
  EXPECT_FALSE(write_file_atomically(folder / "taken", "three"));
  EXPECT_FALSE(std::filesystem::exists(folder / "taken.new"));
  EXPECT_FALSE(std::filesystem::exists(folder / "beside"));
}

TEST_F(FileTest, ListsWhatIsInAFolderThatStaysOpen) {
  const Fd root = *open_folder(folder / "root");
  for (int again = 0; again < 2; ++again) {
    Listing listing = *Listing::open(root.get(), "root");
    std::map<std::string, bool> names;
    for (auto entry = listing.next(); entry && *entry; entry = listing.next())
      names[(*entry)->name] = (*entry)->folder;
    EXPECT_EQ(names, (std::map<std::string, bool>{
                         {"absolute", false}, {"inside", true}, {"link", false}, {"up", false}}));
  }
  const Fd file(::open((folder / "secret").c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(Listing::open(file.get(), "secret").error().code, Code::system);
}

TEST_F(FileTest, ResolvesPathsInsideTheirRootOnly) {
  const Fd root = open_folder(folder / "root").value();
  EXPECT_FALSE(open_in_root(root.get(), "/up", O_RDONLY)) << ".. stops at the root";
  EXPECT_TRUE(open_in_root(root.get(), "/absolute", O_RDONLY));
  EXPECT_TRUE(open_in_root(root.get(), "/../../inside/file", O_RDONLY));
  EXPECT_FALSE(open_beneath(root.get(), "link/file", O_RDONLY));
  EXPECT_FALSE(open_beneath(root.get(), "../secret", O_RDONLY));
  EXPECT_TRUE(open_beneath(root.get(), "inside/file", O_RDONLY));
}

TEST_F(FileTest, ReadsNoMoreThanTheBound) {
  EXPECT_EQ(read_file(folder / "secret", 6).value(), "secret");
  EXPECT_EQ(read_file(folder / "secret", 5).error().code, Code::too_large);
  EXPECT_EQ(read_file(folder / "none", 5).error().code, Code::not_found);
}

TEST_F(FileTest, RemovesTreesOfAnyDepthWithoutFollowingLinks) {
  const auto tree = folder / "tree";
  std::filesystem::create_directories(tree);
  std::filesystem::create_directory_symlink(folder / "root", tree / "link");
  Fd at = Fd(::open(tree.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int depth = 0; depth < 3000; ++depth) {
    ASSERT_EQ(::mkdirat(at.get(), "d", 0), 0);
    ::close(::openat(at.get(), "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0));
    at = Fd(::openat(at.get(), "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(at);
  }
  const auto removed = remove_tree(tree);
  EXPECT_TRUE(removed) << removed.error().message();
  EXPECT_FALSE(std::filesystem::exists(tree));
  EXPECT_TRUE(std::filesystem::exists(folder / "root/inside/file"));
  EXPECT_TRUE(remove_tree(tree)) << "what does not exist is fine";
}

}  // namespace
}  // namespace naru::os
