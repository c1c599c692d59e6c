// What bounds a push.
#pragma once

#include <cstdint>

namespace naru {

// The most that `naru up --max-push-mb` takes.
inline constexpr std::uint32_t kMostPushMiB = 2000;

}  // namespace naru
