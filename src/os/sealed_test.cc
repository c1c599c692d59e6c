#include "os/sealed.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <filesystem>

#include "os/file.h"

namespace naru::os {
namespace {

class SealedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/naru-sealed-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    std::filesystem::copy_file("/bin/sleep", folder_ + "/program");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // The attack on a process that runs `program`: what /proc/<pid>/exe leads to is held, and written to once
  // nobody executes it any more. True: it was overwritten.
  static bool attack(int program) {
    int status = 0;
    const pid_t pid = ::fork();
    if (pid == 0) {
      char name[] = "sleep", long_enough[] = "60";
      char* argv[] = {name, long_enough, nullptr};
      char* env[] = {nullptr};
      ::syscall(SYS_execveat, program, "", argv, env, AT_EMPTY_PATH);
      ::_exit(126);
    }
    const std::string exe = "/proc/" + std::to_string(pid) + "/exe";
    const auto own = std::filesystem::read_symlink("/proc/self/exe");
    while (std::filesystem::read_symlink(exe) == own && ::waitpid(pid, &status, WNOHANG) == 0) {
    }
    const Fd held(::open(exe.c_str(), O_PATH | O_CLOEXEC));
    EXPECT_TRUE(held);
    ::kill(pid, SIGKILL);
    ::waitpid(pid, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << "it did not run";
    const Fd writing(::open(("/proc/self/fd/" + std::to_string(held.get())).c_str(), O_WRONLY | O_CLOEXEC));
    return writing &&
           (::pwrite(writing.get(), "#!/bin/evil", 11, 0) == 11 || ::ftruncate(writing.get(), 0) == 0);
  }

  std::string folder_;
};

TEST_F(SealedTest, AProgramCannotBeOverwrittenThroughTheProcessThatRunsIt) {
  const std::string program = folder_ + "/program";
  const std::string before = read_file(program, 16 << 20).value();
  const auto sealed = sealed_copy(program, "naru-test");
  ASSERT_TRUE(sealed) << sealed.error().message();
  EXPECT_FALSE(attack(sealed->get()));
  EXPECT_EQ(read_fd(sealed->get(), 16 << 20, "the copy").value_or(""), "") << "its offset is at its end";
  EXPECT_EQ(read_file(program, 16 << 20).value(), before);
  EXPECT_EQ(read_file(fmt::format("/proc/self/fd/{}", sealed->get()), 16 << 20).value(), before);
  // Without the copy the same attack works: what the copy is for.
  const Fd plain(::open(program.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_TRUE(attack(plain.get()));
  EXPECT_NE(read_file(program, 16 << 20).value(), before);
}

TEST_F(SealedTest, NoNewDescriptorCanWriteOrUnseal) {
  const auto sealed = sealed_copy(folder_ + "/program", "naru-test");
  ASSERT_TRUE(sealed);
  EXPECT_EQ(::fcntl(sealed->get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
  EXPECT_EQ(::ftruncate(sealed->get(), 1), -1);
  EXPECT_EQ(::pwrite(sealed->get(), "x", 1, 0), -1);
  EXPECT_EQ(sealed_copy(folder_ + "/none", "naru-test").error().code, Code::not_found);
}

}  // namespace
}  // namespace naru::os
