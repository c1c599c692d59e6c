#include "build/output_lines.h"

#include "model/json_text.h"

namespace naru::build {

void OutputLines::add(std::string_view bytes) {
  for (const char c : bytes) {
    if (c == '\n') {
      emit();
    } else if (c == '\r') {
      // A progress bar draws over itself: its last state counts, except before a newline.
      line_ += c;
    } else if (line_.size() < kMaxLineBytes) {
      line_ += c;
    }
    if (line_.size() > 2 * kMaxLineBytes) line_.erase(0, kMaxLineBytes);
  }
}

void OutputLines::finish() {
  if (!line_.empty()) emit();
}

void OutputLines::emit() {
  while (line_.ends_with('\r')) line_.pop_back();
  if (const auto drawn = line_.rfind('\r'); drawn != std::string::npos) line_.erase(0, drawn + 1);
  std::string plain;
  for (std::size_t i = 0; i < line_.size(); ++i) {
    const auto c = static_cast<unsigned char>(line_[i]);
    if (c == 0x1b && i + 1 < line_.size() && line_[i + 1] == '[') {  // a colour: up to its final byte
      for (i += 2; i < line_.size() && static_cast<unsigned char>(line_[i]) < 0x40;) ++i;
    } else if (c == '\t' || (c >= 0x20 && c != 0x7f)) {
      plain += line_[i];
    }
  }
  // The JSON writer's replacement of what is not UTF-8, without its quotes and escapes.
  const Json valid = Json::parse(json_text(plain), nullptr, false);
  if (valid.is_string()) plain = valid.get<std::string>();
  each_(plain);
  tail_.push_back(std::move(plain));
  if (tail_.size() > kTail) tail_.pop_front();
  line_.clear();
}

}  // namespace naru::build
