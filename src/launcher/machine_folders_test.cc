#include "launcher/machine_folders.h"

#include <gtest/gtest.h>

#include <latch>
#include <thread>

#include "base/rng.h"
#include "launcher/grants.h"

namespace naru::launcher {
namespace {

// A disk that does not answer until it is back.
class Disk {
 public:
  MachineFolders::Opener opener() {
    return [state = state_](const std::string& path) -> Result<OpenedFolder> {
      ++state->asked;
      if (path.starts_with("/mnt/")) state->back.wait();
      return MachineFolders::open_beneath_root("/usr");
    };
  }
  int asked() const { return state_->asked; }
  void comes_back() { state_->back.count_down(); }

 private:
  struct State {
    std::latch back{1};
    std::atomic<int> asked{0};
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

TEST(MachineFolders, OneThatDoesNotAnswerIsGivenUpAndThenRefusedAtOnceUntilItDoes) {
  Disk disk;
  const MachineFolders folders(disk.opener(), 20ms);
  const auto refused = folders.open("/mnt/x");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::unreachable);
  EXPECT_EQ(refused.error().message(), "the folder /mnt/x does not answer");
  EXPECT_NE(refused.error().hint().find("see whether its disk is there"), std::string::npos);
  for (const char* again : {"/mnt/x", "/mnt/x/inner"})
    EXPECT_EQ(folders.open(again).error().code, Code::unreachable) << again;
  while (disk.asked() == 0) std::this_thread::yield();
  EXPECT_EQ(disk.asked(), 1) << "one thread for it, however often it is asked for";
  while (!folders.open("/srv/other")) std::this_thread::yield();
  disk.comes_back();
  while (!folders.open("/mnt/x")) std::this_thread::yield();
}

TEST(MachineFolders, WhileADiskDoesNotAnswerItsOtherFoldersAreRefusedAtOnceAndThoseOfOthersAreNot) {
  Disk disk;
  const MachineFolders folders(disk.opener(), 20ms, [](const std::string& path) {
    return path.starts_with("/mnt/") ? std::string("0:7") : std::string();
  });
  EXPECT_FALSE(folders.open("/mnt/x"));
  while (disk.asked() == 0) std::this_thread::yield();
  for (int i = 0; i < 100; ++i) {
    const auto refused = folders.open(fmt::format("/mnt/{}", i));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message(), "the folder /mnt/x does not answer");
  }
  EXPECT_EQ(disk.asked(), 1) << "one thread for a disk, however many of its folders are asked for";
  while (!folders.open("/srv/other")) std::this_thread::yield();
  disk.comes_back();
  while (!folders.open("/mnt/y")) std::this_thread::yield();
}

TEST(MachineFolders, TheDiskOfAFolderIsWhatIsMountedThere) {
  EXPECT_EQ(MachineFolders::other_disk_of("/"), "");
  EXPECT_EQ(MachineFolders::other_disk_of("/no/such/folder"), "");
  const std::string proc = MachineFolders::other_disk_of("/proc/self");
  EXPECT_TRUE(proc.starts_with("0:")) << proc;
  EXPECT_EQ(MachineFolders::other_disk_of("/proc/none"), proc);
  EXPECT_NE(MachineFolders::other_disk_of("/sys/kernel"), proc);
}

TEST(MachineFolders, SoManyAtOnceAreWaitedForAndNoMore) {
  Disk disk;
  const MachineFolders folders(disk.opener(), 1ms);
  for (int i = 0; i < 40; ++i) EXPECT_FALSE(folders.open(fmt::format("/mnt/{}", i)));
  while (disk.asked() < static_cast<int>(MachineFolders::kMaxUnderWay)) std::this_thread::yield();
  EXPECT_EQ(disk.asked(), static_cast<int>(MachineFolders::kMaxUnderWay));
  disk.comes_back();
}

TEST(MachineFolders, WhileTheOperatorsFolderLetsHimWaitEveryOtherApplicationIsAnswered) {
  const auto data = std::filesystem::path("/tmp") / ("naru-folders-" + secure_random_hex(6));
  std::filesystem::create_directories(data);
  Disk disk;
  const SystemClock clock;
  const auto grants = Grants::open(data, clock, MachineFolders(disk.opener(), 60s));
  std::jthread operators([&] { EXPECT_TRUE(grants->allow("shop", {"bind:/mnt/x"}, "ada")); });
  while (disk.asked() == 0) std::this_thread::yield();
  EXPECT_TRUE(grants->list().empty());
  EXPECT_TRUE(grants->allow("blog", {"cap:NET_ADMIN"}, "ada"));
  EXPECT_TRUE(grants->check("blog", std::vector{Grant{GrantKind::capability, "NET_ADMIN", false}}));
  disk.comes_back();
  operators.join();
  EXPECT_EQ(grants->list().size(), 2U);
  std::filesystem::remove_all(data);
}

}  // namespace
}  // namespace naru::launcher
