#include "supervisor/child.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "base/rng.h"
#include "os/file.h"

namespace naru::supervisor {
namespace {

// What a shell as child said and how it ended, when it sends itself SIGUSR1 before anything else.
std::pair<std::string, int> signalled_at_once(std::vector<int> held) {
  const std::string log = "/tmp/naru-child-" + secure_random_hex(6);
  const Fd shell(::open("/bin/sh", O_PATH | O_CLOEXEC));
  const auto pid = start_child({.name = "-c",
                                .arguments = {"kill -USR1 $$; echo went on"},
                                .fds = {},
                                .held_signals = std::move(held),
                                .user = {},
                                .program_fd = shell.get(),
                                .log_path = log});
  if (!pid) return {pid.error().message(), -1};
  int status = 0;
  ::waitpid(*pid, &status, 0);
  const std::string said = os::read_file(log, 1000).value_or("");
  std::filesystem::remove(log);
  return {said, status};
}

TEST(Child, ASignalThatComesBeforeItsProgramIsReadyWaitsForIt) {
  EXPECT_EQ(signalled_at_once({SIGUSR1}), (std::pair<std::string, int>{"went on\n", 0}));
  const auto [said, status] = signalled_at_once({});
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1) << said << status;
}

}  // namespace
}  // namespace naru::supervisor
