// What bounds a container: what the readers take is what the launcher takes.
#pragma once

#include <cstddef>

#include "base/clock.h"

namespace naru {

// A probe takes a place among all applications' probes while it runs.
inline constexpr milliseconds kMaxHealthTimeout{60'000};
// From the stop signal to SIGKILL.
inline constexpr milliseconds kMaxStopGrace{600'000};
inline constexpr std::size_t kMaxContainerMounts = 64;

}  // namespace naru
