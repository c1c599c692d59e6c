// The one thread that owns the platform's state. Commands come in, platform::decide() says what follows, the
// store commits it, and only then anybody sees it or acts on it. If a commit fails the command is refused and
// the state is read back from the store.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>

#include "model/command.h"
#include "store/store.h"

namespace naru::control {

class Core {
 public:
  // What a commit brought, to those who listen; called on the core's thread with what readers see locked: be
  // quick, do not call back.
  struct Committed {
    const State& state;
    const std::vector<Event>& events;
    std::uint64_t first_sequence = 0;  // of events[0]
    WallTime at;
  };
  using Listener = std::function<void(const Committed&)>;

  static Result<std::unique_ptr<Core>> open(const std::string& folder, const Clock& clock);
  ~Core();  // stop()

  void add_listener(Listener listener);  // before start()
  // Of the newest event that is stored; none: the epoch. Before start().
  WallTime last_time() const;
  void start();
  // Decides what is queued, then joins the thread: no listener is called afterwards, further commands are
  // refused.
  void stop();

  // Blocks until the command is committed or refused. Any thread but the core's.
  Result<void> submit(Command command);
  // Queued without waiting; a refusal is logged. Bounded: waits when kMaxQueued commands are queued.
  void post(Command command);

  // Runs f(const State&) on what is committed, with it locked; copy out what is needed. Waits for no disk.
  template <class F>
  auto read(F f) const {
    const std::lock_guard lock(shown_mutex_);
    return f(std::as_const(shown_));
  }
  Result<std::vector<store::StoredEvent>> events_after(std::uint64_t sequence, std::size_t limit,
                                                       const std::string& app) const;
  Result<std::vector<store::StoredEvent>> latest_events(std::size_t limit, const std::string& app) const;

  static constexpr std::size_t kMaxQueued = 4096;
  // Older events go with each Housekeep, a few at a time: nobody waits long for the thread.
  static constexpr std::uint64_t kEventsKept = 200'000, kEventsAtOnce = 5'000;

 private:
  struct Pending {
    Command command;
    std::optional<std::promise<Result<void>>> answer;
  };
  Core(store::Store store, State state, const Clock& clock);
  Result<void> begin();
  void run();
  Result<void> decide(const Command& command);
  void reload();
  void compact();

  const Clock& clock_;
  State state_;                     // the core's thread alone: ahead of the disk during a commit
  mutable std::mutex store_mutex_;  // held over a commit
  mutable store::Store store_;
  mutable std::mutex shown_mutex_;  // taken after store_mutex_, never held over I/O
  State shown_;                     // what is committed
  std::vector<Listener> listeners_;

  std::mutex queue_mutex_;
  std::condition_variable queue_changed_;
  std::deque<Pending> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace naru::control
