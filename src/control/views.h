// The state as people see it: the shapes of docs/api.md. Pure functions of State and of what was measured.
#pragma once

#include <map>
#include <string>

#include "control/addresses.h"
#include "ipc/launcher_client.h"
#include "model/event.h"
#include "model/state.h"

namespace naru::control {

// What is not in the state.
struct Surroundings {
  std::uint16_t gateway_port = 8080;
  std::map<std::string, std::string> listener_errors;  // by the listener's name: why it could not be opened
  std::map<std::string, ipc::ContainerStats> usage;    // container -> what it uses
  WallTime now{};                                      // for what is overdue
};

Json app_summary(const State& state, const App& app, const Surroundings& around);
Json status_view(const State& state, const Environment& environment, const Surroundings& around);
Json instance_view(const State& state, const Instance& instance, const Surroundings& around);
Json rollout_view(const State& state, const Rollout& rollout, const Surroundings& around);
Json pipeline_view(const State& state, const Pipeline& pipeline);
Json release_view(const State& state, const Release& release);

// The newest of the environment, or null.
const Rollout* newest_rollout(const State& state, const Environment& environment);
const Pipeline* newest_pipeline(const State& state, const std::string& app);

// One sentence: where the environment stands and what a person may do.
std::string status_message(const State& state, const Environment& environment, const Surroundings& around);

// "stable", "canary", "both" or "old": whom a revision of a service serves.
std::string_view side_of(const State& state, const Environment& environment, const std::string& service,
                         std::string_view revision);

// An event as it may leave the house: no values of variables, specifications only by name, `secrets` masked
// wherever they stand.
Json public_event(Json event, const std::vector<std::string>& secrets);

}  // namespace naru::control
