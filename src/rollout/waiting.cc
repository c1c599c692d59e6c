// What a release waits for while it is prepared, and since when its deadline runs.
#include "rollout/rollout.h"

namespace naru::rollout {

using Phase = InstancePhase;

bool occupies(const Instance& instance) {
  return instance.phase == Phase::starting || instance.phase == Phase::running ||
         instance.phase == Phase::ready || instance.phase == Phase::retiring ||
         instance.phase == Phase::stopping;
}

bool is_new(const Release* from, const Release& to, const Instance& instance) {
  const ReleaseService* ours = to.find(instance.service);
  const ReleaseService* before = from == nullptr ? nullptr : from->find(instance.service);
  return ours != nullptr && ours->revision == instance.revision &&
         (instance.oneshot || before == nullptr || before->revision != instance.revision);
}

bool is_overdue(const State& state, const Environment& environment, const Instance& instance, WallTime now) {
  const Release* release = state.release(instance.release);
  const ReleaseService* service = release == nullptr ? nullptr : release->find(instance.service);
  const milliseconds grace = service == nullptr ? milliseconds(0) : service->spec.stop_grace;
  return instance.phase == Phase::stopping &&
         now - watched_since(state, environment, instance.retired_at) > grace + kStopPatience;
}

bool is_met(const State& state, const Environment& environment, const Release& release,
            const Rollout& rollout, const Dependency& dependency) {
  const bool done = rollout.is_rollback || rollout.oneshots_done.contains(dependency.service);
  if (dependency.condition == DependencyCondition::completed) return done;
  const ReleaseService* on = release.find(dependency.service);
  if (on == nullptr || (done && is_oneshot(release, dependency.service))) return true;
  if (is_still_to_swap(state.release(rollout.from), release, rollout, *on)) return false;
  const bool only_started = dependency.condition == DependencyCondition::started;
  bool met = false;
  each_instance(state, environment, [&](const Instance& instance) {
    if (instance.service != dependency.service) return;
    met = met || instance.phase == Phase::ready ||
          (only_started && (instance.phase == Phase::running || instance.phase == Phase::completed));
  });
  return met;
}

const ReleaseService* not_ready(const State& state, const Environment& environment,
                                const std::vector<const ReleaseService*>& services) {
  std::vector<const ReleaseService*> unready;
  std::set<std::string_view> names;
  for (const ReleaseService* service : services) {
    if (all_ready(state, environment, *service)) continue;
    unready.push_back(service);
    names.insert(service->spec.name);
  }
  const auto waits = [&](const ReleaseService* service) {
    return std::ranges::any_of(service->spec.depends_on,
                               [&](const Dependency& on) { return names.contains(on.service); });
  };
  const ReleaseService* found = nullptr;
  for (const ReleaseService* service : unready)
    if (found == nullptr || !waits(service)) found = service;
  return found;
}

std::string why_not_ready(const State& state, const Environment& environment, const ReleaseService& service) {
  std::string reason = fmt::format("{} is not ready", service.spec.name);
  each_instance(state, environment, [&](const Instance& instance) {
    if (instance.service == service.spec.name && instance.revision == service.revision &&
        !instance.error.empty())
      reason = fmt::format("{} is not ready: {}", service.spec.name, instance.error);
  });
  return reason;
}

namespace {

// What keeps it from being made, though it is in order itself: a service that need not have changed.
const ReleaseService* held_up_by(const State& state, const Environment& environment, const Release& release,
                                 const Rollout& rollout, const ReleaseService& service) {
  bool made = false;
  each_instance(state, environment, [&](const Instance& instance) {
    made = made || (instance.service == service.spec.name && instance.revision == service.revision);
  });
  if (made) return nullptr;
  for (const Dependency& on : service.spec.depends_on)
    if (on.condition != DependencyCondition::completed && !is_met(state, environment, release, rollout, on))
      return release.find(on.service);
  return nullptr;
}

// Holds a volume that a service of the new release takes over.
bool makes_room(const State& state, const Rollout& rollout, const Release& to, const Instance& instance) {
  const Release* of = state.release(instance.release);
  const ReleaseService* old = of == nullptr ? nullptr : of->find(instance.service);
  return old != nullptr && occupies(instance) &&
         std::ranges::any_of(rollout.swapped, [&](const std::string& heir) {
           const ReleaseService* service = to.find(heir);
           return service != nullptr && excludes(to, service->spec, *of, old->spec);
         });
}

// The deadline is for what can be started and does not become ready. A one-shot may take its time (`naru
// abort` ends it), and so may what makes room for its heir, until it is overdue.
std::optional<WallTime> deadline_since(const State& state, const Environment& environment,
                                       const Rollout& rollout, WallTime now) {
  const Release* from = state.release(rollout.from);
  const Release& to = *state.release(rollout.to);
  WallTime since = rollout.created;
  bool held = false;
  each_instance(state, environment, [&](const Instance& instance) {
    if (!is_new(from, to, instance)) {
      held = held ||
             (makes_room(state, rollout, to, instance) && !is_overdue(state, environment, instance, now));
      return;
    }
    const bool works = instance.phase == Phase::starting || instance.phase == Phase::running;
    held = held || (instance.oneshot && works);
    since = std::max({since, instance.created, instance.started});
  });
  if (held) return std::nullopt;
  return watched_since(state, environment, since);
}

}  // namespace

Waiting waiting_of(const State& state, const Environment& environment, const Rollout& rollout, WallTime now) {
  const Release& to = *state.release(rollout.to);
  Waiting waiting;
  for (const ReleaseService& service : to.services)
    if (is_oneshot(to, service.spec.name) && !rollout.is_rollback &&
        !rollout.oneshots_done.contains(service.spec.name))
      waiting.reason = fmt::format("waiting for the one-shot service {} to end", service.spec.name);
  if (const auto* unready =
          not_ready(state, environment, changed_services(state.release(rollout.from), to))) {
    const ReleaseService* cause = held_up_by(state, environment, to, rollout, *unready);
    if (cause == nullptr) cause = unready;
    waiting.reason = why_not_ready(state, environment, *cause);
    waiting.service = cause->spec.name;
  }
  if (!environment.network && !environment.network_error.empty()) {
    waiting.reason =
        fmt::format("the network of {} cannot be made: {}", rollout.environment, environment.network_error);
    waiting.service.clear();  // nothing of it has run: there is no log
  }
  if (!waiting.reason.empty()) waiting.since = deadline_since(state, environment, rollout, now);
  return waiting;
}

}  // namespace naru::rollout
