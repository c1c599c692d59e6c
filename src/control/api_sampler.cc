#include "control/api_sampler.h"

#include "base/wait.h"
#include "control/failed_requests.h"
#include "model/json_text.h"

namespace naru::control {

namespace {

constexpr milliseconds kSample{1'000}, kUsage{3'000};
constexpr std::size_t kMaxMeasured = 500;

struct SlotName {
  std::string app, environment, service, revision;
};
// "<app>/<env>/<service>/<revision>"
std::optional<SlotName> parse_slot(const std::string& key) {
  const auto a = key.find('/');
  const auto b = key.find('/', a + 1);
  const auto c = key.rfind('/');
  if (a == std::string::npos || b == std::string::npos || c <= b) return std::nullopt;
  return SlotName{key.substr(0, a), key.substr(a + 1, b - a - 1), key.substr(b + 1, c - b - 1),
                  key.substr(c + 1)};
}

Json users_of(const ipc::SideCounters& side) {
  return {{"seen", side.users_seen}, {"bad", side.users_bad}, {"slow", side.users_slow}};
}

}  // namespace

Sampler::Sampler(Core& core, const ipc::Telemetry& telemetry, ipc::LauncherClient& launcher,
                 const Clock& clock)
    : core_(core), telemetry_(telemetry), launcher_(launcher), clock_(clock) {}

Sampler::~Sampler() {
  traffic_thread_.request_stop();
  usage_thread_.request_stop();
}

void Sampler::start() {
  traffic_thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  usage_thread_ = std::jthread([this](const std::stop_token& stop) { measure_containers(stop); });
}

std::map<EnvKey, Json> Sampler::traffic() const {
  const std::lock_guard lock(mutex_);
  return traffic_;
}

std::map<EnvKey, std::string> Sampler::past(WallTime since, const std::string& app, std::size_t most) const {
  const std::lock_guard lock(mutex_);
  return past_.since(since, app, most);
}

std::map<std::string, ipc::ContainerStats> Sampler::usage() const {
  const std::lock_guard lock(mutex_);
  return usage_;
}

void Sampler::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    sample();
    wait(stop, kSample);
  }
}

Json Sampler::sample_slot(const Slot& slot, MonoTime now) {
  ipc::ServiceCounters counters = telemetry_.service(slot.slot, ipc::slot_owner(slot.name()));
  Before& before = before_[slot.name()];
  if (counters.requests() < before.counters.requests())
    before = {now, {}};  // the slot was given away and zeroed
  const double elapsed = before.at == MonoTime{} ? 0 : std::chrono::duration<double>(now - before.at).count();
  const auto rate = [&](std::uint64_t after, std::uint64_t earlier) {
    return elapsed <= 0 || after < earlier ? 0.0 : static_cast<double>(after - earlier) / elapsed;
  };
  const ipc::Histogram latency =
      elapsed <= 0 ? ipc::Histogram() : counters.latency.since(before.counters.latency);
  Json out{{"name", slot.service},
           {"side", slot.side},
           {"version", slot.version},
           {"requests_per_second", rate(counters.requests(), before.counters.requests())},
           {"failures_per_second", rate(counters.failures(), before.counters.failures())},
           {"user_requests_per_second", rate(counters.user_requests, before.counters.user_requests)},
           {"user_failures_per_second", rate(counters.user_failures, before.counters.user_failures)},
           {"p50_us", latency.quantile_us(0.5)},
           {"p99_us", latency.quantile_us(0.99)},
           {"active", counters.active},
           {"requests", counters.requests()},
           {"failures", counters.failures()}};
  before = {now, std::move(counters)};
  return out;
}

void Sampler::sample() {
  struct Evidence {
    EnvKey key;
    ipc::StepEvidence step;
  };
  std::vector<Slot> slots;
  std::vector<Evidence> evidence;
  std::map<EnvKey, std::pair<std::string, std::string>> environments;
  core_.read([&](const State& state) {
    for (const auto& [key, environment] : state.environments) {
      environments[key] = {environment.app, environment.name};
      const Rollout* rollout = state.active_rollout(environment);
      if (rollout != nullptr && rollout->phase == RolloutPhase::stepping)
        evidence.push_back({key, evidence_of(*rollout)});
    }
    for (const auto& [key, index] : state.slots) {
      const auto name = parse_slot(key);
      const auto environment =
          name ? state.environments.find(env_key(name->app, name->environment)) : state.environments.end();
      if (environment == state.environments.end()) continue;
      Slot slot{name->app, name->environment, name->service, name->revision, environment->first, {}, 0,
                index};
      slot.side = side_of(state, environment->second, name->service, name->revision);
      const Rollout* rollout = state.active_rollout(environment->second);
      const Release* release = slot.side == "canary" && rollout != nullptr
                                   ? state.release(rollout->to)
                                   : state.release(environment->second.stable);
      if (release != nullptr && slot.side != "old") slot.version = release->version;
      slots.push_back(std::move(slot));
    }
  });
  const MonoTime now = clock_.mono();
  const WallTime at = clock_.wall();
  std::map<EnvKey, Json> fresh;
  for (const auto& [key, names] : environments)
    fresh[key] = {{"app", names.first},
                  {"env", names.second},
                  {"at", at},
                  {"services", Json::array()},
                  {"users", {{"stable", users_of({})}, {"canary", users_of({})}}}};
  std::set<std::string> seen;
  for (const Slot& slot : slots) {
    fresh[slot.key]["services"].push_back(sample_slot(slot, now));
    seen.insert(slot.name());
  }
  std::erase_if(before_, [&](const auto& row) { return !seen.contains(row.first); });
  for (const Evidence& e : evidence) {
    const ipc::EvidenceCounters counters = telemetry_.evidence_of(e.step);
    fresh[e.key]["users"] = {{"stable", users_of(counters.stable)}, {"canary", users_of(counters.canary)}};
  }
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, traffic] : fresh)
      past_.add(at, key, environments.at(key).first, json_text(traffic));
    traffic_ = std::move(fresh);
  }
  ++samples_;
}

void Sampler::measure_containers(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const auto containers = core_.read([](const State& state) {
      std::vector<std::string> names;
      for (const auto& [id, instance] : state.instances)
        if ((instance.phase == InstancePhase::running || instance.phase == InstancePhase::ready) &&
            names.size() < kMaxMeasured)
          names.push_back(instance.container());
      return names;
    });
    std::map<std::string, ipc::ContainerStats> fresh;
    for (const std::string& container : containers) {
      if (stop.stop_requested()) return;
      auto stats = launcher_.stats(container);
      if (stats)
        fresh[container] = *stats;
      else if (stats.error().code == Code::unavailable || stats.error().code == Code::timeout)
        break;
    }
    {
      const std::lock_guard lock(mutex_);
      usage_ = std::move(fresh);
    }
    wait(stop, kUsage);
  }
}

}  // namespace naru::control
