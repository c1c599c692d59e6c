#include "base/clock.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace naru {

std::string to_rfc3339(WallTime time) {
  const auto whole = std::chrono::floor<seconds>(time);
  const std::time_t when = std::chrono::system_clock::to_time_t(whole);
  std::tm parts{};
  gmtime_r(&when, &parts);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", parts, (time - whole).count());
}

std::string humanize(milliseconds duration) {
  const auto ms = duration.count();
  if (ms < 1000) return fmt::format("{}ms", ms);
  if (ms < 60'000) return fmt::format("{:.1f}s", static_cast<double>(ms) / 1000.0);
  const auto total = ms / 1000;
  if (total < 3600) return fmt::format("{}m{:02}s", total / 60, total % 60);
  return fmt::format("{}h{:02}m", total / 3600, total / 60 % 60);
}

}  // namespace naru
