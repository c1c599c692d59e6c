#include "io/task.h"

#include <array>
#include <cstdint>
#include <new>

namespace naru::io {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
void* allocate_frame(std::size_t bytes) {
  return ::operator new(bytes);
}
void free_frame(void* frame, std::size_t) noexcept {
  ::operator delete(frame);
}
#else
namespace {

constexpr std::size_t kStep = 128, kClasses = 32, kKept = 256;  // frames up to 4 KiB, at most 256 of a size

struct FrameCache {
  struct Node {
    Node* next;
  };
  std::array<Node*, kClasses> free{};
  std::array<std::uint16_t, kClasses> count{};
  ~FrameCache() {
    for (Node*& list : free)
      while (list != nullptr) ::operator delete(std::exchange(list, list->next));
    count.fill(kKept);  // a frame freed later goes straight back
  }
};
thread_local FrameCache cache;

}  // namespace

void* allocate_frame(std::size_t bytes) {
  const std::size_t size_class = (bytes - 1) / kStep;
  if (size_class >= kClasses) return ::operator new(bytes);
  if (FrameCache::Node* node = cache.free[size_class]) {
    cache.free[size_class] = node->next;
    --cache.count[size_class];
    return node;
  }
  return ::operator new((size_class + 1) * kStep);
}

void free_frame(void* frame, std::size_t bytes) noexcept {
  const std::size_t size_class = (bytes - 1) / kStep;
  if (size_class >= kClasses || cache.count[size_class] >= kKept) return ::operator delete(frame);
  cache.free[size_class] = new (frame) FrameCache::Node{cache.free[size_class]};
  ++cache.count[size_class];
}
#endif

}  // namespace naru::io
