#include "judge/slow_lot.h"

#include <gtest/gtest.h>

namespace naru::judge {
namespace {

TEST(SlowLot, OfThoseWhoBecomeSlowTogetherOneCounts) {
  SlowLot lot(1);
  MonoTime now{};
  now += 1h;
  std::uint64_t drawn = 0;
  for (int look = 0; look < 10; ++look, now += 100ms) {  // a pause of a second
    const auto [canary, stable] = lot.draw(40, 0, now);
    EXPECT_EQ(stable, 0U);
    drawn += canary;
  }
  EXPECT_EQ(drawn, 1U);
  EXPECT_EQ(lot.draw(0, 0, now).canary, 0U) << "nobody";
  EXPECT_EQ(lot.draw(40, 0, now).canary, 1U) << "the next second";
}

TEST(SlowLot, HisSideIsDrawnInProportion) {
  SlowLot lot(2);
  MonoTime now{};
  std::uint64_t canary = 0, all = 0;
  for (int second = 0; second < 20'000; ++second) {
    now += 1s;
    const auto drawn = lot.draw(3, 57, now);
    canary += drawn.canary;
    all += drawn.canary + drawn.stable;
  }
  EXPECT_EQ(all, 20'000U);
  EXPECT_NEAR(static_cast<double>(canary) / 20'000, 0.05, 0.01);
}

}  // namespace
}  // namespace naru::judge
