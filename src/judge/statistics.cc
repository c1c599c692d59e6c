#include "judge/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace naru::judge {
namespace {

constexpr std::array<GridPoint, 9> kGrid{{{1.2, 0.08},
                                          {1.5, 0.10},
                                          {2, 0.12},
                                          {3, 0.12},
                                          {5, 0.12},
                                          {10, 0.10},
                                          {30, 0.08},
                                          {150, 0.06},
                                          {2000, 0.22}}};
// Bounds the work of one exact test; with fewer than 10^9 users it is not reached.
constexpr int kMaxTerms = 2'000'000;

// std::lgamma writes the sign of gamma, which is always positive here, into a variable of all threads.
double log_gamma(double x) {
  int sign = 0;
  return ::lgamma_r(x, &sign);
}

double log_binomial_coefficient(double n, double k) {
  return log_gamma(n + 1) - log_gamma(k + 1) - log_gamma(n - k + 1);
}

}  // namespace

std::span<const GridPoint> odds_grid() {
  return kGrid;
}

double canary_probability(double share, double odds) {
  return odds * share / (1 - share + odds * share);
}

LogRatio log_ratio(double share, double odds, double null_odds) {
  const double denominator = std::log1p((null_odds - 1) * share) - std::log1p((odds - 1) * share);
  return {std::log(odds / null_odds) + denominator, denominator};
}

double log_mixture(std::span<const double> log_ratios) {
  const double top = *std::max_element(log_ratios.begin(), log_ratios.end());
  double sum = 0;
  for (std::size_t i = 0; i < log_ratios.size(); ++i) sum += kGrid[i].weight * std::exp(log_ratios[i] - top);
  return top + std::log(sum);
}

double exact_upper_tail(std::uint64_t canary, std::uint64_t stable, std::uint64_t bad_canary,
                        std::uint64_t bad_stable, double odds) {
  const double c = static_cast<double>(canary), s = static_cast<double>(stable);
  const double bad = static_cast<double>(bad_canary) + static_cast<double>(bad_stable);
  const double low = std::max(0.0, bad - s), high = std::min(bad, c), k = static_cast<double>(bad_canary);
  if (k <= low) return 1;
  // The tail is summed relative to its first term, the rest downwards from it: no factor overflows before the
  // sum says that the tail is negligible.
  double tail = 1, term = 1;
  for (double x = k; x < high && tail < 1e280; ++x) {
    term *= odds * (c - x) * (bad - x) / ((x + 1) * (s - bad + x + 1));
    tail += term;
    if (term < tail * 1e-17 || x - k > kMaxTerms) break;
  }
  double rest = 0;
  term = 1;
  for (double x = k; x > low && rest < 1e280; --x) {
    term *= x * (s - bad + x) / (odds * (c - x + 1) * (bad - x + 1));
    rest += term;
    if (term < rest * 1e-17 || k - x > kMaxTerms) break;
  }
  return tail / (tail + rest);
}

double binomial_upper_tail(std::uint64_t n, std::uint64_t k, double p) {
  if (k == 0 || p >= 1) return 1;
  if (k > n || p <= 0) return 0;
  const double trials = static_cast<double>(n), first = static_cast<double>(k);
  double tail = 1, term = 1;
  for (double x = first; x < trials; ++x) {
    term *= (trials - x) / (x + 1) * p / (1 - p);
    tail += term;
    if (term < tail * 1e-17 || tail > 1e280) break;
  }
  const double log_first =
      log_binomial_coefficient(trials, first) + first * std::log(p) + (trials - first) * std::log1p(-p);
  return std::min(1.0, std::exp(log_first + std::log(tail)));
}

Interval rate_interval(std::uint64_t successes, std::uint64_t trials, double alpha) {
  if (trials == 0) return {0, 1};
  const double n = static_cast<double>(trials), k = static_cast<double>(successes);
  // log of Beta(k + 1/2, n - k + 1/2) / Beta(1/2, 1/2): what the mixture has earned.
  const double earned = log_gamma(k + 0.5) + log_gamma(n - k + 0.5) - log_gamma(n + 1) - std::log(M_PI);
  const double limit = earned - std::log(1 / alpha);
  const auto rejected = [&](double q) {
    const double likelihood = (k > 0 ? k * std::log(q) : 0) + (k < n ? (n - k) * std::log1p(-q) : 0);
    return likelihood <= limit;
  };
  const auto edge = [&](double outside, double inside) {
    if (!rejected(outside)) return outside;
    for (int i = 0; i < 40; ++i) {
      const double middle = (outside + inside) / 2;
      (rejected(middle) ? outside : inside) = middle;
    }
    return outside;
  };
  const double best = k / n;
  return {k == 0 ? 0.0 : edge(0, best), k == n ? 1.0 : edge(1, best)};
}

}  // namespace naru::judge
