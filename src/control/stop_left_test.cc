#include "control/stop_left.h"

#include <gtest/gtest.h>

#include <mutex>
#include <set>

namespace naru::control {
namespace {

ContainerStatus container(const std::string& id, ContainerState state = ContainerState::running) {
  ContainerStatus status;
  status.id = id;
  status.state = state;
  return status;
}

TEST(StopLeft, StopsWhatRunsAndNamesWhatRunsOn) {
  std::mutex mutex;
  std::set<std::string> running;
  for (int i = 0; i < 40; ++i) running.insert(fmt::format("shop-web-{}.1", i));
  const ContainerStops launcher{[&]() -> Result<std::vector<ContainerStatus>> {
                                  std::vector<ContainerStatus> all{container("old", ContainerState::exited)};
                                  for (const std::string& id : running) all.push_back(container(id));
                                  return all;
                                },
                                [&](const std::string& id) -> Result<void> {
                                  if (id == "shop-web-7.1") return fail(Code::timeout, "it does not end");
                                  const std::lock_guard lock(mutex);
                                  running.erase(id);
                                  return {};
                                }};
  EXPECT_EQ(stop_what_is_left(launcher).value(), std::vector<std::string>{"shop-web-7.1"});
  running.clear();
  EXPECT_TRUE(stop_what_is_left(launcher).value().empty());
}

TEST(StopLeft, DoesNotSayThatNothingRunsWhenNobodyCanTell) {
  const ContainerStops launcher{
      []() -> Result<std::vector<ContainerStatus>> { return fail(Code::unavailable, "it is away"); },
      [](const std::string&) -> Result<void> { return {}; }};
  EXPECT_EQ(stop_what_is_left(launcher).error().code, Code::unavailable);
}

}  // namespace
}  // namespace naru::control
