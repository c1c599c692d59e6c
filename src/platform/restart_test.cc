// `restart:` of a service that serves: no, on-failure with and without a bound, always; and the pause before
// each new attempt.
#include "platform/test_world.h"

namespace naru::platform {
namespace {

// One service, which is ready and serves everybody.
World serving(RestartMode mode, std::uint32_t max_attempts = 0) {
  ApplicationSpec spec;
  spec.services = {service("web")};
  spec.services[0].restart = {mode, max_attempts};
  spec.rollout.bake = 1s;
  return World::released(std::move(spec));
}
const Instance& web(const World& world) {
  return world.state.instances.begin()->second;
}
void exit_with(World& world, std::int32_t code) {
  world.containers.clear();
  world.must(command::ContainerExited{web(world).container(), code, false});
}

TEST(Restart, NoLeavesItWhereItEnded) {
  World clean = serving(RestartMode::no), bad = serving(RestartMode::no);
  exit_with(clean, 0);
  clean.settle();
  EXPECT_EQ(web(clean).phase, InstancePhase::completed);
  EXPECT_EQ(web(clean).attempt, 1U);
  exit_with(bad, 3);
  bad.settle();
  EXPECT_EQ(web(bad).phase, InstancePhase::failed);
  EXPECT_EQ(web(bad).attempt, 1U);
  EXPECT_EQ(web(bad).error, "exited with 3");
}

TEST(Restart, OnFailureStartsAgainWhatFailedButNotWhatIsDone) {
  World world = serving(RestartMode::on_failure);
  exit_with(world, 3);
  EXPECT_EQ(web(world).phase, InstancePhase::waiting);
  world.settle();
  EXPECT_EQ(web(world).phase, InstancePhase::ready);
  EXPECT_EQ(web(world).attempt, 2U);
  exit_with(world, 0);
  world.settle();
  EXPECT_EQ(web(world).phase, InstancePhase::completed);
  EXPECT_EQ(web(world).attempt, 2U);
}

TEST(Restart, OnFailureGivesUpAfterItsAttempts) {
  World world = serving(RestartMode::on_failure, 2);
  world.broken = {"web"};
  exit_with(world, 3);
  world.settle(400);
  EXPECT_EQ(web(world).phase, InstancePhase::failed);
  EXPECT_EQ(web(world).attempt, 3U) << "the first, and two more";
  EXPECT_EQ(world.count("web"), 0);
}

TEST(Restart, OnFailureCountsAttemptsAnewAfterTenHealthyMinutes) {
  World world = serving(RestartMode::on_failure, 1);
  exit_with(world, 3);
  world.settle();
  ASSERT_EQ(web(world).phase, InstancePhase::ready);
  world.now += 11min;
  exit_with(world, 3);
  world.settle();
  EXPECT_EQ(web(world).phase, InstancePhase::ready);
}

TEST(Restart, AlwaysStartsAgainWhateverItEndedWith) {
  for (const RestartMode mode : {RestartMode::always, RestartMode::unless_stopped}) {
    World world = serving(mode);
    exit_with(world, 0);
    world.settle();
    EXPECT_EQ(web(world).phase, InstancePhase::ready);
    EXPECT_EQ(web(world).attempt, 2U);
  }
}

TEST(Restart, ThePauseDoublesUpToAMinuteAndIsShortAgainAfterTenHealthyMinutes) {
  World world = serving(RestartMode::always);
  const auto pause_after_a_crash = [&] {
    exit_with(world, 1);
    const milliseconds pause = web(world).retry_at - world.now;
    // Not before its time; then at once.
    const std::uint32_t attempt = web(world).attempt;
    world.now = web(world).retry_at - 1ms;
    world.must(command::Tick{});
    EXPECT_EQ(web(world).phase, InstancePhase::waiting) << pause.count();
    world.now += 1ms;
    world.must(command::Tick{});
    EXPECT_EQ(web(world).phase, InstancePhase::starting) << pause.count();
    EXPECT_EQ(web(world).attempt, attempt + 1);
    world.settle(4);
    EXPECT_EQ(web(world).phase, InstancePhase::ready);
    return pause;
  };
  for (const milliseconds expected :
       {500ms, 1'000ms, 2'000ms, 4'000ms, 8'000ms, 16'000ms, 32'000ms, 60'000ms, 60'000ms})
    EXPECT_EQ(pause_after_a_crash(), expected);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(pause_after_a_crash(), 60s) << "however often";
  world.now += 9min;
  EXPECT_EQ(pause_after_a_crash(), 60s);
  world.now += 11min;
  EXPECT_EQ(pause_after_a_crash(), 500ms);
  EXPECT_EQ(pause_after_a_crash(), 1s);
}

}  // namespace
}  // namespace naru::platform
