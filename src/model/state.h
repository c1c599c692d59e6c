// The platform's whole state, as control owns it: plain rows in ordered maps. Nothing here does I/O; the rows
// change only through apply() (model/apply.h), in the product as in the simulation.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/container.h"
#include "model/grant.h"
#include "model/service_spec.h"

namespace naru {

using PipelineId = std::uint64_t;
using ReleaseId = std::uint64_t;
using RolloutId = std::uint64_t;
using ActionId = std::uint64_t;
using EnvKey = std::string;  // "shop/production"

inline EnvKey env_key(std::string_view app, std::string_view environment) {
  return std::string(app) + "/" + std::string(environment);
}
// As people name it to a command: "shop" is production, "shop/staging" another one.
inline std::string target_of(std::string_view app, std::string_view environment) {
  return environment == kProduction ? std::string(app) : env_key(app, environment);
}
// The environment's network: dots, so that it can be a DNS suffix.
inline std::string network_id(std::string_view app, std::string_view environment) {
  return std::string(app) + "." + std::string(environment);
}

struct App {
  std::string name;
  std::string branch = "main";  // a push here is integrated; others are kept only
  WallTime created{};
  std::uint64_t last_version = 0;   // of its releases: v1, v2, ...
  std::uint64_t first_id = 0;       // what is numbered lower is of another application that had this name
  std::vector<GrantRecord> grants;  // as the launcher has them: what it does not have starts nothing
};
NARU_JSON(App)

struct Environment {
  std::string app, name;
  DeployMode deploy = DeployMode::automatic;
  std::map<std::string, std::string> variables;  // secrets; rows of this kind are encrypted at rest
  std::optional<NetworkInfo> network;            // none until the launcher has made it
  std::string network_error;                     // why it could not, the last time; "" = it was not refused
  std::optional<ReleaseId> stable;               // what everybody meets
  std::optional<ReleaseId> pending;  // delivered next: waits for a rollout to end, or for a person
  bool approved = false;             // `pending` may start (deploy: auto, or promoted by a person)
  std::optional<RolloutId> rollout;  // in progress
  std::map<std::string, std::string> virtual_addresses;  // service -> IPv4 of the virtual range
  std::uint32_t next_virtual = 0;
  ReleaseId offered = 0;   // the newest that was ever pending here: one that came back is not offered again
  bool stopped = false;    // `naru down --all`
  WallTime switched{};     // the last time that it was stopped or started again
  std::string udp_digest;  // of the UdpRoutes that the launcher should have; "" = none
  std::string udp_error;   // why it refused them, the last time; "" = it did not
};
NARU_JSON(Environment)

enum class StageState { waiting, running, succeeded, failed, cancelled };
NARU_JSON(StageState)

// What of an image decides how it runs.
struct ImageInfo {
  Digest manifest;
  std::vector<Digest> layers;  // diff ids, lowest first
  std::vector<std::string> entrypoint, command, env;
  std::string working_dir, user, stop_signal;
  std::optional<HealthSpec> health;
  std::vector<std::string> volumes;
  std::vector<std::uint16_t> exposed;
  bool operator==(const ImageInfo&) const = default;
};
NARU_JSON(ImageInfo)

struct BuildStage {
  std::string service;
  StageState state = StageState::waiting;
  bool cached = false;
  WallTime started{}, finished{};
  std::optional<ImageInfo> image;
  std::string error;
};
NARU_JSON(BuildStage)

struct Pipeline {
  PipelineId id = 0;
  std::string app, ref, commit, subject, author;
  bool rerun = false;  // of what runs, with other variables: no push
  StageState state = StageState::waiting;
  ApplicationSpec spec;  // production's; filled when planned
  // The other environments': the same file read with their variables.
  std::map<std::string, ApplicationSpec> elsewhere;
  bool planned = false;
  std::vector<BuildStage> builds;
  std::string error, hint;  // hint: what to do about the error; may be empty
  std::vector<std::string> warnings;
  std::optional<ReleaseId> release;
  WallTime pushed{}, planned_at{}, finished{};
};
NARU_JSON(Pipeline)

struct ReleaseService {
  ServiceSpec spec;
  ImageInfo image;
  Digest revision;  // of spec and image: equal revisions are the same thing, neither rebuilt nor redeployed
};
NARU_JSON(ReleaseService)

// Immutable, but for `served`. A version has one release in each environment: the same images, configured
// with its variables.
struct Release {
  ReleaseId id = 0;
  std::string app;
  std::string environment{kProduction};
  std::string after;          // waits until that environment serves this version; "" = at once
  std::uint64_t version = 0;  // v1, v2, ... within the app
  std::string commit, subject, author;
  PipelineId pipeline = 0;
  std::vector<ReleaseService> services;
  std::vector<std::string> volumes;
  RolloutPolicy policy;
  DeployMode deploy = DeployMode::automatic;
  WallTime created{};
  bool served = false;  // everybody met it here at some time: its one-shots have run

