// Carries out the outbox: every stored action is handed to a worker thread after its commit, and again at
// each start until its result has come back as a command. Actions of the same subject run one after another.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <thread>

#include "control/build_queue.h"
#include "control/core.h"
#include "io/offload.h"

namespace naru::control {

class Outbox {
 public:
  // Carries out one action and gives its result, the command that takes it out of the outbox; nothing when it
  // should be tried again later (the launcher is away, say). `stop` is requested when the action has left the
  // outbox by another way (superseded) or control stops.
  using Execute = std::function<std::optional<Command>(const Action&, std::stop_token stop)>;

  struct Pauses {  // before another try: doubled from one to the next
    milliseconds first{500}, last{4'000};
  };

  // `queue`: how many actions wait for a thread of one kind; what does not fit is taken later.
  // Builds get threads of their own, so that they cannot keep starts and stops waiting; their order is
  // BuildQueue's.
  Outbox(Core& core, Execute execute, std::size_t queue, Pauses pauses);
  Outbox(Core& core, Execute execute, std::size_t queue = 1024)
      : Outbox(core, std::move(execute), queue, {}) {}
  ~Outbox();  // requests a stop of what runs, then joins

  void start();  // dispatches what is stored

 private:
  struct Entry {
    Action action;
    std::string lane;
    std::stop_source stop;
    std::string app;         // of a build
    bool has_place = false;  // a build in a place of the queue
    std::uint32_t tries = 0;
  };
  void sync(const State& state);
  // With mutex_ held:
  void hand_over(ActionId id);
  void post(ActionId id);
  void start_builds();
  void leave_place(Entry& entry);
  void later(ActionId id, milliseconds delay);
  void finish(ActionId id);
  void run(ActionId id);
  void wake_when_due(const std::stop_token& stop);
  io::WorkerPool& pool_of(ActionKind kind);

  Core& core_;
  Execute execute_;
  const Pauses pauses_;
  std::mutex mutex_;
  std::map<ActionId, Entry> entries_;                  // what is stored
  std::map<std::string, std::deque<ActionId>> lanes_;  // the first of each is the one under way
  std::multimap<MonoTime, ActionId> due_;              // under way, but waiting for its next try
  BuildQueue build_queue_;
  bool stopping_ = false;
  std::condition_variable_any due_changed_;
  // What blocks (a grace, a launcher that is away) has threads of its own: it must not keep routes or starts
  // waiting.
  io::WorkerPool builds_, stops_, routes_, others_;
  std::jthread timer_;
};

}  // namespace naru::control
