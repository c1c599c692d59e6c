// What bounds health checks: a probe takes a place among all applications' probes while it runs.
#pragma once

#include "base/clock.h"

namespace naru {

inline constexpr milliseconds kMaxHealthTimeout{60'000};

}  // namespace naru
