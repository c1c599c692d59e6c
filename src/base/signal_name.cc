#include "base/signal_name.h"

#include <charconv>
#include <csignal>
#include <cstring>
#include <optional>

namespace naru {
namespace {

std::optional<int> whole(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0 || text.starts_with('-'))
    return std::nullopt;
  return number;
}

// "RTMIN+3" counts on, "RTMAX-3" back.
std::optional<int> real_time(std::string_view name) {
  const bool up = name.starts_with("RTMIN");
  if (!up && !name.starts_with("RTMAX")) return std::nullopt;
  const std::string_view rest = name.substr(5);
  if (rest.empty()) return up ? SIGRTMIN : SIGRTMAX;
  const auto offset = rest[0] == (up ? '+' : '-') ? whole(rest.substr(1)) : std::nullopt;
  if (!offset || *offset > SIGRTMAX - SIGRTMIN) return std::nullopt;
  return up ? SIGRTMIN + *offset : SIGRTMAX - *offset;
}

}  // namespace

Result<int> parse_signal(std::string_view text) {
  if (const auto number = whole(text); number && *number > 0 && *number <= SIGRTMAX) return *number;
  std::string_view name = text;
  if (name.starts_with("SIG")) name.remove_prefix(3);
  for (int candidate = 1; candidate < SIGRTMIN; ++candidate)
    if (const char* known = ::sigabbrev_np(candidate); known != nullptr && name == known) return candidate;
  if (const auto number = real_time(name)) return *number;
  return fail(Code::invalid_argument, "'{}' is not a signal", text.substr(0, 40));
}

}  // namespace naru
