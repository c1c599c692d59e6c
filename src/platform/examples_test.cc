// Examples of failed requests: kept with the step that they belong to.
#include "platform/test_world.h"
#include "rollout/rollout.h"

namespace naru::platform {
namespace {

FailedExample example(const std::string& side, int at, const std::string& path = "/") {
  FailedExample one;
  one.time = from_epoch_ms(at);
  one.side = side;
  one.path = path;
  return one;
}

std::vector<std::string> paths(const std::vector<FailedExample>& examples) {
  std::vector<std::string> out;
  for (const FailedExample& one : examples) out.push_back(one.path);
  return out;
}

TEST(Examples, AreTheCanarysNewestAndThenAsManyOfStableAsThereIsRoom) {
  std::vector<FailedExample> seen;
  for (int i = 1; i <= 40; ++i) seen.push_back(example(i % 2 == 0 ? "stable" : "canary", i));
  const auto many = rollout::kept_examples({}, seen);
  ASSERT_EQ(many.size(), kMaxExamples);
  EXPECT_EQ(many.front(), example("canary", 21));
  EXPECT_EQ(many.back(), example("canary", 39));

  const auto few =
      rollout::kept_examples({example("canary", 7), example("stable", 1)}, {example("canary", 5)});
  EXPECT_EQ(few, (std::vector{example("canary", 5), example("canary", 7), example("stable", 1)}));
  EXPECT_EQ(rollout::kept_examples(few, few), few) << "each once";
  EXPECT_EQ(rollout::kept_examples(few, {}), few) << "counters that began anew take none away";
}

TEST(Examples, StayWithTheirStepAndOutliveTheVerdict) {
  World world = World::released();
  world.release_new("api");
  ASSERT_EQ(world.current().phase, RolloutPhase::stepping);
  const auto judged = [&](command::Outcome outcome, const std::string& path, int at) {
    const Rollout& rollout = world.current();
    world.must(
        command::Judged{rollout.id, rollout.step, outcome, "because", {}, {}, {example("canary", at, path)}});
  };
  judged(command::Outcome::hold, "/first", 1);
  judged(command::Outcome::promote, "/second", 2);
  world.settle(5);
  ASSERT_EQ(world.current().step, 1U);
  judged(command::Outcome::roll_back, "/third", 3);
  world.settle();
  EXPECT_EQ(world.current().phase, RolloutPhase::rolled_back);
  ASSERT_EQ(world.current().steps.size(), 2U);
  EXPECT_EQ(paths(world.current().steps[0].failed), (std::vector<std::string>{"/first", "/second"}));
  EXPECT_EQ(paths(world.current().steps[1].failed), (std::vector<std::string>{"/third"}));
  const Json stored = world.current();
  EXPECT_EQ(Json(stored.get<Rollout>()), stored);
}

}  // namespace
}  // namespace naru::platform
