// What the gateway grants to one client before it says no. The defaults are the product's; a test shortens
// what it is about.
#pragma once

#include <cstddef>

#include "base/clock.h"

namespace naru::gateway {

struct Bounds {
  milliseconds head{10'000};          // from a request's first byte to the end of its head; then 408
  milliseconds client_idle{75'000};   // between requests
  milliseconds request_body{60'000};  // without progress of the client; then 408
  // From the request's end to the end of the answer's head; then 504. What a canary did not answer has as
  // long again at the old release: twice this in all.
  milliseconds first_byte{120'000};
  milliseconds response_body{300'000};
  milliseconds stream{3'600'000};  // silence of event streams and tunnels
  milliseconds write{60'000};      // without progress of a receiver
  milliseconds linger{1'000};
  milliseconds client_check{1'000};  // how often somebody who waits for an answer is looked after
  milliseconds patience{2'000};      // of an instance's silence: a client that left before says nothing of it
  milliseconds ended_side{10'000};   // without progress of an answer whose client may have left, or read on
  milliseconds hold{30'000};         // for an instance; then 503
  milliseconds caller{4'000};        // for the table that names who calls; then refused

  // Of the whole process.
  std::size_t held_requests = 1000, held_bytes = 4U << 20;
  // Of one thread; further ones are closed at once.
  std::size_t connections = 20'000;
};

}  // namespace naru::gateway
