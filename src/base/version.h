// The version of this program: the build reads it from here, too (CMakeLists.txt).
#pragma once

#include <string_view>

namespace naru {

inline constexpr std::string_view kVersion = "0.1.0";

}  // namespace naru
