#include "control/outbox.h"

#include <gtest/gtest.h>

#include <latch>

#include "control/api_fixture_test.h"
#include "platform/lane.h"

namespace naru::control {
namespace {

// A core whose applications were all pushed: one plan_pipeline action each.
class OutboxTest : public testing::Test {
 protected:
  OutboxTest() : core_(std::move(Core::open(folder_.path().string(), clock_).value())) {}
  ~OutboxTest() override { core_->stop(); }

  void push(int applications) {
    for (int i = 0; i < applications; ++i) {
      const std::string app = fmt::format("app{}", i);
      ASSERT_TRUE(core_->submit(command::CreateApp{app}));
      ASSERT_TRUE(
          core_->submit(command::Push{app, "refs/heads/main", std::string(40, 'a'), "a change", "ada"}));
    }
  }
  std::size_t left() const {
    return core_->read([](const State& state) { return state.outbox.size(); });
  }
  bool comes_to(std::size_t count) const {
    const MonoTime deadline = clock_.mono() + 20s;
    while (left() != count && clock_.mono() < deadline) std::this_thread::yield();
    return left() == count;
  }
  // Control's first table, which every state has.
  static std::optional<Command> acked(const Action& action) {
    return command::RoutesAcked{action.id, std::stoull(action.subject)};
  }
  std::optional<Command> failed(const Action& action) const {
    return command::PlanFinished{action.id, std::stoull(action.subject), "not readable", {}, {}};
  }

  SystemClock clock_;
  TempFolder folder_;
  std::unique_ptr<Core> core_;
};

TEST_F(OutboxTest, ActionsThatAreTriedAgainHoldNoThread) {
  std::atomic<int> tries = 0;
  Outbox outbox(*core_, [&](const Action& action, std::stop_token) -> std::optional<Command> {
    if (action.kind == ActionKind::publish_routes) return acked(action);
    const bool last = core_->read(
        [&](const State& state) { return state.pipelines.at(std::stoull(action.subject)).app == "app19"; });
    ++tries;
    return last ? failed(action) : std::nullopt;
  });
  core_->start();
  push(20);
  EXPECT_TRUE(comes_to(19)) << "nineteen wait for their next try, more than there are threads";
  // The one that ends may have been among the first.
  const MonoTime deadline = SystemClock().mono() + 20s;
  while (tries < 20 && SystemClock().mono() < deadline) std::this_thread::yield();
  EXPECT_GE(tries, 20);
  core_->stop();
}

TEST_F(OutboxTest, WhatDoesNotFitIsTakenLater) {
  std::latch open(1);
  std::atomic<int> calls = 0;
  Outbox outbox(
      *core_,
      [&](const Action& action, std::stop_token) {
        if (action.kind == ActionKind::publish_routes) return acked(action);
        ++calls;
        open.wait();
        return failed(action);
      },
      1);
  core_->start();
  push(20);  // eight run, one is queued
  open.count_down();
  EXPECT_TRUE(comes_to(0)) << left() << " actions were lost";
  EXPECT_EQ(calls, 20);
  core_->stop();
}

// What waits would be tried again in an hour, and until then nothing else could use its lane: the network of
// an application that was removed, and of another one that has its name.
TEST_F(OutboxTest, AnActionThatIsSupersededWhileItWaitsGoesAtOnce) {
  std::mutex mutex;
  std::vector<std::string> tried;  // lanes
  ApplicationSpec spec;
  spec.services.resize(1);
  spec.services[0].name = "web";
  Outbox outbox(*core_,
                [&](const Action& action, std::stop_token) -> std::optional<Command> {
                  switch (action.kind) {
                    case ActionKind::publish_routes:
                      return acked(action);
                    case ActionKind::plan_pipeline:
                      return command::PlanFinished{action.id, std::stoull(action.subject), "", spec, {}};
                    case ActionKind::build_service:
                      return command::BuildFinished{
                          action.id, std::stoull(action.subject), action.detail, false, "", ImageInfo{}};
                    case ActionKind::remove_network:
                      return command::NetworkRemoved{action.id};
                    case ActionKind::ensure_network: {
                      const std::lock_guard lock(mutex);
                      tried.push_back(platform::lane_of(action));
                      return std::nullopt;
                    }
                    default:
                      return std::nullopt;
                  }
                },
                8, {.first = 1h, .last = 1h});
  const auto comes_to_tries = [&](std::size_t count) {
    const MonoTime deadline = clock_.mono() + 20s;
    for (;; std::this_thread::yield()) {
      const std::lock_guard lock(mutex);
      if (tried.size() >= count || clock_.mono() > deadline) return tried.size() == count;
    }
  };
  core_->start();
  push(1);
  ASSERT_TRUE(comes_to_tries(1)) << left();
  ASSERT_TRUE(core_->submit(command::RemoveApp{"app0"}));
  push(1);
  EXPECT_TRUE(comes_to_tries(2)) << "the lane is free";
  const std::lock_guard lock(mutex);
  EXPECT_EQ(tried.front(), tried.back()) << "it is the same lane: else this shows nothing";
  core_->stop();
}

}  // namespace
}  // namespace naru::control
