#include "judge/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace naru::judge {
namespace {

TEST(Statistics, TheGridsWeightsAddUpToOne) {
  double sum = 0;
  for (const GridPoint& point : odds_grid()) sum += point.weight;
  EXPECT_NEAR(sum, 1, 1e-12);
}

TEST(Statistics, ALikelihoodRatioIsFairUnderTheNullAndLosesBelowIt) {
  for (const double share : {0.001, 0.05, 0.5, 0.95})
    for (const GridPoint& point : odds_grid()) {
      const LogRatio ratio = log_ratio(share, 1.25 * point.multiple, 1.25);
      const auto expected = [&](double p) {
        return p * std::exp(ratio.canary) + (1 - p) * std::exp(ratio.stable);
      };
      EXPECT_NEAR(expected(canary_probability(share, 1.25)), 1, 1e-9);
      EXPECT_LT(expected(canary_probability(share, 1.0)), 1);
      EXPECT_LT(expected(canary_probability(share, 0.1)), 1);
    }
}

TEST(Statistics, ALargerShareLowersBothFactorsOfALikelihoodRatio) {
  for (const GridPoint& point : odds_grid())
    for (double share = 0.05; share < 0.9; share += 0.05) {
      const LogRatio less = log_ratio(share, 1.25 * point.multiple, 1.25),
                     more = log_ratio(share + 0.05, 1.25 * point.multiple, 1.25);
      EXPECT_LT(more.canary, less.canary);
      EXPECT_LT(more.stable, less.stable);
    }
}

double choose(int n, int k) {
  return std::exp(std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1));
}

TEST(Statistics, TheExactTailIsThatOfTheNoncentralHypergeometricDistribution) {
  const int canary = 12, stable = 30, bad = 9;
  for (const double odds : {1.0, 1.25, 4.0}) {
    double total = 0;
    for (int x = 0; x <= bad; ++x) total += choose(canary, x) * choose(stable, bad - x) * std::pow(odds, x);
    for (int k = 0; k <= bad; ++k) {
      double tail = 0;
      for (int x = k; x <= bad; ++x) tail += choose(canary, x) * choose(stable, bad - x) * std::pow(odds, x);
      EXPECT_NEAR(exact_upper_tail(12, 30, static_cast<unsigned>(k), static_cast<unsigned>(bad - k), odds),
                  tail / total, 1e-9)
          << k;
    }
  }
}

TEST(Statistics, TheExactTailStandsExtremes) {
  EXPECT_EQ(exact_upper_tail(0, 0, 0, 0, 1.25), 1);
  EXPECT_EQ(exact_upper_tail(10, 10, 10, 10, 1.25), 1);
  EXPECT_EQ(exact_upper_tail(10, 0, 5, 0, 1.25), 1);
  EXPECT_NEAR(exact_upper_tail(3, 57, 3, 0, 1), 1 / choose(60, 3), 1e-12);
  EXPECT_LT(exact_upper_tail(1'000'000, 1'000'000, 90'000, 10'000, 1.25), 1e-100);
  EXPECT_NEAR(exact_upper_tail(1'000'000, 1'000'000, 10'000, 90'000, 1.25), 1, 1e-12);
}

TEST(Statistics, TheBinomialTailAgreesWithItsSum) {
  for (unsigned k = 0; k <= 10; ++k) {
    double tail = 0;
    for (int x = static_cast<int>(k); x <= 10; ++x)
      tail += choose(10, x) * std::pow(0.3, x) * std::pow(0.7, 10 - x);
    EXPECT_NEAR(binomial_upper_tail(10, k, 0.3), tail, 1e-9);
  }
  EXPECT_EQ(binomial_upper_tail(5, 6, 0.5), 0);
  EXPECT_EQ(binomial_upper_tail(5, 1, 0), 0);
  EXPECT_EQ(binomial_upper_tail(5, 1, 1), 1);
}

TEST(Statistics, TheRateIntervalHoldsTheEstimateAndNarrows) {
  EXPECT_EQ(rate_interval(0, 0, 0.05).high, 1);
  double width = 1;
  for (const std::uint64_t n : {10, 100, 1000, 10'000}) {
    const Interval interval = rate_interval(n / 10, n, 0.05);
    EXPECT_LT(interval.low, 0.1);
    EXPECT_GT(interval.high, 0.1);
    EXPECT_LT(interval.high - interval.low, width);
    width = interval.high - interval.low;
  }
  EXPECT_EQ(rate_interval(0, 100, 0.05).low, 0);
  EXPECT_EQ(rate_interval(100, 100, 0.05).high, 1);
  EXPECT_LT(rate_interval(0, 700, 0.05).high, 0.01);
}

}  // namespace
}  // namespace naru::judge
