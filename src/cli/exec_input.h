// Standard input for a reactor. It may be a file, which epoll refuses, or a terminal that other programs
// share, which must not become non-blocking: so a thread reads it and passes it on through a socket pair.
#pragma once

#include <optional>
#include <thread>

#include "base/fd.h"
#include "io/socket.h"

namespace naru::cli {

class InputPump {
 public:
  // The stream ends where `fd` ends, and is to be closed before the pump is destroyed (which waits for its
  // thread).
  static Result<io::Stream> start(io::Reactor& reactor, int fd, std::optional<InputPump>& pump);
  InputPump(Fd socket, Fd stop_read, Fd stop_write, int from);
  ~InputPump();
  InputPump(const InputPump&) = delete;
  InputPump& operator=(const InputPump&) = delete;

 private:
  Fd stop_write_;
  std::thread thread_;
};

}  // namespace naru::cli
