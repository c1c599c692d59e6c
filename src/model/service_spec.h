// What a compose file asks for, resolved: interpolated, merged, defaults filled in. One ServiceSpec is the
// configuration of one service in one release; equal specs and images mean an unchanged service.
// Source: the Compose Specification (compose-spec.io), plus our keys under x-naru.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/json.h"

namespace naru {

enum class Transport { tcp, udp };
NARU_JSON(Transport)

struct PortSpec {
  std::uint16_t container = 0;
  std::optional<std::uint16_t> host;  // none: reachable by name only
  std::string host_ip;                // "" = every address
  Transport transport = Transport::tcp;
  std::string app_protocol;  // "http", "tcp", "" = detect
  bool operator==(const PortSpec&) const = default;
};
NARU_JSON(PortSpec)
// What app_protocol says, else what people know the port for (6379 is Redis, 8080 a web server).
enum class Speaks { http, other, unknown };
Speaks speaks(const PortSpec& port);
// Its name at the edge may answer.
bool may_speak_http(const PortSpec& port);

enum class MountKind { volume, bind, tmpfs };
NARU_JSON(MountKind)

struct MountSpec {
  MountKind kind = MountKind::volume;
  // volume: its name; bind: a path relative to the checkout, or an absolute one of the machine, which takes
  // the operator's grant (model/grant.h); tmpfs: empty
  std::string source;
  std::string target;  // absolute path in the container
  bool read_only = false;
  std::uint64_t tmpfs_bytes = 0;  // 0 = 64 MiB
  bool operator==(const MountSpec&) const = default;

