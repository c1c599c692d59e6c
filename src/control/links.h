// Control's ends of the sockets to gateway and supervisor. Each call blocks its worker thread; one at a time.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "ipc/channel.h"
#include "ipc/gateway_protocol.h"
#include "ipc/supervisor_protocol.h"

namespace naru::control {

class GatewayLink {
 public:
  explicit GatewayLink(std::string socket_path) : path_(std::move(socket_path)) {}
  // Returns when every thread of the gateway routes by it. unavailable, timeout: send it again; conflict:
  // refused.
  Result<void> publish(const RouteTable& table);
  // Reads what the gateway says on its own. False: it is not (or no more) connected, its successor may have
  // an older table.
  bool listen();
  ipc::GatewayStats stats() const;

 private:
  Result<void> exchange(const RouteTable& table);
  void take_stats(const Json& body);
  std::string path_;
  mutable std::mutex mutex_;
  ipc::Channel channel_;
  mutable std::mutex stats_mutex_;
  ipc::GatewayStats stats_;
};

class SupervisorLink {
 public:
  // -1: there is no supervisor (tests); then everything succeeds and nothing happens.
  explicit SupervisorLink(int fd);
  Result<std::vector<ipc::ListenerError>> set_listeners(const std::vector<ListenerSpec>& listeners);
  Result<void> down(bool all);  // all: nothing of this Naru stays in the kernel

 private:
  Result<Json> call(Json request);
  std::mutex mutex_;
  ipc::Channel channel_;
  std::uint64_t next_id_ = 1;
};

}  // namespace naru::control
