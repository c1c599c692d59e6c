// Which slow users count. One thread.
//
// A pause of one instance (a garbage collection, a moment without a processor) makes everybody slow who waits
// just then: they say as much as one. So of the users of both sides who become slow within a second one
// counts, drawn by lot: his side is chance's as that of each of them, and the judge's bound holds as before.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "base/rng.h"

namespace naru::judge {

class SlowLot {
 public:
  struct Drawn {
    std::uint64_t canary = 0, stable = 0;  // one of them 1, or none
  };

  explicit SlowLot(std::uint64_t seed = secure_random_u64()) : rng_(seed) {}

  // Of so many who became slow since the last look.
  Drawn draw(std::uint64_t canary, std::uint64_t stable, MonoTime now) {
    if (canary + stable == 0 || now < next_) return {};
    next_ = now + kTogether;
    const bool of_canary = rng_.below(canary + stable) < canary;
    return {of_canary ? 1U : 0U, of_canary ? 0U : 1U};
  }

  static constexpr milliseconds kTogether{1'000};

 private:
  Rng rng_;
  MonoTime next_{};
};

}  // namespace naru::judge
