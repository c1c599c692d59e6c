// Carries out the outbox: every stored action is handed to a worker thread after its commit, and again at
// each start until its result has come back as a command. Actions of the same subject run one after another.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>

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

  // Builds get threads of their own, so that they cannot keep starts and stops waiting; their order is
  // BuildQueue's.
  Outbox(Core& core, Execute execute);
  ~Outbox();  // requests a stop of what runs, then joins

  void start();  // dispatches what is stored

 private:
  struct Lane;
  void sync(const State& state);
  void dispatch(const Action& action);
  void post(const Action& action);
  void start_builds();
  void run(const Action& action, std::stop_token stop);
  io::WorkerPool& pool_of(ActionKind kind);

  Core& core_;
  Execute execute_;
  std::mutex mutex_;
  std::map<ActionId, std::stop_source> running_;
  std::set<std::string> busy_subjects_;
  std::map<std::string, std::deque<Action>> waiting_;
  BuildQueue build_queue_;
  std::map<ActionId, std::string> building_;  // builds in a place of the queue: whose
  std::map<std::string, std::string> apps_;   // of pipelines with actions, by number
  bool stopping_ = false;
  std::condition_variable_any retry_;
  // What waits (a grace, a launcher that is away) has threads of its own: it must not keep routes or starts
  // waiting.
  io::WorkerPool builds_{BuildQueue::kPlaces}, stops_{16}, routes_{1}, others_{8};
};

}  // namespace naru::control
