// naru-bench-judge [--json] [--long | --quick]: how many requests fail until the judge rolls a bad canary
// back, beside two tests that are told the true failure rates; and how often it rolls an equally good release
// back. Simulated traffic, seeded: the figures are the same on every machine.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstring>

#include "judge/metric.h"
#include "judge/simulated_traffic.h"
#include "judge/statistics.h"

using namespace naru;  // NOLINT(google-build-using-namespace): a program of one file

namespace {

constexpr double kStableFailure = 0.001;
constexpr double kRequestsPerSecond = 100;
constexpr milliseconds kLimit{1'800'000};

double kl(double p, double q) {
  const auto part = [](double a, double b) { return a <= 0 ? 0.0 : a * std::log(a / b); };
  return part(p, q) + part(1 - p, 1 - q);
}

// Wald's sequential probability ratio test (1945) of the true rates against the null, as a sum over users.
struct Wald {
  double bad_canary = 0, bad_stable = 0, good_canary = 0, good_stable = 0;

  // Sees bad users only, as the martingale does; it is told the true odds.
  static Wald of_bad_users(double canary, double stable, double share, double null_odds) {
    const double q1 = share * canary / (share * canary + (1 - share) * stable),
                 q0 = judge::canary_probability(share, null_odds);
    return {std::log(q1 / q0), std::log(std::max(1 - q1, 1e-12) / (1 - q0)), 0, 0};
  }

  // Sees every user, and is told both rates: against the null that is hardest to tell from the truth.
  static Wald of_all_users(double canary, double stable, double share, double null_odds) {
    double best = 1e300, null_canary = 0, null_stable = 0;
    for (double log_p = std::log(1e-6); log_p < std::log(0.999); log_p += 1e-3) {
      const double p = std::exp(log_p), q = judge::canary_probability(p, null_odds);
      const double distance = share * kl(canary, q) + (1 - share) * kl(stable, p);
      if (distance < best) best = distance, null_canary = q, null_stable = p;
    }
    const auto ratio = [](double a, double b) { return std::log(std::max(a, 1e-12) / b); };
    return {ratio(canary, null_canary), ratio(stable, null_stable), ratio(1 - canary, 1 - null_canary),
            ratio(1 - stable, 1 - null_stable)};
  }

