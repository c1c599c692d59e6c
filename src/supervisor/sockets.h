// The sockets that outlive every process but the supervisor.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "ipc/supervisor_protocol.h"
#include "model/route_table.h"

namespace naru::supervisor {

// A listening TCP socket, or a bound UDP one for dns_udp. "" = every address, IPv4 and IPv6. An address that
// this machine does not have yet is bound all the same (IP_FREEBIND): a bridge may come later. port_taken,
// system.
Result<Fd> open_listener(const ListenerSpec& spec);

// `localhost` means [::1], too: what listens on 127.0.0.1 alone leaves the same port of the other half to any
// local user, who then gets what was meant for us. The listener for that half; none when `spec` is not for
// 127.0.0.1, or where the machine has no IPv6. port_taken: somebody sits there already.
Result<std::optional<Fd>> open_other_half(const ListenerSpec& spec);

// The gateway's: a set that is replaced as a whole.
class Listeners {
 public:
  // Opens what is new, closes what is gone. What cannot be opened is told and tried again with the next set.
  std::vector<ipc::ListenerError> replace(const std::vector<ListenerSpec>& wanted);
  struct Open {
    ListenerSpec spec;
    Fd fd;
  };
  const std::map<std::string, Open>& open() const { return open_; }

 private:
  std::map<std::string, Open> open_;
};

}  // namespace naru::supervisor
