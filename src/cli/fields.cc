#include "cli/fields.h"

#include <ctime>

namespace naru::cli {

namespace {
const Json kNull;
const Json kEmptyList = Json::array();
}  // namespace

const Json& member(const Json& object, const char* key) {
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

const Json& list(const Json& object, const char* key) {
  const Json& found = member(object, key);
  return found.is_array() ? found : kEmptyList;
}

std::string text(const Json& object, const char* key) {
  const Json& found = member(object, key);
  if (found.is_string()) return clean(found.get_ref<const std::string&>());
  return {};
}

std::int64_t number(const Json& object, const char* key) {
  const Json& found = member(object, key);
  if (found.is_number_float()) return static_cast<std::int64_t>(std::clamp(found.get<double>(), -9e18, 9e18));
  return found.is_number() ? found.get<std::int64_t>() : 0;
}

double real(const Json& object, const char* key) {
  const Json& found = member(object, key);
  return found.is_number() ? found.get<double>() : 0;
}

bool flag(const Json& object, const char* key) {
  const Json& found = member(object, key);
  return found.is_boolean() && found.get<bool>();
}

std::string count_text(std::int64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

std::string percent(std::int64_t basis_points) {
  if (basis_points % 100 == 0) return fmt::format("{}%", basis_points / 100);
  return fmt::format("{:.2f}%", static_cast<double>(basis_points) / 100);
}

std::string bytes_text(double bytes) {
  static constexpr std::string_view kUnits[] = {"B", "KB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  while (bytes >= 1000 && unit + 1 < std::size(kUnits)) {
    bytes /= 1000;
    ++unit;
  }
  return unit == 0 || bytes >= 100 ? fmt::format("{:.0f} {}", bytes, kUnits[unit])
                                   : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

std::string duration_text(std::int64_t ms) {
  std::string text = humanize(milliseconds(ms));
  if (text.ends_with(".0s")) text.replace(text.size() - 3, 3, "s");
  return text;
}

std::string between(std::int64_t from_ms, std::int64_t to_ms) {
  if (from_ms <= 0 || to_ms <= 0) return "-";
  return duration_text(std::max<std::int64_t>(0, to_ms - from_ms));
}

std::string ago(std::int64_t epoch_ms, std::int64_t now_ms) {
  if (epoch_ms <= 0) return "-";
  const auto elapsed = std::max<std::int64_t>(0, now_ms - epoch_ms);
  if (elapsed < 1000) return "now";
  const auto days = elapsed / 86'400'000;
  return days >= 2 ? fmt::format("{} days ago", days) : duration_text(elapsed / 1000 * 1000) + " ago";
}

std::string clock_time(std::int64_t epoch_ms) {
  const std::time_t seconds = static_cast<std::time_t>(epoch_ms / 1000);
  std::tm local{};
  if (epoch_ms <= 0 || ::localtime_r(&seconds, &local) == nullptr) return "-";
  return fmt::format("{:02}:{:02}:{:02}", local.tm_hour, local.tm_min, local.tm_sec);
}

}  // namespace naru::cli
