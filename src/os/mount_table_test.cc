#include "os/mount_table.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rng.h"
#include "os/file.h"

namespace naru::os {
namespace {

namespace fs = std::filesystem;

TEST(MountTable, IsReadWithItsEscapes) {
  const auto mounts = parse_mount_table(
      "22 27 0:20 / / rw,relatime shared:7 - sysfs sysfs rw\n"
      "36 35 98:0 /mnt\\0401 /mnt2\\134x rw master:1 - ext3 /dev/root rw,errors=continue\n");
  ASSERT_TRUE(mounts);
  ASSERT_EQ(mounts->size(), 2U);
  EXPECT_EQ((*mounts)[1].id, 36);
  EXPECT_EQ((*mounts)[1].device, "98:0");
  EXPECT_EQ((*mounts)[1].root, "/mnt 1");
  EXPECT_EQ((*mounts)[1].point, "/mnt2\\x");
  EXPECT_EQ(parse_mount_table("36 35\n").error().code, Code::malformed);
  EXPECT_EQ(parse_mount_table("x 35 98:0 / / rw\n").error().code, Code::malformed);
}

// In a child with mounts of its own.
TEST(MountTable, OneFolderIsAtOnePlaceWhateverItsNames) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounts need root";
  const fs::path base = fs::path("/tmp") / ("naru-places-" + secure_random_hex(6));
  fs::create_directories(base / "big/naru/control");
  fs::create_directories(base / "other");
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const bool mounted =
        ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
        ::mount((base / "big/naru").c_str(), (base / "other").c_str(), nullptr, MS_BIND, nullptr) == 0;
    const auto mounts = mount_table();
    if (!mounted || !mounts) ::_exit(2);
    const auto at = [&](const char* name) {
      const Fd folder = *open_folder(base / name);
      return place_of(folder.get(), *mounts).value_or(Place{name, name});
    };
    ::_exit(at("big/naru/control") == at("other/control") && at("other") == at("big/naru") &&
                    at("big") != at("big/naru") && at("other").path.starts_with(at("big").path)
                ? 0
                : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  fs::remove_all(base);
}

}  // namespace
}  // namespace naru::os
