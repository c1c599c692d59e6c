// How bad a world is. All chances are zero in a quiet one.
#pragma once

#include "base/clock.h"
#include "base/rng.h"

namespace naru::sim {

struct Faults {
  double control_crash = 0;  // per command
  double duplicate = 0;      // a result is delivered again, later
  double lost_ack = 0;       // a table is applied, its acknowledgement never comes
  double slow = 0;           // of anything: a start, a build, an answer
  double start_failure = 0;
  double late_health = 0;
  double container_death = 0;  // per second, of one running container
  double flap = 0;             // per second: one container is unhealthy for a while
  double launcher_restart = 0, gateway_restart = 0, reboot = 0;  // per second
  double clock_set = 0;  // per second: the machine's clock, by up to two hours, back or forward
  double people = 0;     // per second: promote, abort, roll back, variables, stop, start
  double build_failure = 0;
  double bad_release = 0;  // per push
};

inline milliseconds between(Rng& rng, std::int64_t low_ms, std::int64_t high_ms) {
  return milliseconds(low_ms +
                      static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(high_ms - low_ms + 1))));
}

}  // namespace naru::sim
