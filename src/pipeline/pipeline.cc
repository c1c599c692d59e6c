#include "pipeline/pipeline.h"

#include "model/json_text.h"

namespace naru::pipeline {

namespace {

bool unfinished(const Pipeline& pipeline) {
  return pipeline.state == StageState::waiting || pipeline.state == StageState::running;
}

const Pipeline* newest(const State& state, const std::string& app) {
  const Pipeline* found = nullptr;
  for (const auto& [id, pipeline] : state.pipelines)
    if (pipeline.app == app) found = &pipeline;
  return found;
}

void drop_actions(Changes& changes, PipelineId id) {
  std::vector<ActionId> gone;
  for (const auto& [action_id, action] : changes.state().outbox) {
    const bool ours = action.kind == ActionKind::plan_pipeline || action.kind == ActionKind::build_service;
    if (ours && action.subject == std::to_string(id)) gone.push_back(action_id);
  }
  for (const ActionId action : gone) changes.done(action);
}

void finish(Changes& changes, PipelineId id, StageState state, std::string error, std::string hint = {}) {
  drop_actions(changes, id);
  changes.emit(event::PipelineFinished{id, state, std::move(error), {}, std::move(hint)});
}

void start(Changes& changes, const command::Push& push, bool rerun = false) {
  cancel(changes, push.app, fmt::format("superseded by {}", push.commit.substr(0, 10)));
  Pipeline pipeline;
  pipeline.id = changes.next_id();
  pipeline.app = push.app;
  pipeline.ref = push.ref;
  pipeline.commit = push.commit;
  pipeline.subject = push.subject;
  pipeline.author = push.author;
  pipeline.rerun = rerun;
  pipeline.pushed = changes.now();
  const auto subject = std::to_string(pipeline.id);
  changes.emit(event::PipelineCreated{std::move(pipeline)});
  changes.queue(ActionKind::plan_pipeline, subject);
}

Release release_of(Changes& changes, const Pipeline& pipeline, const ApplicationSpec& spec,
                   const EnvironmentSpec& environment, std::uint64_t version) {
  Release release;
  release.id = changes.next_id();
  release.app = pipeline.app;
  release.environment = environment.name;
  release.after = environment.after;
  release.version = version;
  release.commit = pipeline.commit;
  release.subject = pipeline.subject;
  release.author = pipeline.author;
  release.pipeline = pipeline.id;
  release.volumes = spec.volumes;
  release.policy = spec.rollout;
  release.deploy = environment.deploy;
  release.created = changes.now();
  for (const ServiceSpec& service : spec.services)
    for (const BuildStage& stage : pipeline.builds)
      if (stage.service == service.name) release.services.push_back({service, *stage.image, {}});
  for (ReleaseService& service : release.services) service.revision = revision_of(release, service);
  return release;
}

void make_releases(Changes& changes, const Pipeline& found) {
  // As it was: `found` stands in the state, which the events change.
  const Pipeline pipeline = found;  // NOLINT(performance-unnecessary-copy-initialization)
  const std::uint64_t version = changes.state().apps.at(pipeline.app).last_version + 1;
  ReleaseId shown = 0;
  for (const EnvironmentSpec& environment : pipeline.spec.every_environment()) {
    const EnvKey key = env_key(pipeline.app, environment.name);
    if (!changes.state().environments.contains(key)) {
      Environment fresh;
      fresh.app = pipeline.app;
      fresh.name = environment.name;
      changes.emit(event::EnvironmentCreated{std::move(fresh)});
    }
    const auto elsewhere = pipeline.elsewhere.find(environment.name);
    const ApplicationSpec& spec = elsewhere == pipeline.elsewhere.end() ? pipeline.spec : elsewhere->second;
    Release release = release_of(changes, pipeline, spec, environment, version);
    const ReleaseId id = release.id;
    if (environment.name == kProduction) shown = id;
    changes.emit(event::ReleaseCreated{std::move(release)});
    if (environment.after.empty())
      changes.emit(event::ReleasePending{key, id, environment.deploy == DeployMode::automatic});
  }
  changes.emit(event::PipelineFinished{pipeline.id, StageState::succeeded, {}, shown});
}

}  // namespace

Digest revision_of(const Release& release, const ReleaseService& service) {
  ServiceSpec running = service.spec;
  running.build.reset();
  running.image.clear();
  running.test_target.clear();
  Json what{{"spec", running}, {"image", service.image}};
  const bool beside = std::ranges::any_of(running.mounts, [&](const MountSpec& mount) {
    return mount.keeps_state() && written_by_another(release, running, mount);
  });
  if (beside) what["beside"] = true;
  return Digest::of_sha256(json_text(what));
}

Result<void> decide(Changes& changes, const command::Push& push) {
  const auto app = changes.state().apps.find(push.app);
  if (app == changes.state().apps.end())
    return fail(Code::not_found, "there is no application '{}'; create it with `naru app create {}`",
                push.app, push.app);
  if (push.ref != "refs/heads/" + app->second.branch) return {};
  const Pipeline* last = newest(changes.state(), push.app);
  if (last != nullptr && last->commit == push.commit) return {};
  const bool known = std::ranges::any_of(changes.state().pipelines, [&](const auto& row) {
    return row.second.app == push.app && row.second.commit == push.commit;
  });
  if (push.recovered && known) return {};
  start(changes, push);
  return {};
}

Result<void> decide(Changes& changes, const command::RetryPipeline& retry) {
  const State& state = changes.state();
  if (!state.apps.contains(retry.app))
    return fail(Code::not_found, "there is no application '{}'", retry.app);
  const Pipeline* again = newest(state, retry.app);
  if (again == nullptr) return fail(Code::not_found, "{} has had no push yet", retry.app);
  if (retry.pipeline) {
    const auto found = state.pipelines.find(*retry.pipeline);
    if (found == state.pipelines.end() || found->second.app != retry.app)
      return fail(Code::not_found, "{} has no pipeline {}", retry.app, *retry.pipeline);
    again = &found->second;
  }
  if (again->state != StageState::failed)
    return fail(Code::conflict, "pipeline {} of {} {}; only one that failed is tried again", again->id,
                retry.app,
                again->state == StageState::succeeded   ? "has succeeded"
                : again->state == StageState::cancelled ? "was cancelled"
                : again->state == StageState::running   ? "is running"
                                                        : "is waiting");
  for (const auto& [id, other] : state.pipelines)
    if (other.app == retry.app && id > again->id &&
        (unfinished(other) || other.state == StageState::succeeded))
      return std::unexpected(
          Error{Code::conflict,
                fmt::format("pipeline {} of {} is newer and is {}: an older commit would take it back", id,
                            retry.app, Json(other.state).get<std::string>()),
                0, "push the commit again if it is what you want"});
  start(changes, {again->app, again->ref, again->commit, again->subject, again->author}, true);
  return {};
}

namespace {

// What is on its way to everybody there, or else what everybody meets.
const Release* current_release(const State& state, const Environment& environment) {
  if (environment.pending) return state.release(environment.pending);
  const Rollout* rollout = state.active_rollout(environment);
  const bool comes = rollout != nullptr && rollout->phase != RolloutPhase::rolling_back;
  return state.release(comes ? std::optional(rollout->to) : environment.stable);
}

// It was offered somewhere, and is neither there nor on its way there any more.
bool came_back(const State& state, const Release& release) {
  return std::ranges::any_of(state.releases, [&](const auto& row) {
    const Release& there = row.second;
    if (there.app != release.app || there.version != release.version) return false;
    const auto environment = state.environments.find(env_key(there.app, there.environment));
    if (environment == state.environments.end() || there.id > environment->second.offered) return false;
    const Release* current = current_release(state, environment->second);
    return current == nullptr || current->version < there.version;
  });
}

// What a new delivery with other variables is made of: what `environment` has or is getting, or something
// newer that another one has or gets and that came back nowhere.
const Release* newest_current(const State& state, const EnvKey& environment) {
  const Environment& own = state.environments.at(environment);
  const Release* found = current_release(state, own);
  for (const auto& [key, other] : state.environments) {
    const Release* release = other.app == own.app ? current_release(state, other) : nullptr;
    if (release == nullptr || (found != nullptr && release->version <= found->version)) continue;
    if (!came_back(state, *release)) found = release;
  }
  return found;
}

}  // namespace

const Pipeline* to_rerun(const State& state, const EnvKey& environment) {
  const Pipeline* again = newest(state, state.environments.at(environment).app);
  if (again == nullptr || unfinished(*again)) return again;
  const Release* release = newest_current(state, environment);
  if (release == nullptr) return again;
  const auto made = state.pipelines.find(release->pipeline);
  return made == state.pipelines.end() ? again : &made->second;
}

void rerun(Changes& changes, const EnvKey& environment, const std::string& subject) {
  const Pipeline* again = to_rerun(changes.state(), environment);
  if (again == nullptr) return;
  start(changes, {again->app, again->ref, again->commit, subject, again->author}, true);
}

std::vector<std::string> undeclared_environments(const State& state, const std::string& app,
                                                 const ApplicationSpec& spec) {
  const auto declared = spec.every_environment();
  std::vector<std::string> names;
  for (const auto& [key, environment] : state.environments)
    if (environment.app == app &&
        std::ranges::find(declared, environment.name, &EnvironmentSpec::name) == declared.end())
      names.push_back(environment.name);
  return names;
}

Result<void> check_environments(const State& state, const std::string& app, const ApplicationSpec& spec) {
  const std::size_t declared = spec.every_environment().size();
  const auto others = undeclared_environments(state, app, spec);
  if (declared + others.size() <= kMaxEnvironments) return {};
  return std::unexpected(
      Error{Code::too_large,
            fmt::format("x-naru.environments: {} environments, and {} has {} more that the file does not "
                        "declare ({}); {} is the most",
                        declared, app, others.size(), fmt::join(others, ", "), kMaxEnvironments),
            0,
            fmt::format("remove what is no longer needed, as `naru app rm {}/{}`", app,
                        others.empty() ? "ENVIRONMENT" : others.front())});
}

void cancel(Changes& changes, const std::string& app, const std::string& reason) {
  std::vector<PipelineId> running;
  for (const auto& [id, pipeline] : changes.state().pipelines)
    if (pipeline.app == app && unfinished(pipeline)) running.push_back(id);
  for (const PipelineId id : running) finish(changes, id, StageState::cancelled, reason);
}

const Release* waiting_release(const State& state, const Environment& environment) {
  const auto newest = std::find_if(state.releases.rbegin(), state.releases.rend(), [&](const auto& row) {
    return row.second.app == environment.app && row.second.environment == environment.name;
  });
  if (newest == state.releases.rend()) return nullptr;
  const Release& release = newest->second;
  return release.after.empty() || release.id <= environment.offered ? nullptr : &release;
}

namespace {

// What everybody meets there since a rollout ended: one that has begun since has changed nothing yet.
const Release* settled_release(const State& state, const Environment& environment) {
  const Rollout* rollout = state.active_rollout(environment);
  const bool moved =
      rollout != nullptr && (rollout->phase == RolloutPhase::completing || !rollout->swapped.empty());
  return moved ? nullptr : state.release(environment.stable);
}

}  // namespace

void hand_on(Changes& changes, const EnvKey& key) {
  const State& state = changes.state();
  const Environment& environment = state.environments.at(key);
  for (auto row = state.releases.rbegin(); row != state.releases.rend(); ++row) {
    const Release& release = row->second;
    if (release.id <= environment.offered) return;
    if (release.app != environment.app || release.environment != environment.name || release.after.empty())
      continue;
    const Environment* before = environment_before(state, release);
    if (before == nullptr) continue;
    const Release* served = settled_release(state, *before);
    if (served == nullptr || served->version != release.version) continue;
    changes.emit(event::ReleasePending{key, release.id, release.deploy == DeployMode::automatic});
    return;
  }
}

void decide(Changes& changes, const command::PlanFinished& result) {
  changes.done(result.action);
  const auto found = changes.state().pipelines.find(result.pipeline);
  if (found == changes.state().pipelines.end() || found->second.planned || !unfinished(found->second)) return;
  if (!result.error.empty())
    return finish(changes, result.pipeline, StageState::failed, result.error, result.hint);
  if (const auto fits = check_environments(changes.state(), found->second.app, result.spec); !fits)
    return finish(changes, result.pipeline, StageState::failed, fits.error().message(),
                  std::string(fits.error().hint()));
  changes.emit(event::PipelinePlanned{result.pipeline, result.spec, result.elsewhere, result.warnings});
  for (const ServiceSpec& service : result.spec.services) {
    changes.emit(event::BuildStarted{result.pipeline, service.name});
    changes.queue(ActionKind::build_service, std::to_string(result.pipeline), service.name);
  }
}

std::vector<std::string> volume_warnings(const ServiceSpec& spec, const ImageInfo& image) {
  constexpr std::size_t kMost = 5, kLongest = 200;
  std::vector<std::string> warnings;
  for (const std::string& volume : image.volumes) {
    const bool kept = std::ranges::any_of(spec.mounts, [&](const MountSpec& mount) {
      return volume == mount.target || volume.starts_with(mount.target + "/");
    });
    if (kept || warnings.size() >= kMost) continue;
    const std::string path = volume.substr(0, kLongest);
    warnings.push_back(
        fmt::format("VOLUME {} of the image of {} is not kept: name it under services.{}.volumes, as data:{}",
                    path, spec.name, spec.name, path));
  }
  return warnings;
}

void decide(Changes& changes, const command::BuildFinished& result) {
  changes.done(result.action);
  const auto found = changes.state().pipelines.find(result.pipeline);
  if (found == changes.state().pipelines.end() || !unfinished(found->second)) return;
  const Pipeline& pipeline = found->second;
  const auto stage = std::ranges::find(pipeline.builds, result.service, &BuildStage::service);
  if (stage == pipeline.builds.end() || stage->state != StageState::running) return;
  const ServiceSpec* service = pipeline.spec.find(result.service);
  std::vector<std::string> warnings;
  if (service != nullptr && result.error.empty()) warnings = volume_warnings(*service, result.image);
  changes.emit(event::BuildFinished{result.pipeline, result.service, result.error.empty(), result.cached,
                                    result.image, result.error, std::move(warnings)});
  if (!result.error.empty())
    return finish(changes, result.pipeline, StageState::failed,
                  fmt::format("{}: {}", result.service, result.error), result.hint);
  if (std::ranges::all_of(pipeline.builds,
                          [](const BuildStage& s) { return s.state == StageState::succeeded; }))
    make_releases(changes, pipeline);
}

}  // namespace naru::pipeline
