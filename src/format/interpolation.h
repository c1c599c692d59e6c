// Puts variables into text: $VAR, ${VAR}, ${VAR:-default}, ${VAR-default}, ${VAR:?error}, ${VAR?error},
// ${VAR:+other},
// ${VAR+other}, and $$ for a dollar sign; defaults may contain variables again. Source: Compose
// Specification, 12-interpolation. Pure; depth and size are bounded.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace naru::format {

inline constexpr std::size_t kMaxInterpolatedBytes = 1 << 20;

using VariableLookup = std::function<std::optional<std::string>(std::string_view name)>;

struct RequiredVariable {
  std::string name, message;
};

struct Interpolated {
  std::string text;
  std::vector<std::string> unset;            // used without a default and not set: empty text stands there
  std::vector<RequiredVariable> required{};  // `:?` and `?` that were not met
};

// malformed for a `$` that starts nothing known; too_large beyond kMaxInterpolatedBytes.
Result<Interpolated> interpolate(std::string_view text, const VariableLookup& lookup);

}  // namespace naru::format
