// An edge-triggered epoll reactor, one per thread (epoll(7)). Everything but `post`, `stop` and Remote is
// called on the thread that runs it. An operation tries its system call first and suspends only on EAGAIN.
//
// Creating a reactor ignores SIGPIPE for the process when it still has its default action (splice(2) cannot
// be told otherwise): a program that forks children must reset it there.
#pragma once

#include <cassert>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "io/task.h"

namespace naru::io {

class Reactor;
class Source;

// When an operation gives up, with Code::timeout. Absolute, so one deadline bounds a whole sequence of
// operations.
using Deadline = MonoTime;
inline constexpr Deadline kNever = Deadline::max();
inline Deadline after(milliseconds timeout) {
  return std::chrono::steady_clock::now() + timeout;
}

namespace detail {

struct Link {  // intrusive, circular; a node unlinks itself when destroyed
  Link() = default;
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link() { unlink(); }
  Link* prev = this;
  Link* next = this;
  bool linked() const { return next != this; }
  void unlink() {
    prev->next = next;
    next->prev = prev;
    prev = next = this;
  }
  void push_back(Link& node) {  // this is the list's head
    node.prev = prev;
    node.next = this;
    prev->next = &node;
    prev = &node;
  }
  void take_all(Link& from);
};

struct TimerNode : Link {
  std::uint64_t tick = 0;  // milliseconds of the wheel
  void (*fire)(TimerNode&) = nullptr;
};

// Hierarchical timing wheel (Varghese & Lauck 1987): four levels of 64 slots, 1 ms a tick; arming and
// cancelling are a few pointer writes. Further away than 4.6 hours waits in the last slot and is sorted in
// again.
class TimerWheel {
 public:
  explicit TimerWheel(std::uint64_t now_tick) : now_(now_tick) {}
  void arm(TimerNode& node, std::uint64_t tick);
  void advance(std::uint64_t tick);  // fires what is due
  // Milliseconds until something may be due, or -1 when nothing is armed. May be early, never late.
  int next_in(std::uint64_t now_tick) const;

 private:
  static constexpr int kLevels = 4, kBits = 6, kSlots = 1 << kBits;
  void insert(TimerNode& node);
  Link slots_[kLevels][kSlots];
  mutable std::uint64_t maybe_armed_[kLevels] =
      {};  // a set bit may be stale (cancelling does not clear it), a clear one is true
  std::uint64_t now_;
};

}  // namespace detail

// One pending operation; an awaiter that lives in the awaiting coroutine's frame. Derived classes give
// `attempt`: it tries the system call and returns true when the operation is over, with result >= 0 or
// -errno.
class Operation {
 public:
  enum class Direction : std::uint8_t { read, write };
  using Attempt = bool (*)(Operation&);

  Operation(Reactor& reactor, Source* source, Direction direction, Attempt attempt, Deadline deadline)
      : attempt_(attempt), reactor_(&reactor), source_(source), deadline_(deadline), direction_(direction) {}
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  ~Operation();

  bool await_ready();
  void await_suspend(std::coroutine_handle<> waiter);

 protected:
  std::int64_t result_ = 0;  // >= 0, or -errno (-ETIMEDOUT: the deadline; -ECANCELED: the source was closed)
  Attempt attempt_;
  Reactor* reactor_;
  Source* source_;  // null for a sleep; null once the operation is over

 private:
  friend class Event;
  friend class Reactor;
  friend class Source;
  struct Timer : detail::TimerNode {
    Operation* owner = nullptr;
  };
  struct Ready : detail::Link {
    Operation* owner = nullptr;
  };
  void finish();  // unlink from source and timer, queue for resumption
  static void on_timer(detail::TimerNode& node);

  std::coroutine_handle<> waiter_;
  Deadline deadline_;
  Timer timer_;
  Ready ready_;
  Direction direction_;
};

// A descriptor known to a reactor (non-blocking, registered on the first EAGAIN). At most one operation in
// each direction at a time. Closing cancels them: they return Code::cancelled.
class Source {
 public:
  Source(Reactor& reactor, Fd fd) : reactor_(&reactor), fd_(std::move(fd)) {}
  ~Source() { close(); }
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  Reactor& reactor() const { return *reactor_; }
  int fd() const { return fd_.get(); }
  bool open() const { return fd_.valid(); }
  void close();
  // Takes the descriptor out of the reactor (handing it to another thread or program). Cancels operations.
  Fd release();
  // TLS may need the other direction: every event then tries both operations.
  void retry_both(bool on) { retry_both_ = on; }

 private:
  friend class Reactor;
  friend class Operation;
  Result<void> ensure_registered();
  void cancel_operations();
  void on_events(std::uint32_t events);

