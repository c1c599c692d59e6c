#include "base/slewed_clock.h"

#include <gtest/gtest.h>

namespace naru {
namespace {

// A machine's clock, with somebody at it.
class Machine final : public Clock {
 public:
  WallTime wall() const override { return from_epoch_ms(1'000'000'000) + passed + offset; }
  MonoTime mono() const override { return MonoTime(5h) + passed; }
  milliseconds passed{0}, offset{0};
};

class Slewed : public testing::Test {
 protected:
  // What the clock counts while `time` passes, looked at ten times a second.
  milliseconds span(milliseconds time) {
    const WallTime before = clock_.wall();
    WallTime last = before;
    for (milliseconds at{0}; at < time; at += 100ms) {
      machine_.passed += 100ms;
      EXPECT_GE(clock_.wall(), last) << "never back";
      last = clock_.wall();
    }
    return last - before;
  }
  Machine machine_;
  SlewedClock clock_{machine_};
};

TEST_F(Slewed, IsTheMachinesClockWhereThatIsSteady) {
  EXPECT_EQ(span(60s), 60s);
  EXPECT_EQ(clock_.wall(), machine_.wall());
}

TEST_F(Slewed, GoesOnWhenTheMachinesClockIsSetBackAnHour) {
  machine_.offset = -1h;
  EXPECT_EQ(span(100s), 90s);
  span(11h);
  EXPECT_EQ(clock_.wall(), machine_.wall()) << "it comes to what the machine says";
  EXPECT_EQ(span(60s), 60s);
}

TEST_F(Slewed, DoesNotLeapWhenTheMachinesClockIsSetForwardAnHour) {
  machine_.offset = 1h;
  EXPECT_EQ(span(100s), 110s);
  span(11h);
  EXPECT_EQ(clock_.wall(), machine_.wall());
}

TEST_F(Slewed, LeapsOverWhatAMachineHasSlept) {
  machine_.offset = 72h;
  EXPECT_EQ(clock_.wall(), machine_.wall());
}

TEST_F(Slewed, GoesOnOverARestartWhileTheMachinesClockIsSet) {
  for (const milliseconds set : {milliseconds(-1h), milliseconds(1h)}) {
    machine_.offset = 0ms;
    SlewedClock before(machine_);
    const MonoTime mono = before.mono();
    const WallTime wall = before.wall();
    machine_.offset = set;
    machine_.passed += 10s;
    SlewedClock after(machine_);
    after.resume(mono, wall);
    EXPECT_EQ(after.wall(), wall + 10s);
    after.resume(after.mono() + 1h, wall + 5h);
    EXPECT_EQ(after.wall(), wall + 10s) << "a steady clock that is ahead is of another boot";
  }
}

TEST_F(Slewed, GivesNoTimeBeforeWhatWasStored) {
  const WallTime stored = clock_.wall();
  machine_.offset = -1h;
  SlewedClock next(machine_);  // the process starts again
  next.not_before(stored);
  EXPECT_EQ(next.wall(), stored);
  machine_.passed += 10s;
  EXPECT_EQ(next.wall(), stored + 9s);
}

}  // namespace
}  // namespace naru
