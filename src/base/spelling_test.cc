#include "base/spelling.h"

#include <gtest/gtest.h>

namespace naru {
namespace {

TEST(Spelling, FindsTheWordOfOneSlipOrOneSwap) {
  EXPECT_EQ(nearest("RNU", {"FROM", "RUN", "ENV"}), "RUN");
  EXPECT_EQ(nearest("stauts", {"start", "status", "stop"}), "status");
  EXPECT_EQ(nearest("enviroment", {"entrypoint", "environment"}), "environment");
}

TEST(Spelling, SaysNothingOfWordsThatAreFar) {
  EXPECT_EQ(nearest("kubernetes", {"status", "stop"}), "");
  EXPECT_EQ(nearest("x", {"y"}), "");
  EXPECT_EQ(did_you_mean(std::string(65, 'a'), {std::string_view("a")}), "");
}

TEST(Spelling, IsAHint) {
  EXPECT_EQ(did_you_mean("buidl", {"build"}), "did you mean \"build\"?");
}

}  // namespace
}  // namespace naru
