// What happened and where things stand, once or as a stream of server-sent events.
#include <charconv>

#include "control/api.h"
#include "control/known_names.h"
#include "control/pipeline_log.h"
#include "control/views.h"
#include "model/json_text.h"

namespace naru::control {

namespace {

constexpr std::uint64_t kMaxEvents = 1000;
constexpr milliseconds kPoll{150}, kLive{200};
constexpr MonoTime::duration kQuiet = 15s;
constexpr std::uint64_t kMaxTime = 1ULL << 48;  // milliseconds: far away, and no overflow
constexpr std::size_t kMaxPastSent = 4U << 20;  // of a screen full of charts

// Of one application, or of all for who may see all.
Result<std::string> app_to_watch(const Call& call) {
  std::string app = call.query("app");
  if (app.empty() && !call.who.admin()) app = call.who.app;
  if (!app.empty() && !call.who.may(app))
    return fail(Code::forbidden, "the token '{}' is for the application {} only", call.who.name,
                call.who.app);
  return app;
}

Json event_json(const store::StoredEvent& stored, const std::vector<std::string>& secrets) {
  return {{"sequence", stored.sequence},
          {"at", stored.at},
          {"app", stored.app},
          {"event", public_event(stored.event, secrets)}};
}

// Bookkeeping that nobody reads.
bool is_noise(const store::StoredEvent& stored) {
  const std::string name = stored.event.is_object() ? stored.event.value("event", "") : "";
  return name == "ActionQueued" || name == "ActionDone" || name == "RoutesAcked" || name == "RoutesChanged" ||
         name == "EvidenceStored" || name == "UdpRoutesChanged" || name == "SlotAssigned" ||
         name == "SlotFreed" || name == "SecretChosen" || name == "ControlStarted";
}

struct Batch {
  std::vector<std::pair<std::uint64_t, std::string>> events;  // sequence, JSON
  std::uint64_t last = 0;
};

constexpr std::uint64_t kLastEvent = ~0ULL >> 1;  // as far as the log can count

// Of the newest, as many as people ask for, with what nobody reads left out.
constexpr std::size_t kNoise = 20;

Result<Batch> read_batch(const Core& core, std::optional<std::uint64_t> after, std::size_t limit,
                         const std::string& app, bool everything) {
  // Each event with its own application's values: with others' somebody could ask whether a guess is one.
  std::map<std::string, std::vector<std::string>> secrets;
  const auto stored = TRY(after ? core.events_after(*after, limit, app)
                                : core.latest_events(everything ? limit : limit * kNoise, app));
  for (const store::StoredEvent& event : stored) secrets.try_emplace(event.app);
  core.read([&](const State& state) {
    for (auto& [owner, values] : secrets) values = secrets_of(state, owner);
  });
  Batch batch;
  for (const store::StoredEvent& event : stored) {
    batch.last = event.sequence;
    if (everything || !is_noise(event))
      batch.events.emplace_back(event.sequence, json_text(event_json(event, secrets.at(event.app))));
  }
  if (batch.events.size() > limit)
    batch.events.erase(batch.events.begin(), batch.events.end() - static_cast<std::ptrdiff_t>(limit));
  return batch;
}

Answer follow_events(Call& call, std::uint64_t after, const std::string& app) {
  const bool everything = call.flag("all");
  MonoTime said = call.context.clock.mono();
  while (!call.over()) {
    auto job = [&core = call.context.core, after, app, everything] {
      return read_batch(core, after, 200, app, everything);
    };
    CO_TRY(const Batch batch, co_await call.work(std::move(job)));
    for (const auto& [sequence, text] : batch.events)
      CO_TRY_VOID(co_await call.response.event("event", text, std::to_string(sequence)));
    const bool on = batch.last > after;
    after = std::max(after, batch.last);
    const MonoTime now = call.context.clock.mono();
    if (!batch.events.empty())
      said = now;
    else if (now - said > kQuiet) {
      said = now;
      CO_TRY_VOID(co_await call.response.comment());
    }
    if (!on) co_await io::sleep(call.context.reactor, kPoll);
  }
  co_return co_await call.response.finish();
}

Answer events(Call& call) {
  CO_TRY(const std::string app, app_to_watch(call));
  CO_TRY(const std::uint64_t limit, call.number("limit", 100, kMaxEvents));
  CO_TRY(std::uint64_t after, call.number("after", 0, kLastEvent));
  // A browser that reconnects says where it was.
  if (const auto last = call.request.header("last-event-id")) {
    std::uint64_t seen = 0;
    std::from_chars(last->data(), last->data() + last->size(), seen);
    if (seen > 0) after = std::min(seen, kLastEvent);
  }
  const bool resume = after > 0;
  auto job = [&core = call.context.core, app, limit, after, resume, everything = call.flag("all")] {
    return read_batch(core, resume ? std::optional(after) : std::nullopt, limit, app, everything);
  };
  CO_TRY(const Batch batch, co_await call.work(std::move(job)));
  // What has been removed has a past; what never was has none.
  if (!app.empty() && batch.events.empty() && !resume)
    CO_TRY_VOID(call.context.core.read([&](const State& state) { return check_app(state, app); }));
  if (!call.flag("follow")) {
    std::string body = "{\"events\":[";
    for (const auto& [sequence, text] : batch.events) body += (body.back() == '[' ? "" : ",") + text;
    co_return co_await call.response.send(200, body + "]}\n", "application/json");
  }
  CO_TRY_VOID(co_await call.response.start_events());
  for (const auto& [sequence, text] : batch.events)
    CO_TRY_VOID(co_await call.response.event("event", text, std::to_string(sequence)));
  co_return co_await follow_events(call, std::max(after, batch.last), app);
}

// Each environment's Status, as text, when it differs from what was sent.
using Sent = std::map<EnvKey, std::size_t>;

std::vector<std::string> changed_statuses(Context& context, const std::string& app, Sent& sent) {
  const auto around = context.around();
  std::vector<std::pair<EnvKey, Json>> views;
  context.core.read([&](const State& state) {
    for (const auto& [key, environment] : state.environments)
      if (app.empty() || environment.app == app)
        views.emplace_back(key, status_view(state, environment, around));
  });
  std::vector<std::string> out;
  Sent now;
  for (const auto& [key, view] : views) {
    std::string text = json_text(view);
    now[key] = std::hash<std::string>()(text);
    const auto before = sent.find(key);
    if (before == sent.end() || before->second != now[key]) out.push_back(std::move(text));
  }
  sent = std::move(now);
  return out;
}

Answer live(Call& call) {
  CO_TRY(const std::string app, app_to_watch(call));
  CO_TRY(const std::uint64_t since, call.number("since", 0, kMaxTime));
  CO_TRY_VOID(co_await call.response.start_events());
  if (since > 0) {
    const auto past =
        call.context.sampler.past(from_epoch_ms(static_cast<std::int64_t>(since)), app, kMaxPastSent);
    for (const auto& [key, list] : past) CO_TRY_VOID(co_await call.response.event("past", list));
  }
  const auto sent = std::make_shared<Sent>();
  std::uint64_t sample = 0;
  MonoTime said = call.context.clock.mono();
  while (!call.over()) {
    auto job = [&context = call.context, app, sent]() -> Result<std::vector<std::string>> {
      return changed_statuses(context, app, *sent);
    };
    CO_TRY(const auto statuses, co_await call.work(std::move(job)));
    for (const std::string& text : statuses) CO_TRY_VOID(co_await call.response.event("status", text));
    bool quiet = statuses.empty();
    if (const std::uint64_t newest = call.context.sampler.samples(); newest != sample) {
      sample = newest;
      for (const auto& [key, traffic] : call.context.sampler.traffic()) {
        if (!app.empty() && traffic.value("app", "") != app) continue;
        quiet = false;
        CO_TRY_VOID(co_await call.response.event("traffic", json_text(traffic)));
      }
    }
    const MonoTime now = call.context.clock.mono();
    if (!quiet)
      said = now;
    else if (now - said > kQuiet) {
      said = now;
      CO_TRY_VOID(co_await call.response.comment());
    }
    co_await io::sleep(call.context.reactor, kLive);
  }
  co_return co_await call.response.finish();
}

constexpr Route kRoutes[] = {
    {"GET", "/v1/events", Access::any_token, events},
    {"GET", "/v1/live", Access::any_token, live},
};

}  // namespace

std::span<const Route> event_routes() {
  return kRoutes;
}

}  // namespace naru::control
