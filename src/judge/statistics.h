// The arithmetic of the judge, each piece on its own (docs/judge.md derives them). Log space throughout.
#pragma once

#include <cstdint>
#include <span>

namespace naru::judge {

// Odds ratios that the mixture bets on, as multiples of the null's largest harmless odds ratio, with their
// weights (sum 1). The top one stands for a canary that fails everybody: with 5% of the users it must reach
// the threshold within four bad users, which needs a weight of at least 0.13.
struct GridPoint {
  double multiple;
  double weight;
};
std::span<const GridPoint> odds_grid();

// The probability that a bad user is the canary's when its odds are `odds` times stable's and its share is
// `share`.
double canary_probability(double share, double odds);

// log of the likelihood ratio of one new bad user on each side: odds ratio `odds` against `null_odds`.
struct LogRatio {
  double canary, stable;
};
LogRatio log_ratio(double share, double odds, double null_odds);

// log of sum(weights * exp(log_ratios)); sizes as odds_grid().
double log_mixture(std::span<const double> log_ratios);

// P(X >= bad_canary) for Fisher's noncentral hypergeometric distribution: of `bad_canary + bad_stable` bad
// users among `canary + stable` seen, with odds ratio `odds` (Fog 2008; Fisher's exact test at odds 1). Needs
// bad <= seen.
double exact_upper_tail(std::uint64_t canary, std::uint64_t stable, std::uint64_t bad_canary,
                        std::uint64_t bad_stable, double odds);

// P(X >= k) for X ~ Binomial(n, p).
double binomial_upper_tail(std::uint64_t n, std::uint64_t k, double p);

// Where a Bernoulli rate lies, at every moment at once with probability 1 - alpha: the rates that Robbins'
// Beta(1/2, 1/2) mixture has not rejected (Robbins 1970; Howard & Ramdas 2021, section 3).
struct Interval {
  double low, high;
};
Interval rate_interval(std::uint64_t successes, std::uint64_t trials, double alpha);

}  // namespace naru::judge
