// ./dev sim --seed=N --steps=M | --mutate | --suite [--long]
#include <atomic>
#include <charconv>
#include <cstdio>
#include <mutex>
#include <thread>

#include "sim/world.h"

namespace naru::sim {
namespace {

constexpr std::uint64_t kSuiteSeeds = 300, kLongSeeds = 10'000, kMutantSeeds = 200;

struct Arguments {
  std::optional<std::uint64_t> seed;
  std::uint64_t steps = Options{}.steps, seeds = 0;
  std::size_t trace_lines = 60;
  bool mutate = false, suite = false, longer = false;
  std::string only;
};

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

void print_failure(std::uint64_t seed, const Failure& failure) {
  std::printf("\nseed %llu, step %llu: BROKEN: %s\n  %s\n", static_cast<unsigned long long>(seed),
              static_cast<unsigned long long>(failure.step), failure.invariant.c_str(),
              failure.detail.c_str());
  for (const std::string& line : failure.trace) std::printf("    %s\n", line.c_str());
  std::printf("  again: ./dev sim --seed=%llu\n", static_cast<unsigned long long>(seed));
}

// Deterministic: the trace is written the second time.
Failure traced(Options options, std::size_t lines) {
  options.trace_lines = lines;
  return simulate(options).failure.value_or(
      Failure{"the simulation is deterministic", "the second run did not fail", 0, {}});
}

bool run_one(const Arguments& arguments) {
  Options options{.seed = *arguments.seed, .steps = arguments.steps};
  const Report report = simulate(options);
  std::printf("seed %llu: %llu commands, %zu releases, %zu rollouts done, %zu rolled back\n",
              static_cast<unsigned long long>(options.seed), static_cast<unsigned long long>(report.commands),
              report.releases, report.done, report.rolled_back);
  if (report.failure) print_failure(options.seed, traced(options, arguments.trace_lines));
  return !report.failure;
}

// Calls `one` for 0, 1, ... below `count`, on every core, until it answers false.
void side_by_side(std::uint64_t count, const std::function<bool(std::uint64_t)>& one) {
  std::atomic<std::uint64_t> next{0};
  std::atomic<bool> go_on{true};
  std::vector<std::jthread> threads;
  for (unsigned i = 0; i < std::max(1U, std::thread::hardware_concurrency()); ++i)
    threads.emplace_back([&] {
      while (go_on) {
        const std::uint64_t index = next++;
        if (index >= count) return;
        if (!one(index)) go_on = false;
      }
    });
}

bool run_seeds(std::uint64_t seeds, const Arguments& arguments) {
  const std::uint64_t steps = arguments.steps;
  std::mutex mutex;
  Report sum;
  std::vector<std::uint64_t> broken;
  side_by_side(seeds, [&](std::uint64_t index) {
    const Report report = simulate({.seed = index + 1, .steps = steps});
    const std::lock_guard lock(mutex);
    sum.commands += report.commands;
    sum.releases += report.releases;
    sum.done += report.done;
    sum.rolled_back += report.rolled_back;
    if (report.failure) {
      const unsigned long long seed = index + 1;
      std::printf("seed %llu: %s: %.300s\n", seed, report.failure->invariant.c_str(),
                  report.failure->detail.c_str());
      broken.push_back(seed);
    }
    return broken.size() < 10;
  });
  std::ranges::sort(broken);
  if (!broken.empty())
    print_failure(broken.front(), traced({.seed = broken.front(), .steps = steps}, arguments.trace_lines));
  std::printf(
      "simulation: %llu seeds, %llu commands, %zu releases, %zu rollouts done, %zu rolled back, %zu broken\n",
      static_cast<unsigned long long>(seeds), static_cast<unsigned long long>(sum.commands), sum.releases,
      sum.done, sum.rolled_back, broken.size());
  return broken.empty();
}

bool catch_mutant(const Mutant& mutant, std::uint64_t steps) {
  std::mutex mutex;
  std::optional<std::pair<std::uint64_t, Failure>> caught;
  side_by_side(kMutantSeeds, [&](std::uint64_t index) {
    const Report report = simulate({.seed = index + 1, .steps = steps, .mutant = &mutant});
    if (!report.failure) return true;
    const std::lock_guard lock(mutex);
    if (!caught || index + 1 < caught->first) caught = {index + 1, *report.failure};
    return false;
  });
  if (caught)
    std::printf("mutant %-28s caught by '%s' (seed %llu, step %llu)\n", mutant.name.c_str(),
                caught->second.invariant.c_str(), static_cast<unsigned long long>(caught->first),
                static_cast<unsigned long long>(caught->second.step));
  else
    std::printf("mutant %-28s NOT CAUGHT in %llu seeds: %s\n", mutant.name.c_str(),
                static_cast<unsigned long long>(kMutantSeeds), mutant.what.c_str());
  return caught.has_value();
}

bool run_mutants(const Arguments& arguments) {
  std::size_t caught = 0, tried = 0;
  for (const Mutant& mutant : mutants()) {
    if (!arguments.only.empty() && mutant.name != arguments.only) continue;
    ++tried;
    caught += catch_mutant(mutant, arguments.steps) ? 1 : 0;
  }
  std::printf("mutants: %zu of %zu caught\n", caught, tried);
  return caught == tried && tried > 0;
}

std::optional<Arguments> parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const std::string_view value = word.substr(std::min(word.size(), word.find('=') + 1));
    if (word == "--suite")
      arguments.suite = true;
    else if (word == "--long")
      arguments.longer = true;
    else if (word == "--mutate")
      arguments.mutate = true;
    else if (word.starts_with("--mutate="))
      arguments.mutate = true, arguments.only = value;
    else if (word.starts_with("--seed=") && number(value))
      arguments.seed = number(value);
    else if (word.starts_with("--seeds=") && number(value))
      arguments.seeds = *number(value);
    else if (word.starts_with("--trace=") && number(value))
      arguments.trace_lines = *number(value);
    else if (word.starts_with("--steps=") && number(value))
      arguments.steps = *number(value);
    else
      return std::nullopt;
  }
  return arguments;
}

int run(const Arguments& arguments) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  if (arguments.seed) return run_one(arguments) ? 0 : 1;
  bool well = true;
  if (arguments.suite || !arguments.mutate || arguments.seeds != 0) {
    const std::uint64_t seeds = arguments.seeds != 0 ? arguments.seeds
                                : arguments.longer   ? kLongSeeds
                                                     : kSuiteSeeds;
    well = run_seeds(seeds, arguments);
  }
  if (arguments.suite || arguments.mutate) well = run_mutants(arguments) && well;
  return well ? 0 : 1;
}

}  // namespace
}  // namespace naru::sim

int main(int argc, char** argv) {
  const auto arguments = naru::sim::parse(argc, argv);
  if (arguments) return naru::sim::run(*arguments);
  std::fputs(
      "usage: sim [--seed=N] [--seeds=COUNT] [--steps=M] [--trace=LINES] [--mutate[=NAME]] [--suite "
      "[--long]]\n",
      stderr);
  return 2;
}
