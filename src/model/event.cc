#include "model/event.h"

#include <array>

namespace naru {

namespace {

// "naru::event::AppCreated" -> "AppCreated", from the compiler's own spelling: the name cannot drift from the
// type.
template <class T>
constexpr std::string_view type_name() {
  std::string_view name = __PRETTY_FUNCTION__;
  name = name.substr(name.find("T = ") + 4);
  name = name.substr(0, name.find_first_of(";]"));
  return name.substr(name.rfind(':') + 1);
}

template <std::size_t... I>
constexpr auto names_of(std::index_sequence<I...>) {
  return std::array{type_name<std::variant_alternative_t<I, Event>>()...};
}
constexpr auto kNames = names_of(std::make_index_sequence<std::variant_size_v<Event>>());

template <std::size_t... I>
Result<Event> parse_as(std::size_t index, const Json& json, std::index_sequence<I...>) {
  Event event;
  const auto parse = [&](auto tag) {
    using T = typename decltype(tag)::type;
    event = json.template get<T>();
  };
  (void)((index == I ? (parse(std::type_identity<std::variant_alternative_t<I, Event>>{}), true) : false) ||
         ...);
  return event;
}

std::string app_of_env(const EnvKey& key) {
  return key.substr(0, key.find('/'));
}

template <class Map, class Key>
std::string app_in(const Map& map, const Key& key) {
  const auto found = map.find(key);
  return found == map.end() ? std::string() : found->second.app;
}

}  // namespace

std::string_view event_name(const Event& event) {
  return kNames.at(event.index());
}

Json to_json_event(const Event& event) {
  Json json = std::visit([](const auto& e) -> Json { return e; }, event);
  json["event"] = event_name(event);
  return json;
}

Result<Event> event_from_json(const Json& json) {
  try {
    const auto name = json.at("event").get<std::string>();
    for (std::size_t i = 0; i < kNames.size(); ++i)
      if (kNames[i] == name) return parse_as(i, json, std::make_index_sequence<std::variant_size_v<Event>>());
    return fail(Code::malformed, "event '{}' is not known", name.substr(0, 64));
  } catch (const Json::exception& e) {
    return fail(Code::malformed, "event: {}", e.what());
  }
}

std::string event_app(const State& state, const Event& event) {
  return std::visit(
      [&](const auto& e) -> std::string {
        using T = std::decay_t<decltype(e)>;
        if constexpr (requires { e.app.name; })
          return e.app.name;
        else if constexpr (std::is_same_v<T, event::AppRemoved> || std::is_same_v<T, event::GrantsChanged>)
          return e.app;
        else if constexpr (std::is_same_v<T, event::EnvironmentCreated>)
          return e.environment.app;
        else if constexpr (std::is_same_v<T, event::PipelineCreated>)
          return e.pipeline.app;
        else if constexpr (std::is_same_v<T, event::ReleaseCreated>)
          return e.release.app;
        else if constexpr (std::is_same_v<T, event::RolloutStarted>)
          return e.rollout.app;
        else if constexpr (std::is_same_v<T, event::InstanceCreated>)
          return e.instance.app;
        else if constexpr (requires { e.environment; })
          return app_of_env(e.environment);
        else if constexpr (requires { e.pipeline; })
          return app_in(state.pipelines, e.pipeline);
        else if constexpr (requires { e.rollout; })
          return app_in(state.rollouts, e.rollout);
        else if constexpr (requires { e.instance; })
          return app_in(state.instances, e.instance);
        else
          return {};
      },
      event);
}

}  // namespace naru

namespace naru::event {
NARU_JSON_FIELDS(SecretChosen, secret)
void to_json(nlohmann::json& j, const ControlStarted&) {
  j = nlohmann::json::object();
}
void from_json(const nlohmann::json&, ControlStarted&) {}
NARU_JSON_FIELDS(AppCreated, app)
NARU_JSON_FIELDS(AppRemoved, app)
NARU_JSON_FIELDS(GrantsChanged, app, grants, allowed, disallowed, by)
NARU_JSON_FIELDS(EnvironmentCreated, environment)
NARU_JSON_FIELDS(EnvironmentRemoved, environment)
NARU_JSON_FIELDS(VariablesSet, environment, set, unset)
NARU_JSON_FIELDS(NetworkReady, environment, network)
NARU_JSON_FIELDS(NetworkFailed, environment, error)
NARU_JSON_FIELDS(EnvironmentStopped, environment, stopped)
NARU_JSON_FIELDS(PipelineCreated, pipeline)
NARU_JSON_FIELDS(PipelinePlanned, pipeline, spec, elsewhere, warnings)
NARU_JSON_FIELDS(BuildStarted, pipeline, service)
NARU_JSON_FIELDS(BuildFinished, pipeline, service, ok, cached, image, error, warnings)
NARU_JSON_FIELDS(PipelineFinished, pipeline, state, error, release, hint)
NARU_JSON_FIELDS(ReleaseCreated, release)
NARU_JSON_FIELDS(HistoryRemoved, app, rollouts, releases, pipelines)
NARU_JSON_FIELDS(ReleasePending, environment, release, approved)
NARU_JSON_FIELDS(RolloutStarted, rollout)
NARU_JSON_FIELDS(StepStarted, rollout, step, weight, evidence_slot, slow_us)
NARU_JSON_FIELDS(StepLive, rollout)
NARU_JSON_FIELDS(StepPassed, rollout, step, verdict)
NARU_JSON_FIELDS(EvidenceStored, rollout, judge, verdict, reason, step, failed)
NARU_JSON_FIELDS(LatencyBaselineSet, rollout, slow_us)
NARU_JSON_FIELDS(RolloutResumed, rollout, by)
NARU_JSON_FIELDS(ServiceSwapped, rollout, service, to_new)
NARU_JSON_FIELDS(OneshotCompleted, rollout, service)
NARU_JSON_FIELDS(RolloutPhaseChanged, rollout, phase, reason)
NARU_JSON_FIELDS(InstanceCreated, instance)
NARU_JSON_FIELDS(InstanceStarting, instance, attempt)
NARU_JSON_FIELDS(InstanceStarted, instance, address, pid)
NARU_JSON_FIELDS(InstanceReady, instance)
NARU_JSON_FIELDS(InstanceUnready, instance, reason)
NARU_JSON_FIELDS(InstanceExited, instance, exit_code, out_of_memory, error, next, retry_at)
NARU_JSON_FIELDS(InstanceRetired, instance)
NARU_JSON_FIELDS(InstanceStopping, instance)
NARU_JSON_FIELDS(InstanceStopFailed, instance, error)
NARU_JSON_FIELDS(InstanceRemoved, instance)
NARU_JSON_FIELDS(SlotAssigned, key, slot)
NARU_JSON_FIELDS(SlotFreed, key)
NARU_JSON_FIELDS(PortAssigned, key, port)
NARU_JSON_FIELDS(PortFreed, key)
NARU_JSON_FIELDS(RoutesChanged, revision, digest)
NARU_JSON_FIELDS(RoutesAcked, revision)
NARU_JSON_FIELDS(UdpRoutesChanged, environment, digest)
NARU_JSON_FIELDS(UdpRoutesRefused, environment, error)
NARU_JSON_FIELDS(ActionQueued, action)
NARU_JSON_FIELDS(ActionDone, action)
NARU_JSON_FIELDS(VirtualAddressAssigned, environment, service, address)
}  // namespace naru::event