  const ReleaseService* find(std::string_view service) const {
    for (const ReleaseService& s : services)
      if (s.spec.name == service) return &s;
    return nullptr;
  }
};
NARU_JSON(Release)

// State is never run twice: an instance of `service`, which `release` has, may not run beside one of `other`,
// which runs as `others` has it. Either it is the same service, or both write a volume; what a release lets
// two of its services write they may write side by side, once both run as such a release has them.
bool excludes(const Release& release, const ServiceSpec& service, const Release& others,
              const ServiceSpec& other);
// Another service of `release` writes there too.
bool written_by_another(const Release& release, const ServiceSpec& service, const MountSpec& where);

enum class RolloutPhase {
  preparing,     // network, one-shots, instances of the new release; users meet the old one only
  stepping,      // a share of users meets the new release
  completing,    // everybody meets the new release; the old one is about to go
  rolling_back,  // nobody meets the new release any more; it is about to go
  done,          // ended well
  rolled_back,   // ended with the old release
};
NARU_JSON(RolloutPhase)

// A request of a user that failed in a step: an example for people, nothing that is judged.
struct FailedExample {
  WallTime time{};
  std::string side;             // "canary" or "stable": where its user belongs
  std::string service, method;  // the service at the edge
  std::string path;             // without the query
  std::uint16_t status = 0;     // 0: no answer
  std::string outcome;          // "5xx", "incomplete", ...; docs/api.md has all
  std::uint64_t duration_us = 0;
  std::string trace_id;  // 32 hex, or ""
  bool operator==(const FailedExample&) const = default;
};
NARU_JSON(FailedExample)
inline constexpr std::size_t kMaxExamples = 10;  // of a step

struct StepRecord {
  BasisPoints weight;
  WallTime started{}, passed{};         // started: acknowledged by the gateway
  std::string verdict;                  // the sentence that ended it
  std::vector<FailedExample> failed{};  // the canary's first, of each side the oldest first
};
NARU_JSON(StepRecord)

struct Rollout {
  RolloutId id = 0;
  std::string app, environment;
  std::optional<ReleaseId> from;
  ReleaseId to = 0;
  RolloutPolicy policy;
  RolloutPhase phase = RolloutPhase::preparing;
  std::uint32_t step = 0;
  bool step_live = false;   // the gateway has acknowledged this step's split
  WallTime step_started{};  // when it did
  std::string salt;         // nobody may learn it: who knows it can choose cookies by their side
  std::uint32_t evidence_slot = 0;
  std::int64_t slow_us =
      -1;  // a slower answer is a slow one; 0: latency is not judged; -1: not looked at yet
  std::vector<StepRecord> steps;
  std::vector<std::string> swapped;  // stateful services whose instance is the new revision's
  std::set<std::string> oneshots_done;
  bool resume = false;       // a person said go on without waiting for evidence
  Json judge;                // judge::State, stored each second
  Json verdict;              // the latest, with its evidence, for people
  std::string reason;        // what it waits for, or why it ended
  bool is_rollback = false;  // asked by `naru rollback`: one-shots do not rerun, goes to everybody at once
  WallTime created{}, phase_since{}, first_user{}, completed{}, ended{};

