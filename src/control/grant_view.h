// What the operator allows an application, and who uses it, for the API.
#pragma once

#include <set>
#include <string>

#include "model/grant.h"
#include "model/state.h"

namespace naru::control {

// [{grant, by, at, used_by: ["production/web"]}]; used_by: services with a container that runs or is about
// to.
std::set<std::string> users_of(const State& state, const std::string& app, const Grant& grant);
Json grants_view(const State& state, const App& app);

}  // namespace naru::control
