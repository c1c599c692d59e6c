#include "control/outbox.h"

#include "base/log.h"
#include "platform/lane.h"

namespace naru::control {

namespace {
std::string app_of(const State& state, const Action& action) {
  if (action.kind != ActionKind::build_service) return {};
  const auto pipeline = state.pipelines.find(std::stoull(action.subject));
  return pipeline == state.pipelines.end() ? std::string() : pipeline->second.app;
}
}  // namespace

Outbox::Outbox(Core& core, Execute execute, std::size_t queue, Pauses pauses)
    : core_(core),
      execute_(std::move(execute)),
      pauses_(pauses),
      builds_(BuildQueue::kPlaces, queue),
      stops_(16, queue),
      routes_(1, queue),
      others_(8, queue),
      timer_([this](const std::stop_token& stop) { wake_when_due(stop); }) {
  core_.add_listener([this](const Core::Committed& news) {
    const bool concerned = std::ranges::any_of(news.events, [](const Event& e) {
      return std::holds_alternative<event::ActionQueued>(e) || std::holds_alternative<event::ActionDone>(e);
    });
    if (concerned) sync(news.state);
  });
}

Outbox::~Outbox() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (auto& [id, entry] : entries_) entry.stop.request_stop();
  }
  timer_.request_stop();
  timer_.join();  // nobody hands over any more: the pools may end
}

void Outbox::start() {
  core_.read([this](const State& state) { sync(state); });
}

void Outbox::sync(const State& state) {
  const std::lock_guard lock(mutex_);
  if (stopping_) return;
  for (auto& [id, entry] : entries_) {
    if (state.outbox.contains(id) || !entry.stop.request_stop()) continue;
    // Superseded while it waits for its next try: its lane is free now, not then.
    const auto waiting = std::ranges::find(due_, id, [](const auto& row) { return row.second; });
    if (waiting == due_.end()) continue;
    due_.erase(waiting);
    later(id, 0ms);
  }
  for (const auto& [id, action] : state.outbox) {
    if (entries_.contains(id)) continue;
    Entry& entry = entries_[id];
    entry.action = action;
    entry.lane = platform::lane_of(action);
    entry.app = app_of(state, action);
    std::deque<ActionId>& lane = lanes_[entry.lane];
    lane.push_back(id);
    if (lane.size() == 1) hand_over(id);
  }
}

io::WorkerPool& Outbox::pool_of(ActionKind kind) {
  switch (kind) {
    case ActionKind::build_service:
      return builds_;
    case ActionKind::stop_instance:
    case ActionKind::remove_container:
    case ActionKind::remove_network:
      return stops_;
    case ActionKind::publish_routes:
      return routes_;
    case ActionKind::plan_pipeline:
    case ActionKind::ensure_network:
    case ActionKind::set_udp_routes:
    case ActionKind::start_instance:
      break;
  }
  return others_;
}

void Outbox::hand_over(ActionId id) {
  const Entry& entry = entries_.at(id);
  if (entry.action.kind != ActionKind::build_service) return post(id);
  build_queue_.push(entry.action, entry.app);
  start_builds();
}

void Outbox::start_builds() {
  while (auto build = build_queue_.next()) {
    entries_.at(build->action.id).has_place = true;
    post(build->action.id);
  }
}

void Outbox::post(ActionId id) {
  if (pool_of(entries_.at(id).action.kind).post([this, id] { run(id); })) return;
  log_event(Level::warn, "control.outbox_full", {{"action", id}});
  leave_place(entries_.at(id));
  later(id, pauses_.first);
}

void Outbox::leave_place(Entry& entry) {
  if (std::exchange(entry.has_place, false)) build_queue_.done(entry.app);
}

void Outbox::later(ActionId id, milliseconds delay) {
  due_.emplace(std::chrono::steady_clock::now() + delay, id);
  due_changed_.notify_all();
}

// A try that must wait holds no thread meanwhile.
void Outbox::wake_when_due(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    if (due_.empty()) {
      due_changed_.wait(lock, stop, [this] { return !due_.empty(); });
      continue;
    }
    const MonoTime next = due_.begin()->first;
    if (std::chrono::steady_clock::now() < next) {
      due_changed_.wait_until(lock, stop, next, [&] { return due_.empty() || due_.begin()->first < next; });
      continue;
    }
    const ActionId id = due_.begin()->second;
    due_.erase(due_.begin());
    hand_over(id);
  }
}

void Outbox::run(ActionId id) {
  std::unique_lock lock(mutex_);
  const Action action = entries_.at(id).action;
  const std::stop_token stop = entries_.at(id).stop.get_token();
  lock.unlock();
  bool done = false;
  if (!stop.stop_requested())
    // Committed before it counts as done: until then the action stays in the outbox and belongs to us.
    if (auto result = execute_(action, stop)) done = core_.submit(std::move(*result)).has_value();
  lock.lock();
  if (stopping_) return;
  leave_place(entries_.at(id));  // one that is tried again waits for a place anew
  start_builds();
  if (done || stop.stop_requested()) return finish(id);
  const std::uint32_t tries = entries_.at(id).tries++;
  later(id, std::min(pauses_.first * (1U << std::min(tries, 10U)), pauses_.last));
}

void Outbox::finish(ActionId id) {
  const auto lane = lanes_.find(entries_.at(id).lane);
  entries_.erase(id);
  lane->second.pop_front();
  if (lane->second.empty())
    lanes_.erase(lane);
  else
    hand_over(lane->second.front());
}

}  // namespace naru::control
