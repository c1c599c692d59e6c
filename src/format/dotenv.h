// Reads `.env` and env files: KEY=value, `export KEY=value`, quotes, comments, and variables in values.
// Source: Compose Specification, "Env_file format". Pure.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "format/interpolation.h"

namespace naru::format {

inline constexpr std::size_t kMaxDotenvBytes = 1 << 20;

struct DotenvEntry {
  std::string key;
  std::optional<std::string> value;  // none: written without `=`, so taken from elsewhere
  std::uint32_t line = 0;
};

// In the file's order. Values see `lookup` first, then the keys above them. malformed as "FILE:LINE: ...",
// too_large.
Result<std::vector<DotenvEntry>> parse_dotenv(std::string_view text, std::string_view file_name,
                                              const VariableLookup& lookup);

}  // namespace naru::format
