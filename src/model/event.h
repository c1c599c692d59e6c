// What happened, as it is stored: the audit log, the console's feed, and the only way in which State changes.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "model/state.h"

namespace naru::event {

struct SecretChosen {
  std::string secret;
};
NARU_JSON(SecretChosen)
// Control began to decide, perhaps after a time in which nobody looked.
struct ControlStarted {};
NARU_JSON(ControlStarted)
struct AppCreated {
  App app;
};
NARU_JSON(AppCreated)
struct AppRemoved {
  std::string app;
};
NARU_JSON(AppRemoved)
// What the operator allowed or took back on the machine; `grants` is all that it has now.
struct GrantsChanged {
  std::string app;
  std::vector<GrantRecord> grants;
  std::vector<std::string> allowed, disallowed;
  std::string by;
};
NARU_JSON(GrantsChanged)
struct EnvironmentCreated {
  Environment environment;
};
NARU_JSON(EnvironmentCreated)
struct EnvironmentRemoved {
  EnvKey environment;
};
NARU_JSON(EnvironmentRemoved)
struct VariablesSet {
  EnvKey environment;
  std::map<std::string, std::string> set;
  std::vector<std::string> unset;
};
NARU_JSON(VariablesSet)
struct NetworkReady {
  EnvKey environment;
  NetworkInfo network;
};
NARU_JSON(NetworkReady)
struct NetworkFailed {
  EnvKey environment;
  std::string error;
};
NARU_JSON(NetworkFailed)
struct EnvironmentStopped {
  EnvKey environment;
  bool stopped = true;
};
NARU_JSON(EnvironmentStopped)

struct PipelineCreated {
  Pipeline pipeline;
};
NARU_JSON(PipelineCreated)
struct PipelinePlanned {
  PipelineId pipeline = 0;
  ApplicationSpec spec;
  std::map<std::string, ApplicationSpec> elsewhere;
  std::vector<std::string> warnings;
};
NARU_JSON(PipelinePlanned)
struct BuildStarted {
  PipelineId pipeline = 0;
  std::string service;
};
NARU_JSON(BuildStarted)
struct BuildFinished {
  PipelineId pipeline = 0;
  std::string service;
  bool ok = false;
  bool cached = false;
  ImageInfo image;
  std::string error;
  std::vector<std::string> warnings{};  // that only the image could tell
};
NARU_JSON(BuildFinished)
struct PipelineFinished {
  PipelineId pipeline = 0;
  StageState state = StageState::failed;
  std::string error;
  std::optional<ReleaseId> release;
  std::string hint{};
};
NARU_JSON(PipelineFinished)
struct ReleaseCreated {
  Release release;
};
NARU_JSON(ReleaseCreated)
struct ReleasePending {
  EnvKey environment;
  std::optional<ReleaseId> release;
  bool approved = false;
};
NARU_JSON(ReleasePending)

// Retention: what nobody can go back to any more. Images and files follow (control/housekeeping.h).
struct HistoryRemoved {
  std::string app;
  std::vector<RolloutId> rollouts;
  std::vector<ReleaseId> releases;
  std::vector<PipelineId> pipelines;
};
NARU_JSON(HistoryRemoved)

struct RolloutStarted {
  Rollout rollout;
};
NARU_JSON(RolloutStarted)
// A step begins (its split is published); it is live when the gateway has acknowledged.
struct StepStarted {
  RolloutId rollout = 0;
  std::uint32_t step = 0;
  BasisPoints weight;
  std::uint32_t evidence_slot = 0;
  std::int64_t slow_us = 0;
};
NARU_JSON(StepStarted)
struct StepLive {
  RolloutId rollout = 0;
};
NARU_JSON(StepLive)
struct StepPassed {
  RolloutId rollout = 0;
  std::uint32_t step = 0;
  std::string verdict;
};
NARU_JSON(StepPassed)
struct EvidenceStored {
  RolloutId rollout = 0;
  Json judge;
  Json verdict;
  std::string reason;
  std::uint32_t step = 0;               // that `failed` is of
  std::vector<FailedExample> failed{};  // all that are kept of it
};
NARU_JSON(EvidenceStored)
struct LatencyBaselineSet {
  RolloutId rollout = 0;
  std::int64_t slow_us = 0;
};
NARU_JSON(LatencyBaselineSet)
struct RolloutResumed {
  RolloutId rollout = 0;
  std::string by;
};
NARU_JSON(RolloutResumed)
struct ServiceSwapped {
  RolloutId rollout = 0;
  std::string service;
  bool to_new = true;
};
NARU_JSON(ServiceSwapped)
struct OneshotCompleted {
  RolloutId rollout = 0;
  std::string service;
};
NARU_JSON(OneshotCompleted)
struct RolloutPhaseChanged {
  RolloutId rollout = 0;
  RolloutPhase phase = RolloutPhase::preparing;
  std::string reason;
};
NARU_JSON(RolloutPhaseChanged)

struct InstanceCreated {
  Instance instance;
};
NARU_JSON(InstanceCreated)
struct InstanceStarting {
  std::string instance;
  std::uint32_t attempt = 0;
};
NARU_JSON(InstanceStarting)
struct InstanceStarted {
  std::string instance;
  std::string address;
  std::int32_t pid = 0;
};
NARU_JSON(InstanceStarted)
struct InstanceReady {
  std::string instance;
};
NARU_JSON(InstanceReady)
struct InstanceUnready {
  std::string instance;
  std::string reason;
};
NARU_JSON(InstanceUnready)
// The process is gone. next: waiting (starts again at retry_at), completed or failed.
struct InstanceExited {
  std::string instance;
  std::optional<std::int32_t> exit_code;
  bool out_of_memory = false;
  std::string error;
  InstancePhase next = InstancePhase::waiting;
  WallTime retry_at{};
};
NARU_JSON(InstanceExited)
struct InstanceRetired {
  std::string instance;
};
NARU_JSON(InstanceRetired)
struct InstanceStopping {
  std::string instance;
};
NARU_JSON(InstanceStopping)
struct InstanceStopFailed {
  std::string instance;
  std::string error;
};
NARU_JSON(InstanceStopFailed)
struct InstanceRemoved {
  std::string instance;
};
NARU_JSON(InstanceRemoved)

struct SlotAssigned {
  std::string key;
  std::uint32_t slot = 0;
};
NARU_JSON(SlotAssigned)
struct SlotFreed {
  std::string key;
};
NARU_JSON(SlotFreed)
// A host port for what production does not publish.
struct PortAssigned {
  std::string key;
  std::uint16_t port = 0;
};
NARU_JSON(PortAssigned)
struct PortFreed {
  std::string key;
};
NARU_JSON(PortFreed)
struct RoutesChanged {
  std::uint64_t revision = 0;
  std::string digest;
};
NARU_JSON(RoutesChanged)
struct RoutesAcked {
  std::uint64_t revision = 0;
};
NARU_JSON(RoutesAcked)
// Where an environment's datagrams go has changed.
struct UdpRoutesChanged {
  EnvKey environment;
  std::string digest;
};
NARU_JSON(UdpRoutesChanged)
struct UdpRoutesRefused {
  EnvKey environment;
  std::string error;  // "" = they hold after all
};
NARU_JSON(UdpRoutesRefused)
// The outbox: added in the transaction that decided, removed when the result has come back.
struct ActionQueued {
  Action action;
};
NARU_JSON(ActionQueued)
struct ActionDone {
  ActionId action = 0;
};
NARU_JSON(ActionDone)
struct VirtualAddressAssigned {
  EnvKey environment;
  std::string service, address;
};
NARU_JSON(VirtualAddressAssigned)

}  // namespace naru::event

