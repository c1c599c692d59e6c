#include "control/traffic_past.h"

#include <gtest/gtest.h>

namespace naru::control {
namespace {

constexpr std::size_t kMuch = 1 << 20;
WallTime second(int n) {
  return from_epoch_ms(1'000'000 + n * 1'000);
}
using Lists = std::map<EnvKey, std::string>;

TEST(TrafficPast, GivesWhatWasAfterAMomentByEnvironment) {
  TrafficPast past;
  EXPECT_EQ(past.since({}, "", kMuch), Lists{});
  for (int i = 0; i < 3; ++i) {
    past.add(second(i), "blog/production", "blog", fmt::format("{}", 100 + i));
    past.add(second(i), "shop/production", "shop", fmt::format("{}", i));
  }
  EXPECT_EQ(past.since({}, "", kMuch),
            (Lists{{"blog/production", "[100,101,102]"}, {"shop/production", "[0,1,2]"}}));
  EXPECT_EQ(past.since(second(0), "shop", kMuch), (Lists{{"shop/production", "[1,2]"}}));
  EXPECT_EQ(past.since(second(2), "", kMuch), Lists{});
}

TEST(TrafficPast, ForgetsWhatIsOldAndWhatIsMoreThanItsBytes) {
  TrafficPast past(10);
  for (int i = 0; i < 9; ++i) past.add(second(i), "a/b", "a", "xx");
  EXPECT_EQ(past.since({}, "", kMuch), (Lists{{"a/b", "[xx,xx,xx,xx,xx]"}})) << "the newest ten bytes";
  EXPECT_EQ(past.since({}, "", 5), (Lists{{"a/b", "[xx,xx]"}}));
  past.add(second(310), "a/b", "a", "y");
  EXPECT_EQ(past.since({}, "", kMuch), (Lists{{"a/b", "[y]"}}));
  past.add(second(311), "a/b", "a", "more than all of it");
  EXPECT_EQ(past.since({}, "", kMuch), Lists{});
}

TEST(TrafficPast, BeginsAnewWhenTheClockIsSetBack) {
  TrafficPast past;
  past.add(second(100), "a/b", "a", "1");
  past.add(second(50), "a/b", "a", "2");
  EXPECT_EQ(past.since({}, "", kMuch), (Lists{{"a/b", "[2]"}}));
}

}  // namespace
}  // namespace naru::control
