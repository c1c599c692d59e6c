// Bodies on their way through: one direction, with back-pressure (nothing is read before what was read is
// written).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "format/http1.h"
#include "gateway/buffer.h"
#include "io/socket.h"

namespace naru::gateway {

namespace http1 = format::http1;

enum class BodyEnd : std::uint8_t {
  complete,
  source_cut,        // closed or reset in the middle
  source_malformed,  // not the chunked coding
  source_stalled,    // silent for longer than read_idle
  sink_failed,       // the receiver went away or stalled
  stopped,           // *stop was set, or `abandoned` said so
};

// Pipes for splice(2), reused by one thread.
class PipeCache {
 public:
  // Null when the process is out of descriptors: copy instead.
  std::unique_ptr<io::SplicePipe> take();
  void give(std::unique_ptr<io::SplicePipe> pipe);  // a pipe with bytes inside is thrown away

 private:
  std::vector<std::unique_ptr<io::SplicePipe>> idle_;
};

struct Transfer {
  io::Stream* from = nullptr;
  Buffer* in = nullptr;  // what was read already; afterwards what lies behind the body
  io::Stream* to = nullptr;
  http1::Framing framing{};  // of the source
  bool chunked_out = false;
  milliseconds read_idle{60'000}, write_idle{60'000};
  const bool* stop = nullptr;  // looked at while waiting
  io::Stream* abandoned_by =
      nullptr;  // ends the transfer when this one has hung up (a client that left a long answer)
  PipeCache* pipes = nullptr;  // none: no splicing
  std::uint64_t bytes = 0;     // of body, sent
};

// The Transfer must outlive the task.
io::Task<BodyEnd> run_transfer(Transfer& transfer);

// The peer has closed or reset (not: it has only sent something). Without waiting.
bool hung_up(const io::Stream& stream);

}  // namespace naru::gateway
