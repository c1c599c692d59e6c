#include "control/fault_origin.h"

#include <gtest/gtest.h>

namespace naru::control {
namespace {

constexpr std::uint64_t kFailed = 40;  // at the edge

TEST(FaultOrigin, NamesTheServiceWhoseOwnCalleesAreWell) {
  const InnerAnswers catalog{"catalog", 510, 41, 900, 0, {}}, cart{"cart", 300, 0, 600, 0, {}},
      search{"search", 200, 40, 400, 0, {"catalog"}};
  EXPECT_EQ(
      where_errors_start({}, {cart, search, catalog}, kFailed),
      "; errors start in catalog: 41 of its 510 inner requests on the canary failed, 0 of 900 on stable");
  EXPECT_EQ(where_errors_start({}, {}, kFailed), "");
  EXPECT_EQ(where_errors_start({}, {cart}, kFailed), "") << "the service at the edge is what fails";
}

TEST(FaultOrigin, NamesAllWhenNoneOfThemDependsOnAnother) {
  EXPECT_EQ(
      where_errors_start({}, {{"a", 100, 30, 9, 0, {}}, {"b", 100, 40, 9, 0, {}}}, kFailed),
      "; errors start in b: 40 of its 100 inner requests on the canary failed, 0 of 9 on stable, and in "
      "a: 30 of its 100 inner requests on the canary failed, 0 of 9 on stable");
}

TEST(FaultOrigin, SaysNothingOfWhatDoesNotExplainWhatUsersMet) {
  EXPECT_EQ(where_errors_start({}, {{"catalog", 500, 3, 900, 0, {}}}, kFailed), "") << "too few";
  EXPECT_EQ(where_errors_start({}, {{"catalog", 500, 50, 900, 60, {}}}, kFailed), "")
      << "so does the old one";
}

TEST(FaultOrigin, CountsFromTheFirstLookAtTheStep) {
  const std::vector<InnerAnswers> before{{"catalog", 500, 100, 900, 90, {}}};
  EXPECT_EQ(
      where_errors_start(before, {{"catalog", 600, 140, 1000, 90, {}}}, kFailed),
      "; errors start in catalog: 40 of its 100 inner requests on the canary failed, 0 of 100 on stable");
  EXPECT_EQ(where_errors_start(before, {{"catalog", 60, 50, 70, 0, {}}}, kFailed),
            "; errors start in catalog: 50 of its 60 inner requests on the canary failed, 0 of 70 on stable")
      << "after a reboot the counters are new";
}

}  // namespace
}  // namespace naru::control