  bool rejects(const judge::Observation& now, double alpha) const;
};

bool Wald::rejects(const judge::Observation& now, double alpha) const {
  const auto bad_c = static_cast<double>(now.canary.users_bad),
             bad_s = static_cast<double>(now.stable.users_bad);
  const double sum = bad_c * bad_canary + bad_s * bad_stable +
                     (static_cast<double>(now.canary.users_seen) - bad_c) * good_canary +
                     (static_cast<double>(now.stable.users_seen) - bad_s) * good_stable;
  return sum >= std::log(1 / alpha);
}

// Canary requests failed and seconds gone when a test rolled back: one sample a run.
struct Stops {
  std::vector<double> failed, seconds;
  int missed = 0;
  void add(const judge::Observation& now) {
    failed.push_back(static_cast<double>(now.canary.failed));
    seconds.push_back(static_cast<double>(now.in_step.count()) / 1000);
  }
  static double mean(const std::vector<double>& all) {
    double sum = 0;
    for (const double one : all) sum += one;
    return all.empty() ? 0 : sum / static_cast<double>(all.size());
  }
  double mean_failed() const { return mean(failed); }
  double mean_seconds() const { return mean(seconds); }
  double quantile_failed(double q) const {
    if (failed.empty()) return 0;
    std::vector<double> sorted = failed;
    std::sort(sorted.begin(), sorted.end());
    return sorted[std::min(sorted.size() - 1,
                           static_cast<std::size_t>(q * static_cast<double>(sorted.size())))];
  }
};

struct Row {
  double share, rate;
  int runs;
  Stops naru, bad_only, all;
  double ratio() const { return naru.mean_failed() / bad_only.mean_failed(); }
  double ratio_all() const { return naru.mean_failed() / all.mean_failed(); }
};

Row measure(double share, double rate, double stable, int runs) {
  Row row{share, rate, runs, {}, {}, {}};
  RolloutPolicy policy;
  policy.steps[0] = {BasisPoints{static_cast<std::uint32_t>(share * 10'000)}, kLimit, 50};
  for (CanaryStep& step : policy.steps) step.weight = std::max(step.weight, policy.steps[0].weight);
  const double null_odds = 1 + policy.error_margin;
  const Wald bad_only = Wald::of_bad_users(rate, stable, share, null_odds),
             all = Wald::of_all_users(rate, stable, share, null_odds);
  for (int run = 0; run < runs; ++run) {
    judge::SimulatedTraffic traffic(
        {.requests_per_second = kRequestsPerSecond, .canary_failure = rate, .stable_failure = stable},
        static_cast<std::uint64_t>(run));
    judge::State state;
    std::array<bool, 3> done{};
    for (milliseconds spent{0}; spent < kLimit && !(done[0] && done[1] && done[2]);
         spent += milliseconds{100}) {
      const judge::Observation& now = traffic.tick(0, policy.steps[0].weight);
      const auto stop = [&](int which, Stops& stops, bool rejected) {
        if (done[static_cast<std::size_t>(which)] || !rejected) return;
        done[static_cast<std::size_t>(which)] = true;
        stops.add(now);
      };
      if (!done[0])
        stop(0, row.naru,
             judge::step(policy, state, now, "bench").value().kind == judge::VerdictKind::roll_back);
      stop(1, row.bad_only, bad_only.rejects(now, policy.alpha));
      stop(2, row.all, all.rejects(now, policy.alpha));
    }
    row.naru.missed += !done[0];
    row.bad_only.missed += !done[1];
    row.all.missed += !done[2];
  }
  return row;
}

struct Alarm {
  const char* name;
  int runs, alarms;
  double alpha;
  double over_alpha() const { return static_cast<double>(alarms) / runs / alpha; }
};

// Equally good releases; a margin of almost nothing, so that the bound has no help from it.
Alarm false_alarms(const char* name, const judge::Traffic& traffic, double alpha, int runs) {
  RolloutPolicy policy;
  policy.alpha = alpha;
  policy.error_margin = policy.latency_margin = 0.001;
  Alarm alarm{name, runs, 0, alpha};
  for (int run = 0; run < runs; ++run)
    alarm.alarms +=
        judge::run_rollout(policy, traffic, static_cast<std::uint64_t>(run), milliseconds{500}).rolled_back();
  return alarm;
}

// As often as the question asks for: --quick shows only that it works.
struct Runs {
  int of_bad_releases = 200, of_good_releases = 1'000;
  double alpha = 0.05;  // of the good ones: so that there are alarms to count
};

std::vector<Alarm> all_false_alarms(const Runs& wanted) {
  const double alpha = wanted.alpha;
  const int runs = wanted.of_good_releases;
  const auto bad = [](judge::Traffic traffic, double failure) {
    traffic.canary_failure = traffic.stable_failure = failure;
    return traffic;
  };
  return {
      false_alarms("every request a new user, 5% bad",
                   bad({.requests_per_second = 20, .canary_slow = 0.05, .stable_slow = 0.05}, 0.05), alpha,
                   runs),
      false_alarms("60 users who retry three times",
                   bad({.requests_per_second = 20, .users = 60, .retries = 3}, 0.02), alpha, runs),
      false_alarms("a bot that fails 20 times in a row",
                   bad({.requests_per_second = 20, .users = 300, .retries = 3, .bots = 1}, 0.002), alpha,
                   runs),
      false_alarms(
          "outages of both sides",
          bad({.requests_per_second = 20, .users = 2000, .retries = 3, .bots = 2, .outages_per_minute = 2},
              0.001),
          alpha, runs),
      false_alarms("crashes of both sides",
                   {.requests_per_second = 5, .canary_crashes_per_minute = 3, .stable_crashes_per_minute = 3},
                   alpha, runs),
  };
}

Json figure(const char* name, const char* unit, double naru, double peer, double ratio, int n) {
  return {{"name", name}, {"unit", unit}, {"naru", naru}, {"peer", peer}, {"ratio", ratio}, {"n", n}};
}

void print_table(const Row& dead, const std::vector<Row>& rows, const std::vector<Alarm>& alarms) {
  fmt::print(
      "Failed canary requests (seconds) until rollback, means. {} requests/s, each of a new user; stable "
      "fails {}%;\n"
      "alpha 0.001 over all metrics and steps for Naru, all of it on this one test for Wald; 10 looks a "
      "second.\n\n",
      kRequestsPerSecond, kStableFailure * 100);
  fmt::print("{:>6} {:>8} {:>5} | {:>16} {:>5} | {:>16} {:>6} | {:>16} {:>6}\n", "share", "failing", "runs",
             "naru", "p99", "Wald, bad users", "ratio", "Wald, all users", "ratio");
  const auto print = [](const Row& row) {
    fmt::print(
        "{:>5g}% {:>7g}% {:>5} | {:>6.1f} ({:>6.1f}s) {:>5.0f} | {:>6.1f} ({:>6.1f}s) {:>6.2f} | {:>6.1f} "
        "({:>6.1f}s) {:>6.2f}{}\n",
        row.share * 100, row.rate * 100, row.runs, row.naru.mean_failed(), row.naru.mean_seconds(),
        row.naru.quantile_failed(0.99), row.bad_only.mean_failed(), row.bad_only.mean_seconds(), row.ratio(),
        row.all.mean_failed(), row.all.mean_seconds(), row.ratio_all(),
        row.naru.missed > 0 ? fmt::format("  ({} never)", row.naru.missed) : "");
  };
  print(dead);
  for (const Row& row : rows) print(row);
  fmt::print(
      "\nWald is told the true rates; Naru knows nothing of them. The first line: stable never fails.\n\n");
  fmt::print("{:<40} {:>7} {:>7} {:>9} {:>12}\n", "equally good releases", "runs", "alarms", "alpha",
             "rate / alpha");
  for (const Alarm& alarm : alarms)
    fmt::print("{:<40} {:>7} {:>7} {:>9} {:>12.2f}\n", alarm.name, alarm.runs, alarm.alarms, alarm.alpha,
               alarm.over_alpha());
}

}  // namespace

int main(int argc, char** argv) {
  bool json = false;
  Runs wanted;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--json") == 0)
      json = true;
    else if (std::strcmp(argv[i], "--long") == 0)
      wanted = {2'000, 20'000, 0.01};
    else if (std::strcmp(argv[i], "--quick") == 0)
      wanted = {10, 20, 0.05};
    else
      return fmt::print(stderr, "usage: naru-bench-judge [--json] [--long | --quick]\n"), 2;
  }
  const int runs = wanted.of_bad_releases;
  const Row dead = measure(0.05, 1, 0, 5 * runs);
  std::vector<Row> rows;
  for (const double share : {0.05, 0.25, 0.5})
    for (const double rate : {1.0, 0.5, 0.1, 0.05, 0.02, 0.01})
      rows.push_back(measure(share, rate, kStableFailure, runs));
  const std::vector<Alarm> alarms = all_false_alarms(wanted);

  if (!json) {
    print_table(dead, rows, alarms);
    return 0;
  }
  const auto worst = [&](auto ratio) {
    return *std::max_element(rows.begin(), rows.end(),
                             [&](const Row& a, const Row& b) { return ratio(a) < ratio(b); });
  };
  const Row bad_only = worst([](const Row& row) { return row.ratio(); }),
            all = worst([](const Row& row) { return row.ratio_all(); });
  const Alarm alarm = *std::max_element(alarms.begin(), alarms.end(), [](const Alarm& a, const Alarm& b) {
    return a.over_alpha() < b.over_alpha();
  });
  Json figures = Json::array();
  figures.push_back(figure("dead_canary_failed_requests", "requests", dead.naru.mean_failed(),
                           dead.bad_only.mean_failed(), dead.ratio(), dead.runs));
  figures.push_back(figure("dead_canary_failed_requests_p99", "requests", dead.naru.quantile_failed(0.99),
                           dead.bad_only.quantile_failed(0.99),
                           dead.naru.quantile_failed(0.99) / dead.bad_only.quantile_failed(0.99), dead.runs));
  figures.push_back(figure("worst_sample_vs_wald", "requests", bad_only.naru.mean_failed(),
                           bad_only.bad_only.mean_failed(), bad_only.ratio(), bad_only.runs));
  figures.push_back(figure("worst_sample_vs_wald_all_users", "requests", all.naru.mean_failed(),
                           all.all.mean_failed(), all.ratio_all(), all.runs));
  figures.push_back(
      figure("false_alarm_rate_over_alpha", "ratio", alarm.over_alpha(), 1, alarm.over_alpha(), alarm.runs));
  fmt::print("{}\n", figures.dump(2));
  return 0;
}