  bool active() const { return phase != RolloutPhase::done && phase != RolloutPhase::rolled_back; }
};
NARU_JSON(Rollout)

enum class InstancePhase {
  starting,   // the launcher was asked
  running,    // the process lives; not ready yet, or unready again
  ready,      // healthy: may be routed to
  retiring,   // out of the routes; finishes its requests
  stopping,   // the launcher was asked to stop it
  waiting,    // exited; starts again at `retry_at`
  completed,  // a one-shot that ended with 0
  failed,     // will not be started again
};
NARU_JSON(InstancePhase)

// One wanted container. It keeps its id over restarts; each attempt is a container of its own.
struct Instance {
  std::string id;  // "shop-web-17"
  std::string app, environment, service;
  Digest revision;
  ReleaseId release = 0;  // the release that it was started for: where its spec is found
  std::uint32_t replica = 0;
  bool oneshot = false;
  InstancePhase phase = InstancePhase::starting;
  std::uint32_t attempt = 1;
  std::uint32_t restarts = 0;  // in a row; restarts_by() says which of them still count
  std::string address;
  std::int32_t pid = 0;
  std::optional<std::int32_t> exit_code;
  bool out_of_memory = false;
  std::string error;          // why it does not run
  bool was_ready = false;     // this attempt
  std::uint32_t crashes = 0;  // of attempts that had been ready: what the judge counts
  milliseconds exposed{0};    // how long attempts ran after they were ready, up to what exposed_until() adds
  WallTime created{}, started{}, ready_at{}, retry_at{}, retired_at{};
  std::uint64_t retired_revision = 0;  // of the routes when it was retired: a later one does not name it
  WallTime out_of_routes{};            // when the gateway had acknowledged such a table

  std::string container() const { return id + "." + std::to_string(attempt); }
  // Ten healthy minutes forgive earlier crashes.
  std::uint32_t restarts_by(WallTime now) const {
    return was_ready && now - ready_at > std::chrono::minutes(10) ? 0 : restarts;
  }
  // How long it could have crashed as evidence: the time of its attempts after each was ready.
  milliseconds exposed_until(WallTime now) const {
    const bool alive = phase == InstancePhase::running || phase == InstancePhase::ready ||
                       phase == InstancePhase::retiring || phase == InstancePhase::stopping;
    return exposed + (was_ready && alive ? std::max(now - ready_at, milliseconds(0)) : milliseconds(0));
  }
};
NARU_JSON(Instance)

// Work for the world outside, stored in the transaction that decided it and kept until its result has come
// back. Carried out at least once; idempotent by what it names.
enum class ActionKind {
  plan_pipeline,
  build_service,
  ensure_network,
  start_instance,
  stop_instance,
  remove_container,
  publish_routes,
  remove_network,
  set_udp_routes
};
NARU_JSON(ActionKind)
struct Action {
  ActionId id = 0;
  ActionKind kind = ActionKind::plan_pipeline;
  std::string subject;  // pipeline id, environment key, instance id, container id, or routes revision
  std::string detail;   // build_service: the service; start_instance: the attempt
};
NARU_JSON(Action)

struct Counters {                     // the single row that numbers everything
  std::uint64_t next_id = 1;          // pipelines, releases, rollouts, instances, actions
  std::uint64_t routes_revision = 0;  // wanted
  std::uint64_t routes_acked = 0;
  std::string routes_digest;
  std::uint32_t next_evidence_slot = 0;
  std::uint32_t next_slot = 0;  // of telemetry: one that was freed comes last again
  WallTime control_started{};   // nobody looked at anything for some time before
};
NARU_JSON(Counters)

struct State {
  Counters counters;
  std::map<std::string, App> apps;
  std::map<EnvKey, Environment> environments;
  std::map<PipelineId, Pipeline> pipelines;
  std::map<ReleaseId, Release> releases;
  std::map<RolloutId, Rollout> rollouts;
  std::map<std::string, Instance> instances;
  std::map<std::string, std::uint32_t> slots;  // "<env key>/<service>/<revision>" -> telemetry slot
  std::map<std::string, std::uint16_t> ports;  // "<env key>/<service>/<container port>" -> host port
  std::map<ActionId, Action> outbox;
  std::string secret;  // random, chosen once; of it come the rollouts' salts. Encrypted at rest

  const Release* release(std::optional<ReleaseId> id) const {
    if (!id) return nullptr;
    const auto found = releases.find(*id);
    return found == releases.end() ? nullptr : &found->second;
  }
  const Rollout* active_rollout(const Environment& environment) const {
    if (!environment.rollout) return nullptr;
    const auto found = rollouts.find(*environment.rollout);
    return found == rollouts.end() ? nullptr : &found->second;
  }
};
NARU_JSON(State)

// The environment that must serve a release's version first (Release::after); nothing when it names none, or
// one that was removed.
const Environment* environment_before(const State& state, const Release& release);

// A host port that `release` publishes in production and another application has: that one keeps it.
struct TakenPort {
  std::uint16_t port = 0;
  std::string service;  // of `release`
  std::string owner;    // "service db of blog"
};
std::optional<TakenPort> taken_port(const State& state, const Release& release);

}  // namespace naru
