#include "supervisor/process_log.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "base/fd.h"
#include "base/rng.h"
#include "os/file.h"

namespace naru::supervisor {
namespace {

TEST(ProcessLog, IsEmptiedBeyondItsBoundWhileItsProcessWritesOn) {
  const std::filesystem::path folder = "/tmp/naru-log-" + secure_random_hex(6);
  std::filesystem::create_directories(folder);
  const auto path = folder / "control.log", old = folder / "control.log.1";
  EXPECT_TRUE(bound_log(path, 100)) << "no log is no error";
  const Fd process(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
  const auto write = [&](const std::string& text) {
    EXPECT_EQ(::write(process.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  };
  write(std::string(100, 'a'));
  ASSERT_TRUE(bound_log(path, 100));
  EXPECT_FALSE(std::filesystem::exists(old)) << "it is at its bound, not beyond";
  write(std::string(60, 'b'));
  ASSERT_TRUE(bound_log(path, 100));
  EXPECT_EQ(*os::read_file(old, 1000), std::string(40, 'a') + std::string(60, 'b')) << "the end is kept";
  write("after");
  EXPECT_EQ(*os::read_file(path, 1000), "after") << "no hole where the emptied bytes were";
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace naru::supervisor
