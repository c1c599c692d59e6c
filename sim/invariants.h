// What must hold, whatever happens. Held against the truth of the launcher and the gateway, not against
// control's view of it. A breach is thrown as a Violation.
#pragma once

#include "sim/control.h"

namespace naru::sim {

class Invariants {
 public:
  // `calm`: no faults and nobody interferes, so that what becomes of a release follows from the release
  // alone.
  Invariants(Outside outside, Control& control, bool calm);

  // ---- as it happens
  void event(const State& before, const Event& event);
  void committed() const;
  void published(const RouteTable& table) const;
  void applied(const RouteTable& before, const RouteTable& after);
  void container_creating(const Container& container);
  void container_stop_asked(const Container& container);
  void container_exited(const Container& container);
  // Stopped, rebooted, without its gateway for so long: its services may be away.
  void trouble(const EnvKey& environment, milliseconds lasts = milliseconds(0));
  void upset(const Container& container);
  void rebooted();
  void control_started();
  void stopped() const;  // what people stopped a while ago has no containers
  void users_served();
  // Does every service that users meet on that side have an instance that answers?
  bool answers(const EnvironmentRoute& route, bool canary) const;
  void rollback_asked(bool now) { rollback_asked_ = now; }  // a person asks while this is set

  // What keeps the platform from rest; empty when it has come to rest.
  std::string unrest() const;
  void at_rest(const std::map<std::string, std::string>& acknowledged) const;

 private:
  void step_started(const State& before, const event::StepStarted& e) const;
  void step_live(const State& before, const event::StepLive& e);
  void step_passed(const State& before, const event::StepPassed& e);
  static void evidence_stored(const State& before, const event::EvidenceStored& e);
  void phase_changed(const State& before, const event::RolloutPhaseChanged& e);
  void completing(const State& before, const Rollout& rollout) const;
  void ended(const State& before, const Rollout& rollout, RolloutPhase phase,
             const std::string& reason) const;
  void references() const;
  void release_created(const State& before, const event::ReleaseCreated& e) const;
  void release_pending(const State& before, const event::ReleasePending& e) const;
  void ports() const;
  void deadline_passed(const State& before, const Rollout& rollout,
                       const event::RolloutPhaseChanged& e) const;
  // How long control has been there while the environment was as it is, stopped or not; in true time.
  milliseconds watched(const EnvKey& environment) const;
  void apart(const RouteTable& table) const;
  bool accounted_for(const Release& release) const;
  void history_removed(const State& before, const event::HistoryRemoved& e) const;
  void instance_started(const State& before, const event::InstanceStarted& e) const;
  void no_mix(const Release* kept, const EnvKey& environment) const;
  std::string unrest_of(const Instance& instance) const;
  Behaviour behaviour_of(const Instance& instance) const;
  bool serves(const RouteSide& side) const;
  bool gets_datagrams(const Container& container) const;

  Outside out_;
  Control& control_;
  bool calm_;
  std::map<std::string, Container> by_address_;  // every container there ever was
  std::map<std::string, WallTime> last_routed_;  // address -> when a table named it last
  std::map<RolloutId, WallTime> first_live_;     // when the first users met it, in true time
  std::map<std::string, WallTime> trouble_;      // environment/service -> the last fault, or its end
  std::set<std::string> served_;                 // environment/service
  std::set<std::string> oneshots_succeeded_;     // environment/release/service
  std::map<RolloutId, std::set<std::uint64_t>> canary_users_;
  std::set<RolloutId>
      outages_;  // in a step of theirs most stable users met errors too: no evidence against the canary
  WallTime control_started_{};
  std::map<EnvKey, WallTime> switched_;  // stopped or started again
  std::set<ReleaseId> met_everybody_;
  bool rollback_asked_ = false;
  std::set<RolloutId> rolled_back_to_;
  std::set<ReleaseId> delivered_;  // at some time: their rollouts may have been forgotten since
};

}  // namespace naru::sim
