// Time is handed in. WallTime is what people and rows see; deadlines use MonoTime.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <string>

namespace naru {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using namespace std::chrono_literals;

using WallTime = std::chrono::sys_time<milliseconds>;  // UTC, since the epoch
using MonoTime = std::chrono::steady_clock::time_point;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual WallTime wall() const = 0;
  virtual MonoTime mono() const = 0;
};

class SystemClock final : public Clock {
 public:
  WallTime wall() const override {
    return std::chrono::time_point_cast<milliseconds>(std::chrono::system_clock::now());
  }
  MonoTime mono() const override { return std::chrono::steady_clock::now(); }
};

// "2026-01-31T12:34:56.789Z" (RFC 3339, UTC).
std::string to_rfc3339(WallTime time);
inline std::int64_t to_epoch_ms(WallTime time) {
  return time.time_since_epoch().count();
}
inline WallTime from_epoch_ms(std::int64_t ms) {
  return WallTime(milliseconds(ms));
}

// "350ms", "12.3s", "4m05s", "2h03m": for people.
std::string humanize(milliseconds duration);

}  // namespace naru
