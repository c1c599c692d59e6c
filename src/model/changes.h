// What a decider writes to: each emitted event is applied at once, so that the next decision sees it;
// together they become one transaction.
#pragma once

#include "model/apply.h"

namespace naru {

class Changes {
 public:
  Changes(State& state, WallTime now) : state_(state), now_(now) {}

  const State& state() const { return state_; }
  WallTime now() const { return now_; }
  std::uint64_t next_id() const { return state_.counters.next_id; }

  void emit(Event event) {
    apply(state_, event, now_, touched_);
    events_.push_back(std::move(event));
  }
  // Stored with the events, carried out after the commit.
  void queue(ActionKind kind, std::string subject, std::string detail = {}) {
    emit(event::ActionQueued{{next_id(), kind, std::move(subject), std::move(detail)}});
  }
  // A result came back (perhaps for the second time).
  void done(ActionId action) {
    if (state_.outbox.contains(action)) emit(event::ActionDone{action});
  }

  const std::vector<Event>& events() const { return events_; }
  const Touched& touched() const { return touched_; }

 private:
  State& state_;
  WallTime now_;
  std::vector<Event> events_;
  Touched touched_;
};

}  // namespace naru
