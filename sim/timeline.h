// Simulated time: what happens next, in order of time and then of planning.
#pragma once

#include <functional>
#include <queue>

#include "base/clock.h"
#include "base/slewed_clock.h"

namespace naru::sim {

class Timeline {
 public:
  WallTime now() const { return now_; }

  void in(milliseconds delay, std::function<void()> what) {
    planned_.push({now_ + delay, planned_count_++, std::move(what)});
  }

  // Moves the clock to the next thing planned and does it. False: nothing is planned.
  bool run_next() {
    if (planned_.empty()) return false;
    Planned next = planned_.top();
    planned_.pop();
    now_ = next.at;
    next.what();
    return true;
  }

 private:
  struct Planned {
    WallTime at;
    std::uint64_t order;
    std::function<void()> what;
    bool operator<(const Planned& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  WallTime now_ = from_epoch_ms(1'800'000'000'000);
  std::uint64_t planned_count_ = 0;
  std::priority_queue<Planned> planned_;
};

// The machine's clock, which somebody sets back and forward.
class MachineClock final : public Clock {
 public:
  explicit MachineClock(const Timeline& timeline) : timeline_(timeline) {}
  WallTime wall() const override { return timeline_.now() + offset; }
  MonoTime mono() const override { return MonoTime(timeline_.now().time_since_epoch()); }
  milliseconds offset{0};

 private:
  const Timeline& timeline_;
};

}  // namespace naru::sim
