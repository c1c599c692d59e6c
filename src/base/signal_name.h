// Names of signals, as signal(7) has them.
#pragma once

#include <string_view>

#include "base/result.h"

namespace naru {

// "SIGTERM", "TERM", "15", "RTMIN", "RTMIN+3", "RTMAX-2" to its number; invalid_argument when there is none
// such.
Result<int> parse_signal(std::string_view text);

}  // namespace naru