  bool of_machine() const { return kind == MountKind::bind && source.starts_with('/'); }
  // What is written there outlives the container.
  bool keeps_state() const { return !read_only && (kind == MountKind::volume || of_machine()); }
};
NARU_JSON(MountSpec)

// Of normal absolute paths: the folder itself, or something in it.
bool lies_in(std::string_view path, std::string_view folder);
// One lies in the other.
bool folders_meet(std::string_view a, std::string_view b);

struct HealthSpec {
  bool disabled = false;
  std::vector<std::string> test;  // exec form, without "CMD"; CMD-SHELL becomes {"/bin/sh", "-c", ...}
  milliseconds interval{30'000};
  milliseconds timeout{30'000};
  milliseconds start_period{0};
  milliseconds start_interval{1'000};  // between probes until the first success
  std::uint32_t retries = 3;
  bool operator==(const HealthSpec&) const = default;
};
NARU_JSON(HealthSpec)

struct BuildSpec {
  std::string context = ".";              // relative to the compose file, inside the checkout
  std::string dockerfile = "Dockerfile";  // relative to the context
  std::string target;                     // "" = the last stage
  std::map<std::string, std::string> args;
  bool operator==(const BuildSpec&) const = default;
};
NARU_JSON(BuildSpec)

enum class DependencyCondition { started, healthy, completed };
NARU_JSON(DependencyCondition)
struct Dependency {
  std::string service;
  DependencyCondition condition = DependencyCondition::started;
  bool operator==(const Dependency&) const = default;
};
NARU_JSON(Dependency)

enum class RestartMode { no, always, on_failure, unless_stopped };
NARU_JSON(RestartMode)
struct RestartSpec {
  // A platform heals: without a `restart` key a service restarts (as Kubernetes does), a one-shot does not.
  RestartMode mode = RestartMode::always;
  std::uint32_t max_attempts = 0;  // on-failure:N; 0 = no limit
  bool operator==(const RestartSpec&) const = default;
};
NARU_JSON(RestartSpec)

struct ResourceSpec {
  std::uint64_t memory_bytes = 0;  // 0 = no limit
  std::uint32_t cpu_millis = 0;    // 1,500 = one and a half CPUs; 0 = no limit
  std::uint32_t pids = 0;          // 0 = the engine's default (4,096)
  bool operator==(const ResourceSpec&) const = default;
};
NARU_JSON(ResourceSpec)

struct ServiceSpec {
  std::string name;
  std::optional<BuildSpec> build;
  std::string image;  // reference to pull when there is no build; with build: the name given to the result
  std::optional<std::vector<std::string>> entrypoint;  // none = the image's
  std::optional<std::vector<std::string>> command;     // none = the image's
  std::map<std::string, std::string> environment;      // env_file merged in
  std::vector<PortSpec> ports;                         // `ports` and `expose`
  std::vector<Dependency> depends_on;
  std::optional<HealthSpec> health;  // none = the image's HEALTHCHECK
  std::vector<MountSpec> mounts;
  std::vector<std::string> networks;  // names; empty = "default"
  bool internal = false;              // all of them are: no way out of this host
  RestartSpec restart;
  std::uint32_t replicas = 1;
  ResourceSpec resources;
  std::string user;         // "" = the image's
  std::string working_dir;  // "" = the image's
  std::string hostname;
  std::optional<std::string> stop_signal;
  milliseconds stop_grace{10'000};
  bool read_only = false;
  std::vector<std::string> cap_add, cap_drop;
  std::map<std::string, std::string> labels;
  // x-naru
  bool shared = false;               // x-naru.shared: two instances may mount its volumes read-write
  std::string test_target = "test";  // x-naru.test: stage built and run before release; "" = none
  bool operator==(const ServiceSpec&) const = default;

  // Mounts a named volume or a folder of the machine read-write and is not `shared`: never two instances at
  // once.
  bool stateful() const {
    if (shared) return false;
    for (const MountSpec& mount : mounts)
      if (mount.keeps_state()) return true;
    return false;
  }
  bool answers_udp() const {
    for (const PortSpec& port : ports)
      if (port.transport == Transport::udp) return true;
    return false;
  }
  // Writes that volume, or in that folder of the machine (or in one around it).
  bool writes(const MountSpec& where) const {
    for (const MountSpec& mount : mounts)
      if (mount.keeps_state() && mount.kind == where.kind &&
          (mount.kind == MountKind::volume ? mount.source == where.source
                                           : folders_meet(mount.source, where.source)))
        return true;
    return false;
  }
};
NARU_JSON(ServiceSpec)

// Of two lists as `networks` above: who shares none does not reach the other, and does not know its name.
bool share_network(const std::vector<std::string>& a, const std::vector<std::string>& b);

enum class StrategyKind { canary, recreate, all_at_once };
NARU_JSON(StrategyKind)

struct CanaryStep {
  BasisPoints weight{500};
  milliseconds min_duration{30'000};
  std::uint32_t min_users = 50;  // on the canary's side
  bool operator==(const CanaryStep&) const = default;
};
NARU_JSON(CanaryStep)

// x-naru.rollout.probe: requests that Naru sends itself while a step runs, each as a new user.
struct ProbeSpec {
  std::string service;      // one that answers HTTP
  std::string path = "/";   // begins with '/'
  std::uint32_t rate = 20;  // requests a second
  bool operator==(const ProbeSpec&) const = default;
};
NARU_JSON(ProbeSpec)

// x-naru.rollout
struct RolloutPolicy {
  StrategyKind strategy = StrategyKind::canary;
  // The last step is always everybody and needs no entry.
  std::vector<CanaryStep> steps{{BasisPoints{500}, milliseconds{30'000}, 50},
                                {BasisPoints{2500}, milliseconds{30'000}, 50},
                                {BasisPoints{5000}, milliseconds{30'000}, 50}};
  milliseconds bake{120'000};     // least time from the first canary user to "everybody"
  double alpha = 0.001;           // chance of a false rollback, per rollout, over all metrics
  double error_objective = 0.01;  // the canary's bad-user rate that counts as good enough
  double error_margin = 0.25;     // odds ratios up to 1 + margin are harmless; never 0
  double latency_margin = 0.25;
  milliseconds warm_up{10'000};              // latency of a new instance is not judged before
  milliseconds ready_deadline{120'000};      // instances must be ready within
  std::string cohort_cookie, cohort_header;  // "" = the gateway's own cookie
  std::optional<ProbeSpec> probe;
  bool operator==(const RolloutPolicy&) const = default;
};
NARU_JSON(RolloutPolicy)

enum class DeployMode { automatic, manual };
NARU_JSON(DeployMode)

// What an application has without saying so; host ports are published here only.
inline constexpr std::string_view kProduction = "production";
inline constexpr std::size_t kMaxEnvironments = 8;

// Of applications and environments: 1 to 24 of a-z, 0-9 and '-', beginning with a letter, as DNS labels are.
bool is_valid_name(std::string_view name);

// x-naru.environments.NAME: an isolated copy of the application with variables, volumes and network of its
// own.
struct EnvironmentSpec {
  std::string name;
  DeployMode deploy = DeployMode::automatic;
  std::string after;  // a release comes here once that environment serves it; "" = at once
  bool operator==(const EnvironmentSpec&) const = default;
};
NARU_JSON(EnvironmentSpec)

// A compose file, read and resolved.
struct ApplicationSpec {
  std::vector<ServiceSpec> services;  // in the file's order
  std::vector<std::string> volumes;   // declared named volumes
  std::vector<std::string> networks;  // declared networks, without "default"
  RolloutPolicy rollout;
  DeployMode deploy = DeployMode::automatic;  // x-naru.deploy: production's, unless it says so itself
  std::vector<EnvironmentSpec> environments;  // as the file lists them; every_environment() adds production
  bool operator==(const ApplicationSpec&) const = default;

  const ServiceSpec* find(std::string_view service) const {
    for (const ServiceSpec& s : services)
      if (s.name == service) return &s;
    return nullptr;
  }
  std::vector<EnvironmentSpec> every_environment() const;
};
NARU_JSON(ApplicationSpec)

}  // namespace naru
