// What containers say, as server-sent events.
#include "control/api.h"
#include "control/api_log_reader.h"
#include "control/known_names.h"
#include "model/json_text.h"

namespace naru::control {

namespace {

constexpr milliseconds kPoll{200};
constexpr int kQuietPolls = 75;  // then a comment keeps the connection alive

Json line_json(const LogLine& line) {
  return {{"time", line.time},
          {"service", line.service},
          {"instance", line.instance},
          {"stream", line.stream},
          {"text", line.text}};
}

Result<LogReader::Selection> selection_of(const Call& call) {
  LogReader::Selection selection;
  selection.app = call.app();
  selection.environment = call.query("env", "production");
  selection.service = call.query("service");
  selection.instance = call.query("instance");
  selection.tail = TRY(call.number("tail", 100, LogReader::kMaxTail));
  selection.since = from_epoch_ms(static_cast<std::int64_t>(TRY(call.number("since", 0, 1ULL << 52))));
  TRY(call.context.core.read([&](const State& state) -> Result<void> {
    TRY(check_environment(state, selection.app, selection.environment));
    return check_service(state, selection.app, selection.environment, selection.service);
  }));
  return selection;
}

using Lines = std::vector<LogLine>;

Answer send_lines(Call& call, const Lines& lines) {
  for (const LogLine& line : lines)
    CO_TRY_VOID(co_await call.response.event("line", json_text(line_json(line))));
  co_return Result<void>();
}

Answer logs(Call& call) {
  CO_TRY(auto selection, selection_of(call));
  const auto reader = std::make_shared<LogReader>(call.context.core, call.context.data, std::move(selection));
  auto tail = [reader]() -> Result<Lines> { return reader->tail(); };
  CO_TRY(const Lines lines, co_await call.work(std::move(tail)));
  CO_TRY_VOID(co_await call.response.start_events());
  CO_TRY_VOID(co_await send_lines(call, lines));
  if (!call.flag("follow")) co_return co_await call.response.finish();
  int quiet = 0;
  while (!call.over()) {
    co_await io::sleep(call.context.reactor, kPoll);
    auto more = [reader]() -> Result<Lines> { return reader->fresh(); };
    CO_TRY(const Lines fresh, co_await call.work(std::move(more)));
    CO_TRY_VOID(co_await send_lines(call, fresh));
    quiet = fresh.empty() ? quiet + 1 : 0;
    if (quiet < kQuietPolls) continue;
    quiet = 0;
    CO_TRY_VOID(co_await call.response.comment());
  }
  co_return co_await call.response.finish();
}

constexpr Route kRoutes[] = {{"GET", "/v1/apps/{}/logs", Access::app, logs}};

}  // namespace

std::span<const Route> log_routes() {
  return kRoutes;
}

}  // namespace naru::control
