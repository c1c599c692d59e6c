#include "control/build_queue.h"

#include <gtest/gtest.h>

namespace naru::control {
namespace {

Action action(ActionId id) {
  Action made;
  made.id = id;
  made.kind = ActionKind::build_service;
  return made;
}

TEST(BuildQueue, OneApplicationsBuildsNeverHoldEveryPlace) {
  BuildQueue queue;
  for (ActionId id = 1; id <= 10; ++id) queue.push(action(id), "greedy");
  EXPECT_EQ(queue.next()->action.id, 1u);
  EXPECT_EQ(queue.next()->action.id, 2u);
  EXPECT_FALSE(queue.next()) << "the last place is kept for others";
  queue.push(action(11), "modest");
  EXPECT_EQ(queue.next()->action.id, 11u) << "without waiting for the greedy one's builds";
  queue.push(action(12), "third");
  EXPECT_FALSE(queue.next());
  queue.done("greedy");
  EXPECT_EQ(queue.next()->app, "third") << "who has none comes first";
  queue.done("modest");
  EXPECT_EQ(queue.next()->action.id, 3u);
  EXPECT_FALSE(queue.next());
}

TEST(BuildDeadlines, AllBuildsOfAPipelineShareOne) {
  BuildDeadlines deadlines;
  const MonoTime start{};
  EXPECT_EQ(deadlines.of(7, start, 1h), start + 1h);
  EXPECT_EQ(deadlines.of(7, start + 30min, 1h), start + 1h);
  EXPECT_EQ(deadlines.of(8, start + 30min, 1h), start + 90min);
  for (PipelineId id = 9; id < 1000; ++id) deadlines.of(id, start, 1h);
  EXPECT_EQ(deadlines.of(999, start + 1min, 1h), start + 1h);
}

TEST(Within, StopsWorkAtItsDeadlineAndSaysSo) {
  const SystemClock clock;
  const auto until_stopped = [](std::stop_token stop) -> Result<int> {
    while (!stop.stop_requested()) std::this_thread::yield();
    return fail(Code::build_cancelled, "the build was cancelled");
  };
  const auto late = within(clock.mono() + 20ms, clock, {}, until_stopped);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::timeout);
  EXPECT_FALSE(late.error().hint().empty());
  std::stop_source cancelled;
  cancelled.request_stop();
  EXPECT_EQ(within(clock.mono() + 1h, clock, cancelled.get_token(), until_stopped).error().code,
            Code::build_cancelled);
  EXPECT_EQ(within(clock.mono() + 1h, clock, {}, [](std::stop_token) -> Result<int> { return 3; }), 3);
}

}  // namespace
}  // namespace naru::control
