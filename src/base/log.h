// Structured events to standard error, one line each: an event's name and its fields. Log once, where
// the event is handled. Safe from any thread: one write(2) a line.
#pragma once

#include <fmt/format.h>

#include <initializer_list>
#include <string>
#include <string_view>

namespace naru {

enum class Level { debug, info, warn, error };

struct LogField {
  std::string_view key;
  std::string value;
  template <class T>
  LogField(std::string_view k, const T& v) : key(k), value(fmt::format("{}", v)) {}
};

// log_event(Level::warn, "gateway.ack_late", {{"revision", 7}, {"waited_ms", 120}});
void log_event(Level level, std::string_view event, std::initializer_list<LogField> fields = {});

}  // namespace naru
