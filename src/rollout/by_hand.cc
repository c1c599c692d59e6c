// What people decide about rollouts: promote, abort, roll back, stop.
#include <ranges>

#include "rollout/rollout.h"

namespace naru::rollout {

namespace {

using Phase = RolloutPhase;

Result<const Environment*> find_environment(const Changes& changes, const EnvKey& key) {
  const auto found = changes.state().environments.find(key);
  if (found == changes.state().environments.end())
    return fail(Code::not_found, "there is no environment '{}'", key);
  return &found->second;
}

Result<void> check_ports(const State& state, const EnvKey& key, const Release& release) {
  const auto taken = taken_port(state, release);
  if (!taken) return {};
  return std::unexpected(Error{
      Code::port_taken, fmt::format("{}: v{}: {}", key, release.version, port_taken_by(*taken)), 0,
      fmt::format("push a release of {} that publishes another port, or one of its owner that gives it up",
                  release.app)});
}

std::string target(const Environment& environment) {
  return target_of(environment.app, environment.name);
}

Result<const Release*> find_version(const State& state, const Environment& environment,
                                    std::uint64_t version) {
  for (const auto& [id, release] : state.releases)
    if (release.app == environment.app && release.environment == environment.name &&
        release.version == version)
      return &release;
  return std::unexpected(Error{Code::not_found,
                               fmt::format("{}: there is no release v{}", target(environment), version), 0,
                               fmt::format("naru releases {} lists what is kept", target(environment))});
}

// Nothing else begins while a rollout is under way; one that comes back already ends by itself.
Result<void> check_alone(const State& state, const EnvKey& key, const Environment& environment) {
  const Rollout* rollout = state.active_rollout(environment);
  if (rollout == nullptr) return {};
  const std::string to = version_name(state, rollout->to);
  const std::string name = target(environment);
  if (rollout->phase == Phase::rolling_back)
    return std::unexpected(
        Error{Code::conflict, fmt::format("{}: {} is being taken back already", key, to), 0,
              fmt::format("wait a moment: `naru status {}` says when it is done; then, if need be, once more",
                          name)});
  if (rollout->phase == Phase::completing)
    return std::unexpected(Error{Code::conflict, fmt::format("{}: {} comes to everybody just now", key, to),
                                 0, "wait a moment, then once more"});
  return std::unexpected(Error{Code::conflict, fmt::format("{}: the rollout of {} is under way", key, to), 0,
                               fmt::format("`naru abort {}` takes it back", name)});
}

// A release by its version, once more from the beginning: its one-shots, its steps, the judge.
Result<void> offer_again(Changes& changes, const EnvKey& key, const Environment& environment,
                         std::uint64_t version) {
  const State& state = changes.state();
  const Release* release = TRY(find_version(state, environment, version));
  TRY(check_alone(state, key, environment));
  if (environment.stable == release->id) return fail(Code::conflict, "{}: v{} is what runs", key, version);
  if (environment_before(state, *release) != nullptr && release->id > environment.offered)
    return fail(Code::conflict, "{}: v{} comes here when {} serves it", key, version, release->after);
  TRY(check_ports(state, key, *release));
  start_rollout(changes, key, release->id, false);
  return {};
}

// The newest that was offered here after what runs, and came back.
std::string try_again_hint(const State& state, const Environment& environment) {
  const Release* stable = state.release(environment.stable);
  for (const auto& [id, release] : std::views::reverse(state.releases)) {
    if (release.app != environment.app || release.environment != environment.name) continue;
    if (release.id > environment.offered)
      return fmt::format("v{} comes here when {} serves it: see naru status {}", release.version,
                         release.after, target_of(environment.app, release.after));
    if (stable != nullptr && release.version <= stable->version) break;
    return fmt::format("to try v{0} again: naru promote {1} v{0}", release.version, target(environment));
  }
  return "push a commit";
}

}  // namespace

// An older Naru did not write down what served; its rollouts may still say so.
bool has_served(const State& state, const Release& release) {
  return release.served || std::ranges::any_of(state.rollouts, [&](const auto& row) {
           return row.second.to == release.id && row.second.phase == Phase::done;
         });
}

Result<void> decide(Changes& changes, const command::Promote& command) {
  const Environment* environment = TRY(find_environment(changes, command.environment));
  if (command.version) {
    const Rollout* active = changes.state().active_rollout(*environment);
    const Release* meant =
        changes.state().release(active != nullptr ? std::optional(active->to) : environment->pending);
    if (meant == nullptr || meant->version != *command.version)
      return offer_again(changes, command.environment, *environment, *command.version);
  }
  if (const Rollout* rollout = changes.state().active_rollout(*environment)) {
    if (rollout->phase != Phase::stepping)
      return fail(Code::conflict, "{}: {} {}; there is nothing to promote", command.environment,
                  version_name(changes.state(), rollout->to),
                  rollout->phase == Phase::preparing      ? "is being started"
                  : rollout->phase == Phase::rolling_back ? "is being taken back"
                                                          : "comes to everybody just now");
    TRY(check_ports(changes.state(), command.environment, *changes.state().release(rollout->to)));
    changes.emit(event::RolloutResumed{rollout->id, command.by});
    return {};
  }
  if (!environment->pending)
    return std::unexpected(Error{Code::conflict,
                                 fmt::format("{}: no release waits to be promoted", command.environment), 0,
                                 try_again_hint(changes.state(), *environment)});
  TRY(check_ports(changes.state(), command.environment, *changes.state().release(environment->pending)));
  changes.emit(event::ReleasePending{command.environment, environment->pending, true});
  return {};
}

Result<void> decide(Changes& changes, const command::Abort& command) {
  const Environment* environment = TRY(find_environment(changes, command.environment));
  const Rollout* rollout = changes.state().active_rollout(*environment);
  if (rollout == nullptr)
    return fail(Code::conflict, "{}: no rollout is under way that could be aborted", command.environment);
  if (rollout->phase != Phase::preparing && rollout->phase != Phase::stepping)
    return check_alone(changes.state(), command.environment, *environment);
  change_phase(changes, rollout->id, Phase::rolling_back,
               "aborted by " + (command.by == "local" ? "hand, on this machine" : command.by));
  return {};
}

Result<void> decide(Changes& changes, const command::Rollback& command) {
  const Environment* environment = TRY(find_environment(changes, command.environment));
  TRY(check_alone(changes.state(), command.environment, *environment));
  const Release* stable = changes.state().release(environment->stable);
  if (stable == nullptr) return fail(Code::conflict, "{}: nothing was released yet", command.environment);
  const Release* to = nullptr;
  if (command.version) {
    to = TRY(find_version(changes.state(), *environment, *command.version));
  } else {  // what this environment served before
    to = previous_release(changes.state(), *environment);
    if (to == nullptr)
      return fail(Code::conflict, "{}: there is no release before v{}", command.environment, stable->version);
  }
  if (to->id == stable->id)
    return fail(Code::conflict, "{}: v{} is what runs", command.environment, stable->version);
  if (command.version && !has_served(changes.state(), *to))
    return std::unexpected(Error{
        Code::conflict,
        fmt::format(
            "{}: v{} never served everybody there: a rollback would skip its one-shots and its canary",
            command.environment, to->version),
        0, fmt::format("deliver it with both: naru promote {} v{}", target(*environment), to->version)});
  TRY(check_ports(changes.state(), command.environment, *to));
  start_rollout(changes, command.environment, to->id, true);
  return {};
}

Result<void> decide(Changes& changes, const command::StopEnvironment& command) {
  const Environment* environment = TRY(find_environment(changes, command.environment));
  if (environment->stopped != command.stopped)
    changes.emit(event::EnvironmentStopped{command.environment, command.stopped});
  return {};
}

}  // namespace naru::rollout
