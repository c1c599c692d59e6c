// `naru rollout`, `promote`, `abort`, `rollback`, `releases` and `pipeline`.
#include "cli/event_stream.h"
#include "cli/render.h"
#include "cli/target.h"
#include "cli/verbs.h"

namespace naru::cli {

namespace {

View view_of(const Session& session) {
  return {session.terminal.style, session.columns(), session.now_ms()};
}

Done command(const Session& session, const Target& target, const char* name, Json body = Json::object()) {
  body["env"] = target.env;
  const Json status =
      TRY(session.control().post(fmt::format("/v1/apps/{}/{}", path_part(target.app), name), body));
  if (session.json)
    session.document(status);
  else
    session.print("{}: {}\n", target.text(), text(status, "message"));
  return 0;
}

Done command_with_version(const Session& session, const RolloutOptions& options, const char* name) {
  const Target target = TRY(parse_app(options.app));
  Json body = Json::object();
  if (!options.version.empty()) body["version"] = TRY(parse_version(options.version));
  return command(session, target, name, std::move(body));
}

Result<Json> pipeline_of(const ControlClient& control, const Target& target, std::uint64_t id) {
  if (id != 0) return control.get(fmt::format("/v1/pipelines/{}", id));
  const Json answer = TRY(control.get(fmt::format("/v1/apps/{}/pipelines?limit=1", path_part(target.app))));
  const Json& all = list(answer, "pipelines");
  if (all.empty())
    return std::unexpected(Error{Code::not_found, fmt::format("{} has had no push yet", target.app), 0,
                                 "in its repository: git push naru main"});
  return all.front();
}

// The whole log; while the pipeline runs, as it is written.
Done show_log(const Session& session, const ControlClient& control, std::uint64_t id) {
  LineStream lines([&](std::string_view line) -> Result<void> {
    if (session.json)
      session.json_line({{"line", line}});
    else
      session.print("{}\n", session.written(line));
    return {};
  });
  TRY(control.stream("GET", fmt::format("/v1/pipelines/{}/log?follow=1", id), nullptr,
                     [&](std::string_view bytes) { return lines.feed(bytes); }));
  TRY(lines.finish());
  return 0;
}

}  // namespace

Done rollout(const Session& session, const RolloutOptions& options) {
  const Target target = TRY(parse_app(options.app));
  const Json answer = TRY(session.control().get(
      fmt::format("/v1/apps/{}/rollout?{}", path_part(target.app), query_part("env", target.env))));
  if (session.json)
    session.document(answer);
  else
    session.say(render_rollout(answer, view_of(session)));
  return 0;
}

Done promote(const Session& session, const RolloutOptions& options) {
  return command_with_version(session, options, "promote");
}

Done abort_rollout(const Session& session, const RolloutOptions& options) {
  return command(session, TRY(parse_app(options.app)), "abort");
}

Done rollback(const Session& session, const RolloutOptions& options) {
  return command_with_version(session, options, "rollback");
}

Done releases(const Session& session, const AppOptions& options) {
  const Target target = TRY(parse_app(options.app));
  const Json answer = TRY(session.control().get(
      fmt::format("/v1/apps/{}/releases?{}", path_part(target.app), query_part("env", target.env))));
  if (session.json)
    session.document(answer);
  else
    session.say(render_releases(answer, view_of(session)));
  return 0;
}

Done pipeline_retry(const Session& session, const PipelineOptions& options) {
  const Target target = TRY(parse_app(options.app));
  const ControlClient control = session.control();
  const Json body = options.id == 0 ? Json::object() : Json{{"id", options.id}};
  const Json answer =
      TRY(control.post(fmt::format("/v1/apps/{}/pipelines/retry", path_part(target.app)), body));
  const auto id = static_cast<std::uint64_t>(number(answer, "id"));
  if (options.log) return show_log(session, control, id);
  if (session.json)
    session.document(answer);
  else
    session.print("{}: commit {} runs again as pipeline {}: naru pipeline {} {} --log\n", target.app,
                  text(answer, "commit").substr(0, 7), id, target.app, id);
  return 0;
}

Done pipeline(const Session& session, const PipelineOptions& options) {
  if (options.app.empty())
    return std::unexpected(Error{Code::invalid_argument, "which application?", 0, "naru pipeline APP [ID]"});
  const Target target = TRY(parse_app(options.app));
  const ControlClient control = session.control();
  const Json answer = TRY(pipeline_of(control, target, options.id));
  if (options.log) return show_log(session, control, static_cast<std::uint64_t>(number(answer, "id")));
  if (session.json)
    session.document(answer);
  else
    session.say(render_pipeline(answer, view_of(session)));
  return 0;
}

}  // namespace naru::cli
