// Control in the simulation: the product's deciders and judge, an in-memory store with its event log, the
// outbox and the observers. It can crash at any point; what was committed is all that a crash leaves.
#pragma once

#include <deque>
#include <set>

#include "judge/judge.h"
#include "sim/gateway.h"
#include "sim/launcher.h"
#include "sim/mutant.h"

namespace naru::sim {

// Rows as the store keeps them, and every event since the beginning.
class MemoryStore {
 public:
  explicit MemoryStore(const Mutant& mutant) : mutant_(mutant) {}
  void commit(const State& state, const std::vector<Event>& events, const Touched& touched, WallTime at);
  State load() const;
  WallTime last_time() const { return log_.empty() ? WallTime{} : log_.back().first; }
  // The whole log again, into an empty state: the same as the rows.
  void check_replay() const;
  // Each event with the state before it.
  std::function<void(const State& before, const Event& event)> on_event;

 private:
  void check_rows(const State& state, const Touched& touched) const;

  const Mutant& mutant_;
  std::map<std::pair<std::string, std::string>, Json> rows_;
  std::vector<std::pair<WallTime, Json>> log_;
  State replayed_{};  // from the log, as far as it goes
};

struct Outside {
  Timeline& timeline;
  MachineClock& machine;
  Rng& rng;
  const Faults& faults;
  Launcher& launcher;
  Gateway& gateway;
  std::map<std::string, Developers>& developers;
};

class Control {
 public:
  Control(Outside outside, const Mutant& mutant);

  // The answer, or none when control was away or went away before it could give one.
  std::optional<Result<void>> submit(Command command);
  void post_in(milliseconds delay, Command command);  // lost when control restarts meanwhile
  void crash();
  void rebooted();
  bool up() const { return up_; }
  const State& state() const { return state_; }
  MemoryStore& store() { return store_; }
  std::uint64_t commands() const { return commands_; }

  std::function<void()> on_committed, on_start;
  std::function<void(const RouteTable& table)> on_publish;
  std::function<void(const std::string& line)> trace;  // optional

  void container_exited(const Container& container);
  void launcher_connected();

 private:
  struct Session {  // of the judge, one rollout
    judge::State state;
    WallTime stored{};
    judge::CrashCounts canary_crashes, stable_crashes;  // the highest so far
  };

  void start();
  void dispatch();
  void run(const Action& action);
  void finish(const Action& action, std::optional<Command> result);
  void carry_out(const Action& action);
  void plan(const Action& action);
  void build(const Action& action);
  void start_instance(const Action& action);
  void publish(const Action& action);
  void every(milliseconds interval, void (Control::*what)());
  void tick();
  void housekeep();
  void probe();
  void judge();
  judge::Observation observe(const Rollout& rollout, Session& session) const;
  milliseconds soon();
  WallTime now() const;

  Outside out_;
  const Mutant& mutant_;
  MemoryStore store_;
  State state_;
  std::optional<SlewedClock> clock_;  // goes on over restarts of control; anew after a reboot
  bool up_ = false;
  std::uint64_t epoch_ = 0, commands_ = 0;
  std::set<ActionId> running_;
  std::map<std::string, std::deque<Action>> lanes_;
  std::map<std::string, std::uint32_t> probe_failures_;
  std::set<std::string> probing_;
  std::map<RolloutId, Session> sessions_;
};

std::string describe(const Command& command);

}  // namespace naru::sim
