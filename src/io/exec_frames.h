// What travels over a connection that was upgraded to `naru-exec` (docs/api.md): one byte of kind, four bytes
// of length (big endian), bytes. Used by both ends.
#pragma once

#include "io/socket.h"

namespace naru::io {

enum class FrameKind : unsigned char {
  stdin_bytes = 0,
  stdout_bytes = 1,
  stderr_bytes = 2,
  resize = 3,
  exit_status = 4
};

struct Frame {
  FrameKind kind{};  // may be none of the above: such a frame is skipped
  std::string bytes;
};

inline constexpr std::size_t kMaxFrame = 1U << 20;

// Takes the first whole frame out of what has arrived; nothing when it is not all there yet. too_large
Result<std::optional<Frame>> take_frame(std::string& arrived);

// Writes frames, whoever asks, one after another. Used by one thread.
class FrameWriter {
 public:
  explicit FrameWriter(Reactor& reactor) : free_(reactor) {}
  // `bytes` must live until it is over. A peer that is gone is written to in vain.
  Task<void> write(Stream& stream, FrameKind kind, std::string_view bytes);

 private:
  Event free_;
  bool writing_ = false;
};

}  // namespace naru::io
