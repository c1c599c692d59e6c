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
  // Ends the transfer when this one is gone (a client that left a long answer), or ended its side and nothing
  // has come for `ended_side`.
  io::Stream* abandoned_by = nullptr;
  milliseconds ended_side{0};
  PipeCache* pipes = nullptr;  // none: no splicing
  std::uint64_t bytes = 0;     // of body, sent
  milliseconds silent{0};      // stopped: so long nothing had come
};

// The Transfer must outlive the task.
io::Task<BodyEnd> run_transfer(Transfer& transfer);

// What is known of a peer without waiting. One that closed looks as one that ended its side and reads on,
// until something is sent to it: then it is gone.
enum class Peer : std::uint8_t { here, ended_its_side, gone };
Peer peer_of(const io::Stream& stream);
// It is not there any more, or will say no more (not: it has only sent something).
bool hung_up(const io::Stream& stream);

}  // namespace naru::gateway
