#include "cli/event_stream.h"

namespace naru::cli {

namespace {
constexpr std::size_t kMaxBytes = 8U << 20;
}

Result<void> EventStream::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    if (after_return_ && bytes.front() == '\n') {  // "\r\n" is one end of line, also across pieces
      after_return_ = false;
      bytes.remove_prefix(1);
      continue;
    }
    after_return_ = false;
    const auto end = bytes.find_first_of("\r\n");
    line_ += bytes.substr(0, end);
    if (line_.size() + event_.data.size() > kMaxBytes)
      return fail(Code::too_large, "an event of the stream is larger than {} bytes", kMaxBytes);
    if (end == std::string_view::npos) return {};
    after_return_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    const std::string whole = std::exchange(line_, {});
    TRY(line(whole));
  }
  return {};
}

Result<void> EventStream::line(std::string_view text) {
  if (text.empty()) {
    const StreamEvent event = std::exchange(event_, {});
    if (!std::exchange(has_data_, false)) return {};
    return on_event_(event);
  }
  const auto colon = text.find(':');
  const std::string_view field = text.substr(0, colon);
  std::string_view value = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "event") event_.name = value;
  if (field == "id") event_.id = value;
  if (field == "data") {
    if (has_data_) event_.data += '\n';
    event_.data += value;
    has_data_ = true;
  }
  return {};
}

Result<void> LineStream::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto end = bytes.find('\n');
    line_ += bytes.substr(0, end);
    if (line_.size() > kMaxBytes)
      return fail(Code::too_large, "a line of the stream is larger than {} bytes", kMaxBytes);
    if (end == std::string_view::npos) return {};
    bytes.remove_prefix(end + 1);
    const std::string whole = std::exchange(line_, {});
    TRY(on_line_(whole));
  }
  return {};
}

Result<void> LineStream::finish() {
  if (line_.empty()) return {};
  return on_line_(std::exchange(line_, {}));
}

}  // namespace naru::cli
