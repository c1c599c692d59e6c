// Ten times a second: the counters of every rollout under way, shown to the judge; what it says becomes a
// command. The judge's state is stored with it, once a second, and read back after a restart.
#pragma once

#include <map>
#include <stop_token>
#include <thread>

#include "control/core.h"
#include "control/fault_origin.h"
#include "ipc/telemetry.h"
#include "judge/judge.h"
#include "judge/slow_lot.h"

namespace naru::control {

// Calls of one service to services of which both releases run, since its rollout's first look.
struct InnerCalls {
  std::string service;
  std::uint64_t calls = 0, without_cohort = 0;
};
// What the verdict adds of them: who loses the cohort on the way, and that calls alone are not judged. "" =
// nothing.
std::string remark_on(std::vector<InnerCalls> callers, bool users_seen);

class Judging {
 public:
  Judging(Core& core, const ipc::Telemetry& telemetry, const Clock& clock);
  ~Judging();
  void start();

 private:
  struct Session {  // one rollout
    judge::State state;
    std::uint32_t step = ~0U;
    MonoTime stored{};
    judge::SlowLot slow_lot;
    // Of users slow in this step: those of the warm-ups and those who were not drawn, and all at the last
    // look.
    std::uint64_t slow_ignored_canary = 0, slow_ignored_stable = 0;
    std::uint64_t slow_seen_canary = 0, slow_seen_stable = 0;
    std::map<std::string, WallTime> first_ready;  // of the canary's containers
    judge::Observation
        before;  // added to what is read: counters that began anew (a reboot) go on from where they were
    judge::Observation raw;                            // as read last
    std::map<std::uint32_t, InnerCalls> inner_before;  // by slot, at the first look
    std::vector<InnerAnswers> answered_before;         // at the first look at this step
    std::string unreadable;                            // why the stored evidence is of no use; "" = it is
  };
  struct View;  // what one look needs of the state
  void run(const std::stop_token& stop);
  void look();
  void baseline(const View& view);
  void observe(const View& view);
  bool warms_up(const View& view, Session& session, milliseconds since_canary) const;
  static void keep_rising(Session& session, judge::Observation& observation);
  Result<void> resume(const View& view, Session& session) const;  // judge_state
  void hold(const View& view, Session& session, const ipc::EvidenceCounters& counters);
  judge::Observation observation_of(const View& view, const ipc::EvidenceCounters& counters,
                                    Session& session) const;
  std::vector<InnerAnswers> inner_answers(const View& view) const;
  std::map<std::uint32_t, InnerCalls> inner_calls(const View& view) const;
  static std::vector<InnerCalls> new_calls(const std::map<std::uint32_t, InnerCalls>& now, Session& session);

  Core& core_;
  const ipc::Telemetry& telemetry_;
  const Clock& clock_;
  std::map<RolloutId, Session> sessions_;
  std::jthread thread_;
};

}  // namespace naru::control
