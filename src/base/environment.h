// Variables of the process's environment.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>

namespace naru {

// Any thread.
inline std::optional<std::string> environment_variable(const char* name) {
  // getenv is safe beside itself, and nothing in Naru changes its own environment.
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  if (value == nullptr) return std::nullopt;
  return value;
}

}  // namespace naru
