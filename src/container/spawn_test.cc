#include "container/spawn.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "os/process.h"

namespace naru::container {
namespace {

// A pipe into which nothing more goes: who writes to it waits for ever.
struct FullPipe {
  FullPipe() {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    reader.reset(ends[0]);
    writer.reset(ends[1]);
    const std::string bytes(4096, 'x');
    while (::write(writer.get(), bytes.data(), bytes.size()) > 0) {
    }
    while (::write(writer.get(), "x", 1) > 0) {
    }
    EXPECT_EQ(::fcntl(writer.get(), F_SETFL, 0), 0);
  }
  Fd reader, writer;
};

// The first thing that a child does is to write to its cgroups' files.
template <class Plan>
void expect_killed() {
  const FullPipe pipe;
  const int join = pipe.writer.get();
  const char* const argv[] = {"/bin/true", nullptr};
  Plan plan;
  plan.join = &join;
  plan.join_count = 1;
  plan.finish.argv = argv;
  const auto began = std::chrono::steady_clock::now();
  const auto spawned = spawn(plan, "web-1", 50ms);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 10s);
  ASSERT_FALSE(spawned);
  EXPECT_EQ(spawned.error().message(),
            "container web-1: its program had not begun after 50ms; it was killed");
  EXPECT_NE(spawned.error().hint().find("disks"), std::string::npos);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child was left behind";
  EXPECT_EQ(errno, ECHILD);
}

TEST(Spawn, AStartThatHangsIsKilledAndSaidSo) {
  expect_killed<StartPlan>();
}

TEST(Spawn, SoIsAnEntryThatHangs) {
  expect_killed<EnterPlan>();
}

}  // namespace
}  // namespace naru::container
