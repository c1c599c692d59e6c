#include "control/api_metrics.h"

#include "control/views.h"

namespace naru::control {

namespace {

std::string escape(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out;
}

// One family: its lines stand together, as the format asks.
class Family {
 public:
  Family(std::string_view name, std::string_view type, std::string_view help)
      : name_(name), text_(fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type)) {}
  template <class Value>
  void add(std::initializer_list<std::pair<std::string_view, std::string_view>> labels, Value value,
           std::string_view suffix = "") {
    text_ += name_;
    text_ += suffix;
    bool first = true;
    for (const auto& [key, label] : labels) {
      text_ += fmt::format("{}{}=\"{}\"", first ? "{" : ",", key, escape(label));
      first = false;
    }
    text_ += fmt::format("{} {}\n", first ? "" : "}", value);
  }
  const std::string& text() const { return text_; }

 private:
  std::string name_, text_;
};

struct Slot {
  std::string app, environment, service, revision, side, version;
  std::uint32_t slot = 0;
  std::uint64_t owner = 0;
};

std::vector<Slot> slots_of(const State& state) {
  std::vector<Slot> out;
  for (const auto& [key, environment] : state.environments) {
    const Rollout* rollout = state.active_rollout(environment);
    for (const Release* release :
         {state.release(environment.stable), rollout == nullptr ? nullptr : state.release(rollout->to)}) {
      if (release == nullptr) continue;
      for (const ReleaseService& service : release->services) {
        const std::string revision = service.revision.short_hex();
        const auto slot = state.slots.find(fmt::format("{}/{}/{}", key, service.spec.name, revision));
        if (slot == state.slots.end() ||
            std::ranges::any_of(out, [&](const Slot& s) { return s.slot == slot->second; }))
          continue;
        out.push_back({environment.app, environment.name, service.spec.name, revision,
                       std::string(side_of(state, environment, service.spec.name, revision)),
                       fmt::format("v{}", release->version), slot->second, ipc::slot_owner(slot->first)});
      }
    }
  }
  return out;
}

}  // namespace

std::string metrics_text(const Context& context) {
  Family requests("naru_requests_total", "counter", "Requests at the gateway by outcome.");
  Family bytes("naru_bytes_total", "counter", "Bytes of bodies, in and out.");
  Family active("naru_requests_active", "gauge", "Requests under way.");
  Family latency("naru_request_duration_seconds", "summary", "Time to answer.");
  Family instances("naru_instances", "gauge", "Instances by phase.");
  Family memory("naru_instance_memory_bytes", "gauge", "Memory of an instance's container.");
  Family cpu("naru_instance_cpu_seconds_total", "counter", "CPU time of an instance's container.");
  Family rollout("naru_rollout_weight_ratio", "gauge", "Share of users that meet the new release.");
  Family platform("naru_platform", "gauge", "Figures of the platform itself.");
  static constexpr std::string_view kOutcomeNames[] = {
      "1xx",        "2xx",           "3xx", "4xx", "5xx", "connect_failure", "first_byte_timeout",
      "incomplete", "client_gave_up"};

  for (const Slot& s : context.core.read([](const State& state) { return slots_of(state); })) {
    const ipc::ServiceCounters counters = context.telemetry.service(s.slot, s.owner);
    for (std::size_t i = 0; i < ipc::kOutcomes; ++i)
      requests.add({{"app", s.app},
                    {"env", s.environment},
                    {"service", s.service},
                    {"side", s.side},
                    {"version", s.version},
                    {"outcome", kOutcomeNames[i]}},
                   counters.outcomes[i]);
    bytes.add({{"app", s.app},
               {"env", s.environment},
               {"service", s.service},
               {"side", s.side},
               {"version", s.version},
               {"direction", "in"}},
              counters.bytes_in);
    bytes.add({{"app", s.app},
               {"env", s.environment},
               {"service", s.service},
               {"side", s.side},
               {"version", s.version},
               {"direction", "out"}},
              counters.bytes_out);
    active.add({{"app", s.app},
                {"env", s.environment},
                {"service", s.service},
                {"side", s.side},
                {"version", s.version}},
               counters.active);
    for (const auto& [quantile, name] :
         {std::pair(0.5, "0.5"), std::pair(0.9, "0.9"), std::pair(0.99, "0.99")})
      latency.add({{"app", s.app},
                   {"env", s.environment},
                   {"service", s.service},
                   {"side", s.side},
                   {"version", s.version},
                   {"quantile", name}},
                  static_cast<double>(counters.latency.quantile_us(quantile)) / 1e6);
    latency.add({{"app", s.app},
                 {"env", s.environment},
                 {"service", s.service},
                 {"side", s.side},
                 {"version", s.version}},
                counters.latency.total(), "_count");
  }
  const auto usage = context.sampler.usage();
  context.core.read([&](const State& state) {
    std::map<std::tuple<std::string, std::string, std::string, std::string>, int> count;
    for (const auto& [id, instance] : state.instances) {
      ++count[{instance.app, instance.environment, instance.service,
               Json(instance.phase).get<std::string>()}];
      const auto used = usage.find(instance.container());
      if (used == usage.end()) continue;
      memory.add({{"app", instance.app},
                  {"env", instance.environment},
                  {"service", instance.service},
                  {"instance", id}},
                 used->second.memory_bytes);
      cpu.add({{"app", instance.app},
               {"env", instance.environment},
               {"service", instance.service},
               {"instance", id}},
              static_cast<double>(used->second.cpu_usec) / 1e6);
    }
    for (const auto& [key, n] : count)
      instances.add({{"app", std::get<0>(key)},
                     {"env", std::get<1>(key)},
                     {"service", std::get<2>(key)},
                     {"phase", std::get<3>(key)}},
                    n);
    for (const auto& [key, environment] : state.environments)
      if (const Rollout* active_rollout = state.active_rollout(environment);
          active_rollout != nullptr && !active_rollout->steps.empty())
        rollout.add({{"app", environment.app}, {"env", environment.name}},
                    active_rollout->steps.back().weight.fraction());
    platform.add({{"what", "routes_wanted"}}, state.counters.routes_revision);
    platform.add({{"what", "routes_acknowledged"}}, state.counters.routes_acked);
    platform.add({{"what", "outbox"}}, state.outbox.size());
    platform.add({{"what", "applications"}}, state.apps.size());
  });
  const ipc::GatewayStats stats = context.gateway.stats();
  platform.add({{"what", "gateway_connections"}}, stats.connections);
  platform.add({{"what", "gateway_held_requests"}}, stats.held_requests);
  platform.add({{"what", "gateway_retried_requests"}}, stats.retried_requests);
  platform.add({{"what", "gateway_refused_heads"}}, stats.refused_heads);
  platform.add({{"what", "gateway_refused_calls"}}, stats.refused_calls);
  std::string out;
  for (const Family* family :
       {&requests, &bytes, &active, &latency, &instances, &memory, &cpu, &rollout, &platform})
    out += family->text();
  return out;
}

}  // namespace naru::control
