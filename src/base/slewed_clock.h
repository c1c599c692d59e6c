// Wall time for decisions: it never goes back and never leaps, whatever is done to the machine's clock.
//
// Deadlines, back-offs, bakes and evidence are spans between rows' times and now. A clock that NTP or a
// person sets back by an hour would hold them for that hour; one set forward would end them early. So time
// runs by the steady clock, and comes to what the machine's clock says at a tenth of its speed: a span is
// never wrong by more than that. A machine whose clock is more than a day ahead has slept, or had no time at
// its start: that gap is leapt over.
#pragma once

#include <mutex>

#include "base/clock.h"

namespace naru {

// Thread-safe. `source` is borrowed.
class SlewedClock final : public Clock {
 public:
  static constexpr int kSlew = 10;  // a tenth of the elapsed time
  static constexpr std::chrono::hours kLeap{24};

  explicit SlewedClock(const Clock& source) : source_(source), at_(source.mono()), given_(source.wall()) {}

  // Across restarts: no time before this is given any more (the newest time that was stored).
  void not_before(WallTime time);
  // Across restarts of the process within one boot, in which the steady clock goes on: as if it had never
  // ended. `wall` is what was given when the steady clock stood at `mono`.
  void resume(MonoTime mono, WallTime wall);

  WallTime wall() const override;
  MonoTime mono() const override { return source_.mono(); }

 private:
  using Fine = std::chrono::sys_time<nanoseconds>;
  const Clock& source_;
  mutable std::mutex mutex_;
  mutable MonoTime at_;  // when `given_` was
  mutable Fine given_;
};

}  // namespace naru
