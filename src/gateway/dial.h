// A connection to an instance for bytes that are not HTTP.
#pragma once

#include "gateway/http_session.h"

namespace naru::gateway {

struct Dialled {
  std::unique_ptr<Upstream> upstream;
  std::uint32_t slot = ipc::kNoSlot;
  UpstreamPool::Load load;
};

// Assigns the connection to a side, waits while the service is held (and `client` is there), connects; a
// canary that does not take the connection is counted and replaced by stable. unavailable: no instance, or
// none took it; cancelled: the client went away; forbidden: a call that was refused (callers.h).
io::Task<Result<Dialled>> dial(Worker& worker, const Arrival& arrival, const io::Stream& client);

}  // namespace naru::gateway
