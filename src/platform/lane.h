// Which actions of the outbox may be carried out at the same time.
#pragma once

#include "model/state.h"

namespace naru::platform {

// Actions of one lane are carried out one after another, in the order of their ids: a container is removed
// before its successor starts, and route tables are sent in order. Actions of different lanes may overlap.
std::string lane_of(const Action& action);

}  // namespace naru::platform
