// A promise that was broken. It leaves the simulation as an exception, out of whatever was happening.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace naru::sim {

struct Violation : std::runtime_error {
  Violation(std::string name, const std::string& detail)
      : std::runtime_error(detail), invariant(std::move(name)) {}
  std::string invariant;
};

template <class... Args>
[[noreturn]] void violated(std::string invariant, fmt::format_string<Args...> format, Args&&... args) {
  throw Violation(std::move(invariant), fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace naru::sim