  Reactor* reactor_;
  Fd fd_;
  Operation* pending_[2] = {nullptr, nullptr};  // by Direction
  bool registered_ = false;
  bool retry_both_ = false;
};

class Reactor {
 public:
  using Job = std::move_only_function<void()>;

  static Result<std::unique_ptr<Reactor>> create();
  // Destroys what was spawned and has not finished. No operation may be awaited from elsewhere.
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  // Starts a task of its own, at once, on this thread; it is destroyed when it finishes (an exception that
  // leaves it is logged).
  void spawn(Task<void> task);
  std::size_t spawned() const { return spawned_; }

  void run();   // until stop()
  void stop();  // any thread
  // Runs the reactor until the task has finished. Not inside run().
  template <class T>
  T block_on(Task<T> task);

  // Any thread, also after the reactor is gone (then the job is dropped and false returned). At most 65,536
  // jobs wait.
  class Remote {
   public:
    bool post(Job job) const;

   private:
    friend class Reactor;
    struct Box;
    std::shared_ptr<Box> box_;
  };
  const Remote& remote() const { return remote_; }
  void post(Job job) { (void)remote_.post(std::move(job)); }

 private:
  friend class Operation;
  friend class Source;
  struct Detached;
  explicit Reactor(Fd epoll) : epoll_(std::move(epoll)), wheel_(tick_now()) {}
  static std::uint64_t tick_now();
  void turn(bool block);
  void run_ready();
  void run_jobs();
  static Detached detach(Reactor* reactor, Task<void> task);

  friend Task<Result<std::vector<class Address>>> resolve(Reactor&, std::string, std::uint16_t, Deadline);
  int lookups_ = 0;  // look-up threads at work; see resolve

  Fd epoll_;
  detail::TimerWheel wheel_;
  detail::Link ready_;  // finished operations whose coroutines are to be resumed
  detail::Link roots_;  // spawned coroutines
  Remote remote_;
  std::size_t spawned_ = 0;
  int budget_ = 0;  // operations that may still complete without suspending, for fairness
  bool stopping_ = false;
};

// co_await sleep(reactor, 50ms);
class Sleep : public Operation {
 public:
  Sleep(Reactor& reactor, Deadline until) : Operation(reactor, nullptr, Direction::read, nullptr, until) {}
  void await_resume() const {}
};
inline Sleep sleep(Reactor& reactor, milliseconds duration) {
  return Sleep(reactor, after(duration));
}
// Lets every other ready task run first.
inline Sleep yield(Reactor& reactor) {
  return Sleep(reactor, Deadline::min());
}

// A flag that one task waits for and others of the same thread raise. Must outlive its waiter.
class Event {
 public:
  explicit Event(Reactor& reactor) : reactor_(&reactor) {}
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { assert(waiter_ == nullptr); }

  class Wait : public Operation {
   public:
    Wait(Event& event, Deadline deadline)
        : Operation(*event.reactor_, nullptr, Direction::read, nullptr, deadline), event_(event) {}
    ~Wait() {
      if (event_.waiter_ == this) event_.waiter_ = nullptr;
    }
    bool await_ready() { return event_.raised_; }
    void await_suspend(std::coroutine_handle<> waiter);
    Result<void> await_resume();  // timeout

   private:
    friend class Event;
    Event& event_;
  };
  // At most one waiter. The flag stays raised until cleared.
  Wait wait(Deadline deadline = kNever) { return Wait(*this, deadline); }
  void raise();
  void clear() { raised_ = false; }
  bool raised() const { return raised_; }

 private:
  Reactor* reactor_;
  Wait* waiter_ = nullptr;
  bool raised_ = false;
};

namespace detail {
template <class T>
Task<void> run_into(Task<T> task, std::optional<T>* out, std::exception_ptr* failed, bool* done) {
  try {
    T value = co_await std::move(task);
    out->emplace(std::move(value));
  } catch (...) {
    *failed = std::current_exception();
  }
  *done = true;
}
inline Task<bool> give_true(Task<void> task) {
  co_await std::move(task);
  co_return true;
}
}  // namespace detail

template <class T>
T Reactor::block_on(Task<T> task) {
  if constexpr (std::is_void_v<T>) {
    (void)block_on(detail::give_true(std::move(task)));
  } else {
    bool done = false;
    std::optional<T> out;
    std::exception_ptr failed;
    spawn(detail::run_into(std::move(task), &out, &failed, &done));
    while (!done) turn(true);
    if (failed) std::rethrow_exception(failed);
    return std::move(*out);
  }
}

}  // namespace naru::io
