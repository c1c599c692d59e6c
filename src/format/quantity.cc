#include "format/quantity.h"

#include <charconv>
#include <cmath>
#include <string>

namespace naru::format {
namespace {

// Takes a number without a sign or exponent off the front.
std::optional<double> take_number(std::string_view& text) {
  std::size_t length = 0;
  while (length < text.size() && ((text[length] >= '0' && text[length] <= '9') || text[length] == '.'))
    ++length;
  double value = 0;
  const std::string_view number = text.substr(0, length);
  const auto [end, error] = std::from_chars(number.begin(), number.end(), value, std::chars_format::fixed);
  if (number.empty() || error != std::errc() || end != number.end()) return std::nullopt;
  text.remove_prefix(length);
  return value;
}

std::optional<double> milliseconds_in(std::string_view unit) {
  if (unit == "d") return 86'400'000;
  if (unit == "h") return 3'600'000;
  if (unit == "m") return 60'000;
  if (unit == "s") return 1000;
  if (unit == "ms") return 1;
  if (unit == "us" || unit == "µs") return 1e-3;
  if (unit == "ns") return 1e-6;
  return std::nullopt;
}

}  // namespace

std::optional<milliseconds> parse_duration(std::string_view text) {
  if (text == "0") return milliseconds{0};
  if (text.empty()) return std::nullopt;
  double total = 0;
  while (!text.empty()) {
    const auto number = take_number(text);
    if (!number) return std::nullopt;
    const std::string_view unit = text.substr(0, text.find_first_of("0123456789."));
    const auto scale = milliseconds_in(unit);
    if (!scale) return std::nullopt;
    text.remove_prefix(unit.size());
    total += *number * *scale;
    if (total > 100.0 * 86'400'000) return std::nullopt;
  }
  return milliseconds{static_cast<std::int64_t>(std::ceil(total - 1e-6))};
}

std::optional<std::uint64_t> parse_bytes(std::string_view text) {
  const auto number = take_number(text);
  if (!number) return std::nullopt;
  while (text.starts_with(' ')) text.remove_prefix(1);
  std::string unit(text);
  for (char& c : unit)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  if (unit.size() > 1 && unit.ends_with('b')) unit.pop_back();
  if (unit.size() == 2 && unit[1] == 'i') unit.pop_back();
  static constexpr std::string_view kUnits = "bkmgt";
  const std::size_t power = unit.empty() ? 0 : kUnits.find(unit);
  if (unit.size() > 1 || power == std::string_view::npos) return std::nullopt;
  const double bytes = *number * std::pow(1024.0, static_cast<double>(power));
  if (bytes > 9007199254740992.0) return std::nullopt;
  return static_cast<std::uint64_t>(bytes);
}

std::optional<BasisPoints> parse_percentage(std::string_view text) {
  if (text.ends_with('%')) text.remove_suffix(1);
  const auto number = take_number(text);
  if (!number || !text.empty() || *number > 100) return std::nullopt;
  return BasisPoints{static_cast<std::uint32_t>(std::lround(*number * 100))};
}

}  // namespace naru::format
