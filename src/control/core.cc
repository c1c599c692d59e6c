#include "control/core.h"

#include <cstdlib>

#include "base/log.h"
#include "base/rng.h"
#include "platform/platform.h"

namespace naru::control {

namespace {
// How often time alone may change something: back-off, drain, deadlines, bake.
constexpr milliseconds kTick{200};
constexpr std::size_t kSecretBytes = 32;
}  // namespace

Result<std::unique_ptr<Core>> Core::open(const std::string& folder, const Clock& clock) {
  store::Store store = TRY(store::Store::open(folder));
  State state = TRY(store.load());
  std::unique_ptr<Core> core(new Core(std::move(store), std::move(state), clock));
  TRY(core->begin());
  return core;
}

// Before any command. No rollout ever starts without a secret, of a folder that an older Naru filled either.
Result<void> Core::begin() {
  Changes changes(state_, std::max(clock_.wall(), last_time()));
  if (state_.secret.empty())
    TRY(platform::decide(changes, command::ChooseSecret{secure_random_hex(kSecretBytes)}));
  TRY(platform::decide(changes, command::ControlStarted{}));
  auto committed = store_.commit(state_, changes.events(), changes.touched(), changes.now());
  if (committed) {
    shown_ = state_;
    return {};
  }
  if (committed.error().code != Code::disk_full) return committed;
  // Who wants to free the disk needs control: it goes on without the note, which is of use to it alone.
  log_event(Level::error, "control.start_not_noted", {{"error", committed.error().message()}});
  State stored = TRY(store_.load());
  if (stored.secret.empty()) return committed;
  stored.counters.control_started = changes.now();
  shown_ = state_ = std::move(stored);
  return {};
}

Core::Core(store::Store store, State state, const Clock& clock)
    : clock_(clock), state_(std::move(state)), store_(std::move(store)) {}

Core::~Core() {
  stop();
}

void Core::stop() {
  {
    const std::lock_guard lock(queue_mutex_);
    stopping_ = true;
  }
  queue_changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Core::add_listener(Listener listener) {
  listeners_.push_back(std::move(listener));
}

WallTime Core::last_time() const {
  const std::lock_guard lock(store_mutex_);
  const auto newest = store_.latest_events(1);
  return newest && !newest->empty() ? newest->front().at : WallTime{};
}

void Core::start() {
  thread_ = std::thread([this] { run(); });
}

Result<void> Core::submit(Command command) {
  std::future<Result<void>> answer;
  {
    const std::lock_guard lock(queue_mutex_);
    if (stopping_) return fail(Code::unavailable, "control is stopping");
    if (queue_.size() >= kMaxQueued)
      return fail(Code::unavailable, "{} commands are waiting already", kMaxQueued);
    queue_.push_back({std::move(command), std::promise<Result<void>>()});
    answer = queue_.back().answer->get_future();
  }
  queue_changed_.notify_all();
  return answer.get();
}

void Core::post(Command command) {
  std::unique_lock lock(queue_mutex_);
  queue_changed_.wait(lock, [&] { return stopping_ || queue_.size() < kMaxQueued; });
  if (stopping_) return;  // the outbox brings it back after the next start
  queue_.push_back({std::move(command), std::nullopt});
  lock.unlock();
  queue_changed_.notify_all();
}

void Core::run() {
  MonoTime next_tick = clock_.mono();
  while (true) {
    Pending pending{command::Tick{}, std::nullopt};
    {
      std::unique_lock lock(queue_mutex_);
      queue_changed_.wait_until(lock, next_tick, [&] { return stopping_ || !queue_.empty(); });
      if (stopping_ && queue_.empty()) return;
      if (!queue_.empty()) {
        pending = std::move(queue_.front());
        queue_.pop_front();
      } else {
        next_tick = clock_.mono() + kTick;
      }
    }
    queue_changed_.notify_all();
    Result<void> result = decide(pending.command);
    if (pending.answer)
      pending.answer->set_value(std::move(result));
    else if (!result)
      log_event(Level::warn, "control.command_refused", {{"error", result.error().message()}});
  }
}

Result<void> Core::decide(const Command& command) {
  const std::lock_guard lock(store_mutex_);
  Changes changes(state_, clock_.wall());
  auto decided = platform::decide(changes, command);
  if (std::holds_alternative<command::Housekeep>(command)) compact();
  if (!decided || changes.events().empty()) {
    if (!decided && !changes.events().empty()) reload();
    return decided;
  }
  const std::uint64_t first = store_.last_sequence() + 1;
  if (auto committed = store_.commit(state_, changes.events(), changes.touched(), changes.now());
      !committed) {
    log_event(Level::error, "control.commit_failed", {{"error", committed.error().message()}});
    reload();
    return committed;
  }
  const Committed news{state_, changes.events(), first, changes.now()};
  // The same events make the same state: no copy of the whole for each commit.
  const std::lock_guard shown(shown_mutex_);
  Touched ignored;
  for (const Event& event : changes.events()) apply(shown_, event, changes.now(), ignored);
  for (const Listener& listener : listeners_) listener(news);
  return {};
}

void Core::compact() {
  if (auto compacted = store_.compact(kEventsKept, kEventsAtOnce); !compacted)
    log_event(Level::warn, "control.compact_failed", {{"error", compacted.error().message()}});
}

void Core::reload() {
  auto loaded = store_.load();
  if (!loaded) {
    // Deciding on a state that was never committed could lose what was acknowledged: start over instead.
    log_event(Level::error, "control.reload_failed", {{"error", loaded.error().message()}});
    std::abort();
  }
  state_ = std::move(*loaded);
}

Result<std::vector<store::StoredEvent>> Core::events_after(std::uint64_t sequence, std::size_t limit,
                                                           const std::string& app) const {
  const std::lock_guard lock(store_mutex_);
  return store_.events_after(sequence, limit, app);
}

Result<std::vector<store::StoredEvent>> Core::latest_events(std::size_t limit, const std::string& app) const {
  const std::lock_guard lock(store_mutex_);
  return store_.latest_events(limit, app);
}

}  // namespace naru::control
