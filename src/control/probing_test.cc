#include "control/probing.h"

#include <gtest/gtest.h>

namespace naru::control {
namespace {

TEST(Probing, AsksWhatHasJustStartedOftenAndThenEverMoreSlowly) {
  EXPECT_EQ(Probing::pause_after(1, 5ms, 250ms), 5ms);
  EXPECT_EQ(Probing::pause_after(2, 5ms, 250ms), 10ms);
  EXPECT_EQ(Probing::pause_after(6, 5ms, 250ms), 160ms);
  EXPECT_EQ(Probing::pause_after(7, 5ms, 250ms), 250ms);
}

TEST(Probing, NeverWaitsLongerThanTheIntervalHoweverOftenItFailed) {
  EXPECT_EQ(Probing::pause_after(4'000'000'000, 50ms, 1s), 1s);
  EXPECT_EQ(Probing::pause_after(0, 50ms, 1s), 50ms);
}

TEST(ProbePlaces, AnApplicationWhoseChecksHangLeavesPlacesToOthers) {
  ProbePlaces places;
  std::size_t taken = 0;
  while (places.take("hangs")) ++taken;
  EXPECT_EQ(taken, ProbePlaces::kPlacesOfOneApp);
  EXPECT_LT(taken, ProbePlaces::kPlaces);
  EXPECT_TRUE(places.take("other"));
  places.give_back("hangs");
  EXPECT_TRUE(places.take("hangs"));
  EXPECT_FALSE(places.take("hangs"));
}

}  // namespace
}  // namespace naru::control
