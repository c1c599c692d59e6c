// All deciders together: one command in, one transaction of events out. Pure; the control process and the
// simulation call this same function.
#pragma once

#include "model/changes.h"
#include "model/command.h"

namespace naru::platform {

// Decides on a command, then lets every decider do what the new state asks for. An error means that the
// command was refused: nothing was emitted.
Result<void> decide(Changes& changes, const Command& command);

inline constexpr int kMaxPasses = 64;  // a bug if it takes more: asserted

}  // namespace naru::platform
