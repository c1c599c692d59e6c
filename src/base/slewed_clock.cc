#include "base/slewed_clock.h"

#include <algorithm>

namespace naru {

void SlewedClock::not_before(WallTime time) {
  const std::lock_guard lock(mutex_);
  given_ = std::max<Fine>(given_, time);
}

void SlewedClock::resume(MonoTime mono, WallTime wall) {
  const std::lock_guard lock(mutex_);
  if (mono > at_) return;  // of another boot after all
  given_ = Fine(wall) + (at_ - mono);
}

WallTime SlewedClock::wall() const {
  const std::lock_guard lock(mutex_);
  const MonoTime now = source_.mono();
  const nanoseconds elapsed = std::max<nanoseconds>(now - at_, nanoseconds(0));
  const Fine truth = source_.wall(), straight = given_ + elapsed;
  at_ = std::max(at_, now);
  given_ = truth - straight > kLeap
               ? truth
               : straight + std::clamp<nanoseconds>(truth - straight, -elapsed / kSlew, elapsed / kSlew);
  return std::chrono::floor<milliseconds>(given_);
}

}  // namespace naru
