#include "pipeline/pipeline.h"

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

void finish(Changes& changes, PipelineId id, StageState state, std::string error) {
  drop_actions(changes, id);
  changes.emit(event::PipelineFinished{id, state, std::move(error), {}});
}

void start(Changes& changes, const command::Push& push) {
  std::vector<PipelineId> older;
  for (const auto& [id, pipeline] : changes.state().pipelines)
    if (pipeline.app == push.app && unfinished(pipeline)) older.push_back(id);
  for (const PipelineId id : older)
    finish(changes, id, StageState::cancelled, fmt::format("superseded by {}", push.commit.substr(0, 10)));

  Pipeline pipeline;
  pipeline.id = changes.next_id();
  pipeline.app = push.app;
  pipeline.ref = push.ref;
  pipeline.commit = push.commit;
  pipeline.subject = push.subject;
  pipeline.author = push.author;
  pipeline.pushed = changes.now();
  const auto subject = std::to_string(pipeline.id);
  changes.emit(event::PipelineCreated{std::move(pipeline)});
  changes.queue(ActionKind::plan_pipeline, subject);
}

void make_release(Changes& changes, const Pipeline& pipeline) {
  Release release;
  release.id = changes.next_id();
  release.app = pipeline.app;
  release.version = changes.state().apps.at(pipeline.app).last_version + 1;
  release.commit = pipeline.commit;
  release.subject = pipeline.subject;
  release.author = pipeline.author;
  release.pipeline = pipeline.id;
  release.volumes = pipeline.spec.volumes;
  release.policy = pipeline.spec.rollout;
  release.deploy = pipeline.spec.deploy;
  release.created = changes.now();
  for (const ServiceSpec& spec : pipeline.spec.services)
    for (const BuildStage& stage : pipeline.builds)
      if (stage.service == spec.name)
        release.services.push_back({spec, *stage.image, revision_of(spec, *stage.image)});

  const ReleaseId id = release.id;
  const bool automatic = release.deploy == DeployMode::automatic;
  const PipelineId pipeline_id = pipeline.id;
  const std::string app = pipeline.app;
  changes.emit(event::ReleaseCreated{std::move(release)});
  changes.emit(event::PipelineFinished{pipeline_id, StageState::succeeded, {}, id});
  std::vector<EnvKey> environments;
  for (const auto& [key, environment] : changes.state().environments)
    if (environment.app == app) environments.push_back(key);
  for (const EnvKey& key : environments) changes.emit(event::ReleasePending{key, id, automatic});
}

}  // namespace

Digest revision_of(const ServiceSpec& spec, const ImageInfo& image) {
  ServiceSpec running = spec;
  running.build.reset();
  running.image.clear();
  running.test_target.clear();
  return Digest::of_sha256(Json{{"spec", running}, {"image", image}}.dump());
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

void rerun(Changes& changes, const std::string& app, const std::string& subject) {
  const Pipeline* again = newest(changes.state(), app);
  if (again == nullptr) return;
  // What runs or is about to, not what failed or was taken back since.
  const auto environment = changes.state().environments.find(env_key(app, "production"));
  if (!unfinished(*again) && environment != changes.state().environments.end()) {
    const Environment& production = environment->second;
    if (const Release* release =
            changes.state().release(production.pending ? production.pending : production.stable))
      if (const auto made = changes.state().pipelines.find(release->pipeline);
          made != changes.state().pipelines.end())
        again = &made->second;
  }
  start(changes, {app, again->ref, again->commit, subject, again->author});
}

void decide(Changes& changes, const command::PlanFinished& result) {
  changes.done(result.action);
  const auto found = changes.state().pipelines.find(result.pipeline);
  if (found == changes.state().pipelines.end() || found->second.planned || !unfinished(found->second)) return;
  if (!result.error.empty()) return finish(changes, result.pipeline, StageState::failed, result.error);
  changes.emit(event::PipelinePlanned{result.pipeline, result.spec, result.warnings});
  for (const ServiceSpec& service : result.spec.services) {
    changes.emit(event::BuildStarted{result.pipeline, service.name});
    changes.queue(ActionKind::build_service, std::to_string(result.pipeline), service.name);
  }
}

void decide(Changes& changes, const command::BuildFinished& result) {
  changes.done(result.action);
  const auto found = changes.state().pipelines.find(result.pipeline);
  if (found == changes.state().pipelines.end() || !unfinished(found->second)) return;
  const Pipeline& pipeline = found->second;
  const auto stage = std::ranges::find(pipeline.builds, result.service, &BuildStage::service);
  if (stage == pipeline.builds.end() || stage->state != StageState::running) return;
  changes.emit(event::BuildFinished{result.pipeline, result.service, result.error.empty(), result.cached,
                                    result.image, result.error});
  if (!result.error.empty())
    return finish(changes, result.pipeline, StageState::failed,
                  fmt::format("{}: {}", result.service, result.error));
  if (std::ranges::all_of(pipeline.builds,
                          [](const BuildStage& s) { return s.state == StageState::succeeded; }))
    make_release(changes, pipeline);
}

}  // namespace naru::pipeline
