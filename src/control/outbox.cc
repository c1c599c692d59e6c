#include "control/outbox.h"

#include "base/log.h"
#include "platform/lane.h"

namespace naru::control {

namespace {
constexpr milliseconds kRetry{500};
}  // namespace

Outbox::Outbox(Core& core, Execute execute) : core_(core), execute_(std::move(execute)) {
  core_.add_listener([this](const Core::Committed& news) {
    const bool concerned = std::ranges::any_of(news.events, [](const Event& e) {
      return std::holds_alternative<event::ActionQueued>(e) || std::holds_alternative<event::ActionDone>(e);
    });
    if (concerned) sync(news.state);
  });
}

Outbox::~Outbox() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  for (auto& [id, stop] : running_) stop.request_stop();
  waiting_.clear();
  build_queue_.clear();
  retry_.notify_all();
}

void Outbox::start() {
  core_.read([this](const State& state) { sync(state); });
}

void Outbox::sync(const State& state) {
  const std::lock_guard lock(mutex_);
  if (stopping_) return;
  for (auto& [id, stop] : running_)
    if (!state.outbox.contains(id)) stop.request_stop();
  apps_.clear();
  for (const auto& [id, action] : state.outbox)
    if (action.kind == ActionKind::build_service)
      if (const auto pipeline = state.pipelines.find(std::stoull(action.subject));
          pipeline != state.pipelines.end())
        apps_[action.subject] = pipeline->second.app;
  for (const auto& [id, action] : state.outbox) {
    if (running_.contains(id)) continue;
    running_.emplace(id, std::stop_source());
    dispatch(action);
  }
}

io::WorkerPool& Outbox::pool_of(ActionKind kind) {
  switch (kind) {
    case ActionKind::build_service:
      return builds_;
    case ActionKind::stop_instance:
    case ActionKind::remove_container:
      return stops_;
    case ActionKind::publish_routes:
      return routes_;
    case ActionKind::plan_pipeline:
    case ActionKind::ensure_network:
    case ActionKind::start_instance:
      break;
  }
  return others_;
}

// mutex_ is held.
void Outbox::dispatch(const Action& action) {
  const std::string lane = platform::lane_of(action);
  if (!busy_subjects_.insert(lane).second) {
    waiting_[lane].push_back(action);
    return;
  }
  if (action.kind != ActionKind::build_service) return post(action);
  build_queue_.push(action, apps_[action.subject]);
  start_builds();
}

void Outbox::post(const Action& action) {
  const std::stop_token stop = running_.at(action.id).get_token();
  if (!pool_of(action.kind).post([this, action, stop] { run(action, stop); }))
    log_event(Level::error, "control.outbox_full", {{"action", action.id}});
}

// mutex_ is held.
void Outbox::start_builds() {
  while (auto build = build_queue_.next()) {
    building_[build->action.id] = build->app;
    post(build->action);
  }
}

void Outbox::run(const Action& action, std::stop_token stop) {
  while (!stop.stop_requested()) {
    // Committed before it counts as done: until then the action stays in the outbox and belongs to this
    // thread.
    if (auto result = execute_(action, stop); result && core_.submit(std::move(*result))) break;
    std::unique_lock lock(mutex_);
    retry_.wait_for(lock, stop, kRetry, [] { return false; });
  }
  const std::lock_guard lock(mutex_);
  running_.erase(action.id);
  if (const auto place = building_.find(action.id); place != building_.end()) {
    build_queue_.done(place->second);
    building_.erase(place);
    if (!stopping_) start_builds();
  }
  const std::string lane = platform::lane_of(action);
  busy_subjects_.erase(lane);
  auto next = waiting_.find(lane);
  if (stopping_ || next == waiting_.end()) return;
  const Action following = next->second.front();
  next->second.pop_front();
  if (next->second.empty()) waiting_.erase(next);
  dispatch(following);
}

}  // namespace naru::control
