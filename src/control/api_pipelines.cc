#include "control/api_pipelines.h"
#include "control/known_names.h"

#include <charconv>

#include "control/views.h"

namespace naru::control {

namespace {

constexpr milliseconds kPoll{100};
constexpr std::uint64_t kMaxListed = 200;

Result<PipelineId> pipeline_id(std::string_view text) {
  PipelineId id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size())
    return fail(Code::invalid_argument, "'{}' is not a pipeline's number", text.substr(0, 40));
  return id;
}

// Found, and the caller's to see.
Result<PipelineId> admitted(Call& call) {
  const PipelineId id = TRY(pipeline_id(call.parameters.front()));
  return call.context.core.read([&](const State& state) -> Result<PipelineId> {
    const auto found = state.pipelines.find(id);
    if (found == state.pipelines.end() || !call.who.may(found->second.app))
      return fail(Code::not_found, "there is no pipeline {}", id);
    return id;
  });
}

bool ended(const State& state, PipelineId id) {
  const auto found = state.pipelines.find(id);
  return found == state.pipelines.end() ||
         (found->second.state != StageState::waiting && found->second.state != StageState::running);
}

Answer list_pipelines(Call& call) {
  CO_TRY(const std::uint64_t limit, call.number("limit", 20, kMaxListed));
  CO_TRY(const Json view, call.context.core.read([&](const State& state) -> Result<Json> {
    TRY(check_app(state, call.app()));
    Json out = Json::array();
    for (auto at = state.pipelines.rbegin(); at != state.pipelines.rend() && out.size() < limit; ++at)
      if (at->second.app == call.app()) out.push_back(pipeline_view(state, at->second));
    return Json{{"pipelines", std::move(out)}};
  }));
  co_return co_await call.response.send_json(200, view);
}

Answer retry_pipeline(Call& call) {
  CO_TRY(const Json body, co_await read_json(call));
  std::optional<PipelineId> id;
  if (const Json wanted = body.value("id", Json()); !wanted.is_null()) {
    if (!wanted.is_number_unsigned()) co_return fail(Code::invalid_argument, "id is not a pipeline's number");
    id = wanted.get<PipelineId>();
  }
  auto job = [&core = call.context.core, app = call.app(), id]() -> Result<Json> {
    TRY(core.submit(command::RetryPipeline{app, id}));
    return core.read([&](const State& state) -> Result<Json> {
      const Pipeline* fresh = newest_pipeline(state, app);
      if (fresh == nullptr) return fail(Code::not_found, "{} was removed meanwhile", app);
      return pipeline_view(state, *fresh);
    });
  };
  CO_TRY(const Json view, co_await call.work(std::move(job)));
  co_return co_await call.response.send_json(201, view);
}

Answer show_pipeline(Call& call) {
  CO_TRY(const PipelineId id, admitted(call));
  const Json view = call.context.core.read(
      [&](const State& state) { return pipeline_view(state, state.pipelines.at(id)); });
  co_return co_await call.response.send_json(200, view);
}

Answer pipeline_log(Call& call) {
  CO_TRY(const PipelineId id, admitted(call));
  const bool follow = call.flag("follow");
  call.response.header("Cache-Control", "no-store");
  if (!follow) {
    auto job = [&log = call.context.log, id]() -> Result<std::string> {
      std::uint64_t offset = 0;
      return log.read(id, offset);
    };
    CO_TRY(const std::string text, co_await call.work(std::move(job)));
    co_return co_await call.response.send(200, text);
  }
  CO_TRY_VOID(co_await call.response.start(200, std::nullopt, "text/plain; charset=utf-8"));
  CO_TRY_VOID(co_await follow_pipeline(call, id));
  co_return co_await call.response.finish();
}

constexpr Route kRoutes[] = {
    {"GET", "/v1/apps/{}/pipelines", Access::app, list_pipelines},
    {"POST", "/v1/apps/{}/pipelines/retry", Access::app, retry_pipeline},
    {"GET", "/v1/pipelines/{}", Access::any_token, show_pipeline},
    {"GET", "/v1/pipelines/{}/log", Access::any_token, pipeline_log},
};

}  // namespace

Answer follow_pipeline(Call& call, PipelineId pipeline) {
  std::uint64_t offset = 0;
  while (!call.over()) {
    // Asked before reading: what was written before the end is in what is read after it.
    const bool last = call.context.core.read([&](const State& state) { return ended(state, pipeline); });
    auto job = [&log = call.context.log, pipeline, offset]() -> Result<std::string> {
      std::uint64_t from = offset;
      return log.read(pipeline, from);
    };
    CO_TRY(const std::string fresh, co_await call.work(std::move(job)));
    offset += fresh.size();
    CO_TRY_VOID(co_await call.response.write(fresh));
    if (last) break;
    co_await io::sleep(call.context.reactor, kPoll);
  }
  co_return Result<void>();
}

std::span<const Route> pipeline_routes() {
  return kRoutes;
}

}  // namespace naru::control
