// Which rows of an application may be forgotten. Pure; the command Housekeep emits the answer as an event.
//
// Kept are: the newest versions, with their release in every environment; whatever an environment runs, waits
// for or goes back to (`naru rollback` works as before), what a rollout under way or an instance names; the
// pipelines that made them, those that have not ended, the newest ones, and the newest push (the branch
// stands on it: forgotten, it would be built again at the next start); of ended rollouts the newest whose
// releases are kept. What is kept names only what is kept: versions stay and go whole.
#pragma once

#include "model/event.h"

namespace naru::platform {

inline constexpr std::size_t kMaxForgotten = 200;  // of each kind at once: the rest goes the next time
inline constexpr std::size_t kRolloutsKept = 50;   // of an environment

// `keep_releases` is at least 1.
event::HistoryRemoved forgettable(const State& state, const std::string& app, std::size_t keep_releases,
                                  std::size_t at_most = kMaxForgotten);

}  // namespace naru::platform
