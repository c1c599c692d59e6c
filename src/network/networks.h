// The networks of this Naru: a bridge, a subnet and a virtual range per environment, default deny around
// each.
//
//   10.88.0.0/23  containers; 10.88.0.1 is the bridge (DNS and the inner listener answer there, nothing else)
//   10.88.2.0/23  virtual addresses of services: TCP is redirected to the bridge's inner_port (the gateway
//   reads
//                 SO_ORIGINAL_DST), UDP goes by DNAT to what set_udp_routes() names
//
// Names of links and of the nftables table derive from the data folder, so that two Narus coexist. What
// exists is written to <data>/networks/<id>.json before it is made; open() makes the kernel agree with it
// again (after a reboot, after a kill) and takes away links of ours that no file names. An address belongs to
// a container from attach() to release(), whatever restarts in between. Thread-safe. Must be used from the
// network namespace it was opened in. Errors: network_exhausted (no free subnet or address),
// invalid_argument, not_found, conflict, system. Rules that the kernel does not take fail what needed them,
// and are tried again with whatever is asked next.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/fd.h"
#include "model/container.h"

namespace naru::network {

// How much of it the kernel does, each with all before it.
enum class UdpSupport {
  none,      // datagrams between services are refused
  new_only,  // a client that goes on sending from one port stays with the instance that it had
  full       // clients follow their service (conntrack zones)
};

struct NetworksOptions {
  std::string data;  // the data folder; networks/ below it is made
  // Blocks to choose subnets from, in this order; a block that the host routes, or in which
  // somebody listens, is left out.
  std::vector<std::string> pools{"10.88.0.0/13", "172.24.0.0/13", "198.18.0.0/15"};
  std::uint16_t inner_port = 15001;
  UdpSupport most_udp = UdpSupport::full;  // for tests: as on a kernel that does less
};

// A container's place in its network: a fresh network namespace with lo and eth0 up, addressed and routed.
struct Attachment {
  Fd netns;             // for setns(2); the namespace lives as long as somebody holds it or runs in it
  std::string address;  // "" for loopback only
  std::string gateway;  // also the nameserver; "" for loopback only
};

struct AttachOptions {
  bool isolated = false;  // it reaches the gateway and the outside, but no other isolated container
  // It reaches only those of its network who have one of them, too; empty = "default". They stay until
  // release(), also over a restart, and hold before the container is there.
  std::vector<std::string> segments{};
  bool internal = false;  // it reaches nothing outside of its network
};

class Networks {
 public:
  static Result<std::unique_ptr<Networks>> open(NetworksOptions options);
  ~Networks();  // leaves everything in place: containers outlive us

  Result<NetworkInfo> ensure(const std::string& id);  // idempotent
  Result<void> remove(const std::string& id);         // conflict while a container is attached; idempotent
  std::vector<NetworkInfo> list() const;

  // Idempotent for the lease; the namespace and its link are made anew each time (an old link goes).
  // network "" = loopback only.
  // What leaves the container bears its own hardware and IPv4 address, or is dropped.
  // busy: the kernel does not take its rules for now; ask again.
  Result<Attachment> attach(const std::string& network, const std::string& container,
                            AttachOptions wanted = {});
  Result<void> release(const std::string& container);  // link and lease; idempotent
  // Gives back the leases of containers that are not in `known` (after adoption), all that it can; the first
  // error.
  Result<void> keep_only(const std::set<std::string>& known);
  // Instead of all that it had; they hold until others are set, also over a restart of everything.
  // unsupported: the kernel cannot forward UDP. too_large.
  Result<void> set_udp_routes(const std::string& network, UdpRoutes routes);

  // What was changed on the host or left out, for people.
  std::vector<std::string> notices() const;
  // Takes away links and table. The files stay: the next open() makes the same networks again. For the end
  // of a platform (`naru down --all`): nothing may be asked of this object afterwards.
  Result<void> clear_host();
  // The files, too.
  Result<void> remove_all();

 private:
  struct State;
  explicit Networks(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace naru::network
