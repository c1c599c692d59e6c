#include "rollout/rollout.h"

namespace naru::rollout {

bool is_oneshot(const Release& release, std::string_view service) {
  for (const ReleaseService& other : release.services)
    for (const Dependency& dependency : other.spec.depends_on)
      if (dependency.service == service && dependency.condition == DependencyCondition::completed)
        return true;
  return false;
}

std::vector<const ReleaseService*> oneshots_left(const Release& release, const Rollout& rollout) {
  std::vector<const ReleaseService*> left;
  if (rollout.is_rollback) return left;
  for (const ReleaseService& service : release.services)
    if (is_oneshot(release, service.spec.name) && !rollout.oneshots_done.contains(service.spec.name))
      left.push_back(&service);
  return left;
}

bool depends_transitively(const Release& release, std::string_view service, std::string_view on) {
  // Each is looked at once: the paths of a ladder of services are without number.
  std::set<std::string_view> seen{service};
  std::vector<std::string_view> left{service};
  while (!left.empty()) {
    const ReleaseService* found = release.find(left.back());
    left.pop_back();
    if (found == nullptr) continue;
    for (const Dependency& dependency : found->spec.depends_on) {
      if (dependency.service == on) return true;
      if (seen.insert(dependency.service).second) left.emplace_back(dependency.service);
    }
  }
  return false;
}

bool is_still_to_swap(const Release* from, const Release& to, const Rollout& rollout,
                      const ReleaseService& service) {
  const ReleaseService* before = from == nullptr ? nullptr : from->find(service.spec.name);
  return from != nullptr && (before == nullptr || before->revision != service.revision) &&
         std::ranges::find(rollout.swapped, service.spec.name) == rollout.swapped.end() &&
         !is_oneshot(to, service.spec.name) && !taken_over(from, to, service).empty();
}

std::vector<const ReleaseService*> changed_services(const Release* from, const Release& to) {
  std::vector<const ReleaseService*> changed;
  for (const ReleaseService& service : to.services) {
    if (is_oneshot(to, service.spec.name)) continue;
    const ReleaseService* before = from == nullptr ? nullptr : from->find(service.spec.name);
    if (before == nullptr || before->revision != service.revision) changed.push_back(&service);
  }
  return changed;
}

std::vector<const ReleaseService*> taken_over(const Release* from, const Release& to,
                                              const ReleaseService& service) {
  std::vector<const ReleaseService*> before;
  if (from == nullptr) return before;
  for (const ReleaseService& other : from->services)
    if (!is_oneshot(*from, other.spec.name) && excludes(to, service.spec, *from, other.spec))
      before.push_back(&other);
  return before;
}

WallTime watched_since(const State& state, const Environment& environment, WallTime since) {
  return std::max({since, environment.switched, state.counters.control_started});
}

bool all_ready(const State& state, const Environment& environment, const ReleaseService& service) {
  std::uint32_t ready = 0;
  for (const auto& [id, instance] : state.instances)
    if (instance.app == environment.app && instance.environment == environment.name &&
        instance.service == service.spec.name && instance.revision == service.revision &&
        (instance.phase == InstancePhase::ready || instance.phase == InstancePhase::completed))
      ++ready;
  return ready >= service.spec.replicas;
}

namespace {

void want_release(WantedSet& wanted, const Release& release) {
  for (const ReleaseService& service : release.services)
    if (!is_oneshot(release, service.spec.name))
      wanted[{service.spec.name, service.revision}] = {release.id, service.spec.replicas, false};
}

// While users may meet both: the new revisions beside the old ones, but of a stateful service exactly one.
void want_rollout(WantedSet& wanted, const State& state, const Rollout& rollout) {
  const Release& to = *state.release(rollout.to);
  const Release* from = state.release(rollout.from);
  for (const ReleaseService* service : changed_services(from, to)) {
    const std::string& name = service->spec.name;
    const auto before = taken_over(from, to, *service);
    const bool swapped = std::ranges::find(rollout.swapped, name) != rollout.swapped.end();
    if (!before.empty() && !swapped) continue;
    for (const ReleaseService* old : before) wanted.erase({old->spec.name, old->revision});
    wanted[{name, service->revision}] = {to.id, service->spec.replicas, false};
  }
  if (rollout.phase != RolloutPhase::preparing || rollout.is_rollback) return;
  for (const ReleaseService& service : to.services)
    if (is_oneshot(to, service.spec.name) && !rollout.oneshots_done.contains(service.spec.name))
      wanted[{service.spec.name, service.revision}] = {to.id, 1, true};
}

}  // namespace

WantedSet wanted_instances(const State& state, const Environment& environment) {
  WantedSet wanted;
  if (environment.stopped) return wanted;
  if (const Release* stable = state.release(environment.stable)) want_release(wanted, *stable);
  if (const Rollout* rollout = state.active_rollout(environment))
    if (rollout->phase == RolloutPhase::preparing || rollout->phase == RolloutPhase::stepping)
      want_rollout(wanted, state, *rollout);
  return wanted;
}

}  // namespace naru::rollout
