#include "control/disk_room.h"

#include <gtest/gtest.h>

namespace naru::control {
namespace {

TEST(DiskRoom, BelowTheFloorNothingNewIsTaken) {
  EXPECT_EQ(disk_floor(1ULL << 40), 512ULL << 20);
  EXPECT_EQ(disk_floor(400ULL << 20), 8ULL << 20);
  EXPECT_TRUE(check_room(512ULL << 20, 1ULL << 40, "a push"));
  const auto refused = check_room(511ULL << 20, 1ULL << 40, "a push");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::disk_full);
  EXPECT_EQ(
      refused.error().message(),
      "511 MiB are free on the disk of Naru's data; below 512 MiB a push is not taken, so that what runs "
      "can go on");
  EXPECT_TRUE(check_room("/nowhere/at/all", "a push"));
}

TEST(DiskRoom, NamesTheLargestAndNoTrifles) {
  EXPECT_EQ(largest({}), "");
  EXPECT_EQ(largest({{"volume a", 999'999}}), "");
  EXPECT_EQ(largest({{"volume a", 2'000'000},
                     {"container b", 7'300'000'000},
                     {"c", 1'000'000},
                     {"d", 3'000'000},
                     {"e", 4'000'000},
                     {"f", 5'000'000}}),
            "container b 7300 MB, f 5 MB, e 4 MB, d 3 MB, volume a 2 MB");
}

}  // namespace
}  // namespace naru::control
