// From evidence to a verdict: roll back, pass, or wait, and how that is said.
#pragma once

#include "judge/judge.h"

namespace naru::judge {

// `evidence` holds errors and latency, of `state.last`; crashes are added here.
Verdict decide(const RolloutPolicy& policy, const State& state, std::vector<Evidence> evidence,
               std::string_view target);

}  // namespace naru::judge
