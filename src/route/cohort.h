// Which users meet the new release: a keyed hash of who they are, sticky, and monotone in the weight.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/units.h"

namespace naru::route {

// Names a user, unless the application has a cookie or header of its own for that; 32 hex digits.
inline constexpr std::string_view kUserCookie = "naru_user";

enum class Side : std::uint8_t { stable = 0, canary = 1 };
constexpr std::string_view side_name(Side side) {
  return side == Side::canary ? "canary" : "stable";
}

// SipHash-2-4 (Aumasson & Bernstein 2012).
std::uint64_t siphash24(std::uint64_t k0, std::uint64_t k1, std::string_view bytes);

class CohortHash {
 public:
  explicit CohortHash(std::string_view salt);
  std::uint64_t operator()(std::string_view user) const { return siphash24(k0_, k1_, user); }

  // 0..9,999, from the high half of the hash.
  static std::uint32_t permyriad(std::uint64_t hash) {
    return static_cast<std::uint32_t>(((hash >> 32) * 10'000) >> 32);
  }
  // A fine bucket for "seen once" evidence, from the low half, hence independent of the side.
  static std::uint32_t user_bucket(std::uint64_t hash) { return static_cast<std::uint32_t>(hash); }
  // Canary exactly when permyriad < weight: who is in at 5% is in at 25%.
  static Side side(std::uint64_t hash, BasisPoints weight) {
    return permyriad(hash) < weight.value ? Side::canary : Side::stable;
  }

 private:
  std::uint64_t k0_ = 0, k1_ = 0;
};

}  // namespace naru::route
