#include "platform/retention.h"

#include "pipeline/pipeline.h"
#include "rollout/rollout.h"

namespace naru::platform {

namespace {

using Ids = std::set<std::uint64_t>;

bool unfinished(const Pipeline& pipeline) {
  return pipeline.state == StageState::waiting || pipeline.state == StageState::running;
}

Ids kept_pipelines(const State& state, const std::string& app, std::size_t keep) {
  Ids ids;
  for (auto at = state.pipelines.rbegin(); at != state.pipelines.rend() && ids.size() < keep; ++at)
    if (at->second.app == app) ids.insert(at->first);
  std::optional<PipelineId> pushed;
  for (const auto& [id, pipeline] : state.pipelines) {
    if (pipeline.app != app) continue;
    if (unfinished(pipeline)) ids.insert(id);
    if (!pipeline.rerun) pushed = id;
  }
  if (pushed) ids.insert(*pushed);
  return ids;
}

Ids releases_in_use(const State& state, const std::string& app) {
  Ids ids;
  const auto use = [&](std::optional<ReleaseId> id) {
    if (id) ids.insert(*id);
  };
  const auto use_row = [&](const Release* release) {
    if (release != nullptr) ids.insert(release->id);
  };
  for (const auto& [key, environment] : state.environments) {
    if (environment.app != app) continue;
    use(environment.stable);
    use(environment.pending);
    use_row(rollout::previous_release(state, environment));
    use_row(pipeline::waiting_release(state, environment));
    if (const Rollout* rollout = state.active_rollout(environment)) {
      use(rollout->from);
      use(rollout->to);
    }
  }
  for (const auto& [id, instance] : state.instances)
    if (instance.app == app) use(instance.release);
  return ids;
}

Ids kept_versions(const State& state, const std::string& app, std::size_t keep, const Ids& pipelines) {
  Ids versions;
  for (auto at = state.releases.rbegin(); at != state.releases.rend() && versions.size() < keep; ++at)
    if (at->second.app == app) versions.insert(at->second.version);
  const Ids used = releases_in_use(state, app);
  for (const auto& [id, release] : state.releases)
    if (release.app == app && (used.contains(id) || pipelines.contains(release.pipeline)))
      versions.insert(release.version);
  return versions;
}

// Oldest first; of a version all releases or none.
std::vector<ReleaseId> forgettable_releases(const State& state, const std::string& app, const Ids& kept,
                                            std::size_t at_most) {
  std::vector<ReleaseId> ids;
  std::uint64_t last = 0;
  for (const auto& [id, release] : state.releases) {
    if (release.app != app || kept.contains(release.version)) continue;
    if (ids.size() >= at_most && release.version != last) break;
    ids.push_back(id);
    last = release.version;
  }
  return ids;
}

// A pipeline stays as long as its version does, and goes with it.
std::vector<PipelineId> forgettable_pipelines(const State& state, const std::string& app, const Ids& kept,
                                              const Ids& gone_releases, std::size_t at_most) {
  std::vector<PipelineId> ids;
  for (const auto& [id, pipeline] : state.pipelines) {
    if (pipeline.app != app || kept.contains(id)) continue;
    if (pipeline.release ? gone_releases.contains(*pipeline.release) : ids.size() < at_most)
      ids.push_back(id);
  }
  return ids;
}

// Rollouts of an environment that say what it goes back to.
bool gives_previous(const State& state, const Rollout& rollout) {
  const auto environment = state.environments.find(env_key(rollout.app, rollout.environment));
  return environment != state.environments.end() && rollout.to == environment->second.stable &&
         rollout.phase == RolloutPhase::done && rollout.from && !rollout.is_rollback;
}

std::vector<RolloutId> forgettable_rollouts(const State& state, const std::string& app, const Ids& gone) {
  std::vector<RolloutId> ids;
  std::map<std::string, std::size_t> seen;  // by environment, the newest first
  std::set<std::string> previous;           // environments whose way back has been met
  for (auto at = state.rollouts.rbegin(); at != state.rollouts.rend(); ++at) {
    const Rollout& rollout = at->second;
    if (rollout.app != app) continue;
    const bool young = ++seen[rollout.environment] <= kRolloutsKept;
    const bool needed = gives_previous(state, rollout) && previous.insert(rollout.environment).second;
    const bool names_gone = gone.contains(rollout.to) || (rollout.from && gone.contains(*rollout.from));
    if (!rollout.active() && (names_gone || (!young && !needed))) ids.push_back(rollout.id);
  }
  return ids;
}

}  // namespace

event::HistoryRemoved forgettable(const State& state, const std::string& app, std::size_t keep_releases,
                                  std::size_t at_most) {
  const std::size_t keep = std::max<std::size_t>(keep_releases, 1);
  const Ids pipelines = kept_pipelines(state, app, keep);
  event::HistoryRemoved removed;
  removed.app = app;
  removed.releases = forgettable_releases(state, app, kept_versions(state, app, keep, pipelines), at_most);
  const Ids gone(removed.releases.begin(), removed.releases.end());
  removed.rollouts = forgettable_rollouts(state, app, gone);
  removed.pipelines = forgettable_pipelines(state, app, pipelines, gone, at_most);
  return removed;
}

}  // namespace naru::platform
