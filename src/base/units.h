// Types that carry their unit.
#pragma once

#include <compare>
#include <cstdint>

namespace naru {

// 1/100 of a percent: 10,000 is everything.
struct BasisPoints {
  std::uint32_t value = 0;
  static constexpr BasisPoints percent(std::uint32_t p) { return {p * 100}; }
  constexpr double fraction() const { return value / 10000.0; }
  friend constexpr auto operator<=>(BasisPoints, BasisPoints) = default;
};
inline constexpr BasisPoints kEverybody{10000};

}  // namespace naru
