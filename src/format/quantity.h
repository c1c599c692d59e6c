// Durations, sizes and shares as compose files write them. Source: Compose Specification, 11-extension
// ("Specifying durations", "Specifying byte values"). Every function refuses trailing text, negative values
// and overflow.
#pragma once

#include <optional>
#include <string_view>

#include "base/clock.h"
#include "base/units.h"

namespace naru::format {

// "1m30s", "500ms", "2h", "1d", "1.5s", "0"; units d h m s ms us ns; at most 100 days. Below a millisecond
// rounds up.
std::optional<milliseconds> parse_duration(std::string_view text);

// "512m", "1.5gb", "64KiB", "1024"; b k kb kib m mb mib g gb gib t tb tib, of 1,024; at most 2^53.
std::optional<std::uint64_t> parse_bytes(std::string_view text);

// "5%", "0.5%", or without the sign a percentage as well ("5"); 0 to 100%.
std::optional<BasisPoints> parse_percentage(std::string_view text);

}  // namespace naru::format
