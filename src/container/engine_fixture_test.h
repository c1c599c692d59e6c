// A data folder with one layer made of the host's own shell and tools, and an engine on it.
#pragma once

#include <gtest/gtest.h>

#include "container/engine.h"
#include "os/cgroup.h"
#include "os/file.h"
#include "os/process.h"

namespace naru::container {

class EngineTest : public testing::Test {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite();
  void SetUp() override;
  void TearDown() override;

  static Digest layer_digest() { return Digest::of_sha256("base"); }
  // Runs "sh -c <script>".
  ContainerSpec shell(const std::string& script) const;
  // It ends while no engine is there to see how.
  void kill_unseen(const RunningContainer& container) {
    engine.reset();
    ::kill(container.status.pid, SIGKILL);
    ASSERT_EQ(::waitpid(container.status.pid, nullptr, 0), container.status.pid);
  }
  void reopen();  // as a launcher that was restarted
  // Starts, waits for the end, settles.
  ContainerStatus run(const ContainerSpec& spec, const StartOptions& options = {});
  ContainerStatus wait(const RunningContainer& container);
  // The text of one stream, without time and name.
  std::string log(const std::string& id, std::string_view stream = "stdout") const;
  bool eventually(const std::function<bool()>& condition) const;
  std::string exec(const std::string& id, const ExecSpec& spec, int* exit_code = nullptr);

  static std::filesystem::path base_layer;
  std::filesystem::path data;
  std::unique_ptr<Engine> engine;
  mutable int serial = 0;
};

}  // namespace naru::container
