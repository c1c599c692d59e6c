#include "base/log.h"

#include <unistd.h>

#include <algorithm>

#include "base/clock.h"

namespace naru {

namespace {
constexpr std::size_t kMaxLine = 8192;

void append_value(std::string& line, std::string_view value) {
  const bool plain = !value.empty() && std::ranges::none_of(value, [](unsigned char c) {
    return c <= ' ' || c == '"' || c == '=' || c == 0x7f;
  });
  if (plain) {
    line += value;
    return;
  }
  line += '"';
  for (const char c : value) {
    if (c == '"' || c == '\\') line += '\\';
    if (c == '\n')
      line += "\\n";
    else if (static_cast<unsigned char>(c) < ' ')
      line += '?';
    else
      line += c;
  }
  line += '"';
}
}  // namespace

void log_event(Level level, std::string_view event, std::initializer_list<LogField> fields) {
  static constexpr std::string_view kNames[] = {"debug", "info", "warn", "error"};
  std::string line =
      fmt::format("{} {} {}", to_rfc3339(SystemClock().wall()), kNames[static_cast<int>(level)], event);
  for (const LogField& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    append_value(line, field.value);
  }
  if (line.size() > kMaxLine) line.resize(kMaxLine);
  line += '\n';
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace naru
