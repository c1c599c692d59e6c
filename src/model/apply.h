// The one function that changes State. Pure: the same in the product and in the simulation.
#pragma once

#include <set>
#include <string>
#include <utility>

#include "model/event.h"

namespace naru {

// Rows that an event changed, added or removed: (kind, key). The store writes exactly these.
using Touched = std::set<std::pair<std::string, std::string>>;

// `at` is when it happened. An event that does not fit the state is a bug of ours: asserted.
void apply(State& state, const Event& event, WallTime at, Touched& touched);

// One row as JSON by (kind, key): null when it does not exist. Kinds: counters, app, environment, pipeline,
// release, rollout, instance, slot, action.
Json row_of(const State& state, const std::string& kind, const std::string& key);
// The opposite, for loading.
void load_row(State& state, const std::string& kind, const std::string& key, const Json& row);

}  // namespace naru
