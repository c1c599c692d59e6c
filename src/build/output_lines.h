// Output of a step, cut into lines fit for messages: UTF-8, no control characters, bounded; and the last of
// them kept.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <string_view>

namespace naru::build {

class OutputLines {
 public:
  static constexpr std::size_t kMaxLineBytes = 4096;
  static constexpr std::size_t kTail = 20;

  explicit OutputLines(std::function<void(std::string_view line)> each) : each_(std::move(each)) {}
  void add(std::string_view bytes);
  void finish();  // the line that has no newline yet
  const std::deque<std::string>& tail() const { return tail_; }

 private:
  void emit();
  std::function<void(std::string_view)> each_;
  std::string line_;
  std::deque<std::string> tail_;
};

}  // namespace naru::build
