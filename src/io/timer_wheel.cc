#include <bit>

#include "io/reactor.h"

namespace naru::io::detail {

void Link::take_all(Link& from) {
  if (!from.linked()) return;
  from.next->prev = prev;
  prev->next = from.next;
  from.prev->next = this;
  prev = from.prev;
  from.prev = from.next = &from;
}

void TimerWheel::arm(TimerNode& node, std::uint64_t tick) {
  node.unlink();
  node.tick = tick;
  insert(node);
}

void TimerWheel::insert(TimerNode& node) {
  const std::uint64_t tick = std::max(node.tick, now_ + 1);
  int level = 0;
  while (level < kLevels - 1 && (tick >> (level * kBits)) - (now_ >> (level * kBits)) >= kSlots) ++level;
  std::uint64_t slot = tick >> (level * kBits);
  // Beyond the wheel: the last slot that is ahead; sorted in again when it comes up.
  slot = std::min<std::uint64_t>(slot, (now_ >> (level * kBits)) + kSlots - 1);
  slots_[level][slot % kSlots].push_back(node);
  maybe_armed_[level] |= std::uint64_t{1} << (slot % kSlots);
}

void TimerWheel::advance(std::uint64_t tick) {
  Link due;
  while (now_ < tick) {
    const int idle = next_in(now_);
    if (idle < 0) {
      now_ = tick;
      return;
    }
    now_ = std::min<std::uint64_t>(tick, now_ + static_cast<std::uint64_t>(std::max(idle, 1)));
    // Higher levels first: what falls out of them may be due in this very tick.
    for (int level = kLevels - 1; level >= 0; --level) {
      if ((now_ & ((std::uint64_t{1} << (level * kBits)) - 1)) != 0) continue;
      due.take_all(slots_[level][(now_ >> (level * kBits)) % kSlots]);
      while (due.linked()) {
        TimerNode& node = static_cast<TimerNode&>(*due.next);
        node.unlink();
        if (node.tick <= now_)
          node.fire(node);
        else
          insert(node);
      }
    }
  }
}

int TimerWheel::next_in(std::uint64_t now_tick) const {
  std::uint64_t soonest = UINT64_MAX;
  for (int level = 0; level < kLevels; ++level) {
    const std::uint64_t base = now_ >> (level * kBits);
    std::uint64_t& armed = maybe_armed_[level];
    while (armed != 0) {
      const int step = 1 + std::countr_zero(std::rotr(armed, static_cast<int>((base + 1) % kSlots)));
      const std::uint64_t slot = (base + static_cast<std::uint64_t>(step)) % kSlots;
      if (slots_[level][slot].linked()) {
        soonest = std::min(soonest, (base + static_cast<std::uint64_t>(step)) << (level * kBits));
        break;
      }
      armed &= ~(std::uint64_t{1} << slot);
    }
  }
  if (soonest == UINT64_MAX) return -1;
  return soonest <= now_tick ? 0 : static_cast<int>(std::min<std::uint64_t>(soonest - now_tick, 60'000));
}

}  // namespace naru::io::detail
