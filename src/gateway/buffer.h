// Bytes between a socket and a parser: [begin, end) of a fixed block.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

namespace naru::gateway {

class Buffer {
 public:
  static constexpr std::size_t kBlock = 16 * 1024, kLargest = 64 * 1024;

  bool empty() const { return begin_ == end_; }
  std::size_t size() const { return end_ - begin_; }
  std::string_view view() const { return {block_.get() + begin_, end_ - begin_}; }
  void consume(std::size_t bytes) { begin_ += bytes; }
  void clear() { begin_ = end_ = 0; }

  // Room to read into. Moves what is there to the front when there is little behind it, so no view into the
  // buffer may be kept over this call; grows up to `limit`. Empty: full.
  std::span<char> space(std::size_t limit = kBlock) {
    if (!block_) allocate(kBlock);
    if (begin_ == end_) clear();
    if (end_ == capacity_ && begin_ > 0) {
      std::memmove(block_.get(), block_.get() + begin_, size());
      end_ -= begin_;
      begin_ = 0;
    }
    if (end_ == capacity_ && capacity_ < limit) allocate(std::min(limit, capacity_ * 2));
    return {block_.get() + end_, capacity_ - end_};
  }
  // Before much that comes: a larger block, of at most kLargest. While something is inside: nothing.
  void expect(std::uint64_t bytes) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, kLargest));
    if (wanted > kBlock && wanted > capacity_ && empty()) allocate(wanted);
  }
  void filled(std::size_t bytes) { end_ += bytes; }

  void append(std::string_view bytes) {
    if (!block_ || capacity_ - end_ < bytes.size()) {
      const std::size_t kept = size();
      allocate(std::max(kBlock, kept + bytes.size()));
    }
    if (bytes.empty()) return;
    std::memcpy(block_.get() + end_, bytes.data(), bytes.size());
    end_ += bytes.size();
  }

  // Back to no memory, when nothing is inside: idle connections cost little.
  void release_if_empty() {
    if (!empty()) return;
    block_.reset();
    capacity_ = begin_ = end_ = 0;
  }

 private:
  void allocate(std::size_t capacity) {
    auto bigger = std::make_unique_for_overwrite<char[]>(capacity);
    const std::size_t kept = size();
    if (kept) std::memcpy(bigger.get(), block_.get() + begin_, kept);
    block_ = std::move(bigger);
    capacity_ = capacity;
    begin_ = 0;
    end_ = kept;
  }

  std::unique_ptr<char[]> block_;
  std::size_t capacity_ = 0, begin_ = 0, end_ = 0;
};

}  // namespace naru::gateway
