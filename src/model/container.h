// What the launcher is asked to run, and what it says of it. Decisions never see more of a container.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/json.h"
#include "model/service_spec.h"

namespace naru {

struct ContainerMount {
  MountKind kind = MountKind::volume;
  std::string source;  // volume: its full name ("shop.production.data"); bind: absolute path, which the
                       // launcher accepts inside checkouts/, and elsewhere by a grant; tmpfs: empty
  std::string target;
  bool read_only = false;
  std::uint64_t tmpfs_bytes = 0;
  bool shared = false;  // another container may write it at the same time
};
NARU_JSON(ContainerMount)

struct ContainerSpec {
  std::string id;   // [a-z0-9][a-z0-9.-]{0,62}, unique in this Naru; starts are idempotent by it
  std::string app;  // whose grants the launcher looks at; "" = nobody's
  std::string hostname;
  std::vector<Digest> layers;     // diff ids, lowest first; unpacked under layers/<hex>
  std::vector<std::string> argv;  // at least one
  std::vector<std::string> env;   // "K=V"
  std::string cwd = "/";
  std::string user;  // "", "uid", "uid:gid", "name", "name:group"; names from the image's /etc
  std::vector<ContainerMount> mounts;
  ResourceSpec resources;
  bool read_only_root = false;
  std::vector<std::string> cap_add, cap_drop;  // beyond the default set; names without CAP_
  std::string network;                         // id of an environment's network; "" = loopback only
  std::vector<std::string> segments;           // names inside it: it reaches only those who have one of its
                                               // own; empty = "default"
  bool internal = false;                       // it reaches nothing outside of its network
  std::vector<std::string> dns_search;
  std::string stop_signal = "SIGTERM";
  milliseconds stop_grace{10'000};
  std::uint64_t log_file_bytes = 10ULL << 20;  // rotated at this size
  std::uint32_t log_files = 3;
  std::string parent_cgroup = "apps";         // "apps" or "builds", below Naru's own group
  std::map<std::string, std::string> labels;  // kept, shown, not interpreted
};
NARU_JSON(ContainerSpec)

enum class ContainerState {
  created,
  running,
  exited,
  lost
};  // lost: gone without an exit status (reboot, kill -9 of all)
NARU_JSON(ContainerState)

struct ContainerStatus {
  std::string id;
  ContainerState state = ContainerState::created;
  std::int32_t pid = 0;                   // on the host; 0 when not running
  std::string address;                    // IPv4 in its network; "" without one
  std::optional<std::int32_t> exit_code;  // 128 + signal when killed
  bool out_of_memory = false;
  bool stop_asked = false;  // before it ended: its exit code says nothing of its work
  WallTime started{};
  WallTime finished{};
  std::map<std::string, std::string> labels;
  std::vector<std::string> notices;  // isolation that was left out, and why
};
NARU_JSON(ContainerStatus)

// One environment's network, as the launcher made it.
struct NetworkInfo {
  std::string id;                // "<app>.<env>"
  std::string bridge;            // link name
  std::string subnet;            // "10.88.0.0/23": containers
  std::string gateway;           // "10.88.0.1": the bridge; DNS and the inner listener answer here
  std::string virtual_range;     // "10.88.2.0/23": services' virtual addresses
  std::uint16_t inner_port = 0;  // where nftables sends every TCP port of the virtual range, on `gateway`
};
NARU_JSON(NetworkInfo)

// Datagrams to a service's virtual address go to one of its instances, at the same port.
struct UdpTarget {
  std::string virtual_address;
  std::uint16_t port = 0;
  std::string address;  // of the instance
  bool operator==(const UdpTarget&) const = default;
};
NARU_JSON(UdpTarget)

// A caller that may send there though it and the instance have no segment in common: a release that moves a
// service to another network cuts nobody off who is held to the one before.
struct UdpException {
  std::string caller;  // address of an instance
  std::string virtual_address;
  auto operator<=>(const UdpException&) const = default;
};
NARU_JSON(UdpException)

// One network's. What `canary` does not name goes where `targets` says, for everybody.
struct UdpRoutes {
  std::vector<UdpTarget> targets;
  std::vector<std::string> canary_callers;  // addresses of instances that only the new release has
  std::vector<UdpTarget> canary;            // where their datagrams go
  std::vector<UdpException> exceptions{};
  bool empty() const { return targets.empty() && canary.empty(); }
  bool operator==(const UdpRoutes&) const = default;
};
NARU_JSON(UdpRoutes)

}  // namespace naru
