// One simulated world from a seed: developers push, users come, people interfere, things break; then
// everything is left alone, and must come to rest.
#pragma once

#include <deque>
#include <optional>

#include "sim/invariants.h"

namespace naru::sim {

struct Options {
  std::uint64_t seed = 1;
  std::uint64_t steps = 1'200;  // commands, before the world is left alone
  const Mutant* mutant = nullptr;
  std::size_t trace_lines = 0;  // kept for a failure
};

struct Failure {
  std::string invariant, detail;
  std::uint64_t step = 0;
  std::vector<std::string> trace;  // the last lines; Options::trace_lines of them
};

struct Report {
  std::uint64_t commands = 0;
  std::size_t releases = 0, done = 0, rolled_back = 0;
  std::optional<Failure> failure;
};

Report simulate(const Options& options);

}  // namespace naru::sim
