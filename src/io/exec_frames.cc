#include "io/exec_frames.h"

namespace naru::io {

namespace {
constexpr std::size_t kHead = 5;
constexpr milliseconds kPatience{60'000};
}  // namespace

Result<std::optional<Frame>> take_frame(std::string& arrived) {
  if (arrived.size() < kHead) return std::nullopt;
  std::size_t length = 0;
  for (std::size_t i = 1; i < kHead; ++i) length = length << 8 | static_cast<unsigned char>(arrived[i]);
  if (length > kMaxFrame)
    return fail(Code::too_large, "a frame of {} bytes is too large ({} is the most)", length, kMaxFrame);
  if (arrived.size() < kHead + length) return std::nullopt;
  Frame frame{static_cast<FrameKind>(arrived[0]), arrived.substr(kHead, length)};
  arrived.erase(0, kHead + length);
  return frame;
}

Task<void> FrameWriter::write(Stream& stream, FrameKind kind, std::string_view bytes) {
  while (writing_) {
    free_.clear();
    (void)co_await free_.wait();
  }
  writing_ = true;
  std::string message{static_cast<char>(kind)};
  for (const int shift : {24, 16, 8, 0}) message += static_cast<char>((bytes.size() >> shift) & 0xff);
  message += bytes;
  if (stream.open()) (void)co_await stream.write(message, after(kPatience));
  writing_ = false;
  free_.raise();
}

}  // namespace naru::io
