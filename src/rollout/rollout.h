// Delivery and healing, decided: which containers should run, where a rollout stands, when it goes on or
// back. Pure.
//
// decide() translates a command into events; reconcile() is level-triggered: it looks at the state and does
// what is missing, so that a lost or repeated message, or a restart from any committed transaction, ends at
// the same place.
#pragma once

#include "model/changes.h"
#include "model/command.h"

namespace naru::rollout {

Result<void> decide(Changes& changes, const command::Promote& command);
Result<void> decide(Changes& changes, const command::Abort& command);
Result<void> decide(Changes& changes, const command::Rollback& command);
Result<void> decide(Changes& changes, const command::StopEnvironment& command);
void decide(Changes& changes, const command::NetworkReady& result);
void decide(Changes& changes, const command::NetworkFailed& observation);
void decide(Changes& changes, const command::InstanceStarted& result);
void decide(Changes& changes, const command::InstanceStartFailed& result);
void decide(Changes& changes, const command::InstanceStopped& result);
void decide(Changes& changes, const command::InstanceStopFailed& observation);
void decide(Changes& changes, const command::ContainerExited& observation);
void decide(Changes& changes, const command::ContainersListed& observation);
void decide(Changes& changes, const command::Probed& observation);
void decide(Changes& changes, const command::Judged& observation);
void decide(Changes& changes, const command::LatencyBaseline& observation);

// One pass over an environment. Call until it emits nothing (platform::decide does, with a bound).
void reconcile(Changes& changes, const EnvKey& environment);

// ---- what the other files of this folder share

inline constexpr milliseconds kDrain{2'000};  // from out-of-the-routes to SIGTERM, for requests under way
inline constexpr std::uint32_t kMaxCrashesAtStart =
    3;  // of a new release's instance before it was ever ready
inline constexpr milliseconds kMaxBackOff{60'000};
// How long a stopped environment's instances wait for the gateway to let go of them: it may be away, or
// refuse every table.
inline constexpr milliseconds kRoutesPatience{15'000};
// Beyond a container's own grace: what still is not gone then does not keep a rollout from ending.
inline constexpr milliseconds kStopPatience{60'000};
inline constexpr std::uint32_t kEvidenceSlots = 16;  // ipc/telemetry.h has as many
// Rollouts in a step at the same time: one slot is free whenever one of them takes its next step.
inline constexpr std::uint32_t kMaxStepping = kEvidenceSlots - 1;

template <class F>
void each_instance(const State& state, const Environment& environment, F f) {
  for (const auto& [id, instance] : state.instances)
    if (instance.app == environment.app && instance.environment == environment.name) f(instance);
}
// Its container may exist and hold the volume.
bool occupies(const Instance& instance);
// Runs only because of `to`.
bool is_new(const Release* from, const Release& to, const Instance& instance);
// It was asked to stop and has had more than its time.
bool is_overdue(const State& state, const Environment& environment, const Instance& instance, WallTime now);

// A service of `release` that another one waits for with service_completed_successfully.
bool is_oneshot(const Release& release, std::string_view service);
// Those of what is being rolled out that have not ended well yet; a rollback runs none.
std::vector<const ReleaseService*> oneshots_left(const Release& release, const Rollout& rollout);
// `service` reaches `on` by depends_on.
bool depends_transitively(const Release& release, std::string_view service, std::string_view on);

struct Wanted {
  ReleaseId release = 0;  // where its spec is found
  std::uint32_t count = 1;
  bool oneshot = false;
};
// (service, revision) -> how many should run now, by the environment's phase.
using WantedSet = std::map<std::pair<std::string, Digest>, Wanted>;
WantedSet wanted_instances(const State& state, const Environment& environment);

// Starts, restarts, retires and stops instances until they are what is wanted.
void converge_instances(Changes& changes, const EnvKey& environment);
// Moves the environment's rollout along its phases.
void advance_rollout(Changes& changes, const EnvKey& environment);

// "v7"; "nothing" for none.
std::string version_name(const State& state, std::optional<ReleaseId> id);
std::string port_taken_by(const TakenPort& taken);
void change_phase(Changes& changes, RolloutId id, RolloutPhase phase, std::string reason);
// It goes to users in the steps of its policy: a rollback, a first release, and what only recreates a
// stateful service go to everybody at once.
bool takes_steps(const State& state, const Rollout& rollout);
void start_rollout(Changes& changes, const EnvKey& environment, ReleaseId to, bool is_rollback);

// The services of `to` whose revision differs from the one in `from` (all, when there is no `from`), without
// one-shots.
std::vector<const ReleaseService*> changed_services(const Release* from, const Release& to);
// The services of `from` whose state `service` of `to` takes over, under its own name or as another's heir:
// nobody else may run it, so that they go before it comes.
std::vector<const ReleaseService*> taken_over(const Release* from, const Release& to,
                                              const ReleaseService& service);
// It takes over the state of something that is not asked to go yet.
bool is_still_to_swap(const Release* from, const Release& to, const Rollout& rollout,
                      const ReleaseService& service);
// What `release`, which is being rolled out, waits for before what depends so is started: of a service that
// is still to be swapped for its new one, the new one.
bool is_met(const State& state, const Environment& environment, const Release& release,
            const Rollout& rollout, const Dependency& dependency);
// One of them that is not ready, rather one that waits for no other of them; null when all are.
const ReleaseService* not_ready(const State& state, const Environment& environment,
                                const std::vector<const ReleaseService*>& services);
std::string why_not_ready(const State& state, const Environment& environment, const ReleaseService& service);

// What a release waits for while it is prepared.
struct Waiting {
  std::string reason;   // "" = for nothing
  std::string service;  // whose log tells more; "" = nobody's
  // Since when the deadline of its policy runs; none while it waits for what takes its own time.
  std::optional<WallTime> since;
};
Waiting waiting_of(const State& state, const Environment& environment, const Rollout& rollout, WallTime now);

// The later of `since` and the moment from which somebody looks (or, of a stopped one, since when it should
// stop): no deadline runs while the environment is stopped or Naru is down.
WallTime watched_since(const State& state, const Environment& environment, WallTime since);
// What the environment served before its stable release, and goes back to by `naru rollback`: none when there
// is none.
const Release* previous_release(const State& state, const Environment& environment);
// Of those that are kept of a step and those that are known of it now at most kMaxExamples, the canary's
// first, of each side the newest, in the order in which they happened.
std::vector<FailedExample> kept_examples(const std::vector<FailedExample>& kept,
                                         const std::vector<FailedExample>& seen);
// A newer release took its place before it was judged: it has come back, or is on its way.
bool was_superseded(const Rollout& rollout);
// Everybody of its environment met it: a rollback goes to no other.
bool has_served(const State& state, const Release& release);
bool all_ready(const State& state, const Environment& environment, const ReleaseService& service);

}  // namespace naru::rollout
