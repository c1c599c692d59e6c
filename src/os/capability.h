// Capability names and numbers (capabilities(7)); sets as bit masks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace naru::os {

using CapabilitySet = std::uint64_t;

// "NET_RAW", "CAP_NET_RAW" or "net_raw" to its number.
Result<int> capability_number(std::string_view name);
// The highest that this kernel knows.
int last_capability();

}  // namespace naru::os