namespace naru {

using Event = std::variant<
    event::AppCreated, event::AppRemoved, event::EnvironmentCreated, event::VariablesSet, event::NetworkReady,
    event::NetworkFailed, event::EnvironmentStopped, event::PipelineCreated, event::PipelinePlanned,
    event::BuildStarted, event::BuildFinished, event::PipelineFinished, event::ReleaseCreated,
    event::ReleasePending, event::RolloutStarted, event::StepStarted, event::StepLive, event::StepPassed,
    event::EvidenceStored, event::LatencyBaselineSet, event::RolloutResumed, event::ServiceSwapped,
    event::OneshotCompleted, event::RolloutPhaseChanged, event::InstanceCreated, event::InstanceStarting,
    event::InstanceStarted, event::InstanceReady, event::InstanceUnready, event::InstanceExited,
    event::InstanceRetired, event::InstanceStopping, event::InstanceStopFailed, event::InstanceRemoved,
    event::SlotAssigned, event::SlotFreed, event::PortAssigned, event::PortFreed, event::RoutesChanged,
    event::RoutesAcked, event::VirtualAddressAssigned, event::ActionQueued, event::ActionDone,
    event::HistoryRemoved, event::UdpRoutesChanged, event::UdpRoutesRefused, event::SecretChosen,
    event::ControlStarted, event::EnvironmentRemoved, event::GrantsChanged>;

// {"event": "AppCreated", ...fields}. The name is the type's.
Json to_json_event(const Event& event);
Result<Event> event_from_json(const Json& json);
std::string_view event_name(const Event& event);
// Which application it concerns; "" for the platform's own.
std::string event_app(const State& state, const Event& event);

}  // namespace naru
