// The gateway's first thread: takes listeners from the supervisor and routes from control, gives them to the
// workers, acknowledges, and drains at the end. It carries no traffic, and may block for moments.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "gateway/gateway.h"
#include "gateway/table_file.h"
#include "gateway/worker.h"
#include "ipc/channel.h"
#include "ipc/gateway_protocol.h"

namespace naru::gateway {

class Steering {
 public:
  // Opens the telemetry, loads the last table, starts the workers. The options' descriptors are borrowed.
  static Result<std::unique_ptr<Steering>> start(const GatewayOptions& options);
  ~Steering();
  // Until `stop_fd` is readable or the supervisor is gone; then drains.
  void run(int stop_fd);
  std::uint64_t revision() const { return revision_; }
  std::uint64_t refused_calls() const { return shared_.refused_calls.load(); }

 private:
  struct ControlLink {
    std::uint64_t id = 0;
    ipc::Channel channel;
  };
  struct Ack {
    std::uint64_t link = 0, revision = 0;
  };

  explicit Steering(const GatewayOptions& options) : options_(options), table_file_(options.table_path) {}
  Result<void> load_table();
  void apply(const std::shared_ptr<const route::Snapshot>& snapshot, std::uint64_t link);
  void turn(int stop_fd, int timeout_ms);
  void read_supervisor();
  void take_listeners(ipc::Message message);
  void publish_listeners();
  void accept_control();
  void read_control(ControlLink& link);
  void take_routes(ControlLink& link, const Json& body);
  void send_acks();
  void send_stats();
  void send(ControlLink& link, const Json& body);
  ipc::GatewayStats stats() const;
  void drain();
  std::size_t clients() const;

  GatewayOptions options_;
  std::optional<ipc::Telemetry> telemetry_;
  Shared shared_;
  TableFile table_file_;
  std::vector<std::unique_ptr<Worker>> workers_;

  ipc::Channel supervisor_;
  std::vector<ControlLink> links_;
  std::uint64_t next_link_ = 1;
  std::uint64_t revision_ = 0;
  bool stopping_ = false;

  // Of the set that is being received; published with its last message.
  std::vector<Worker::NewListener> incoming_;
  std::map<std::string, ListenerSpec> listeners_;

  Fd wake_;  // eventfd: acknowledgements wait
  std::mutex acks_mutex_;
  std::vector<Ack> acks_;
};

}  // namespace naru::gateway
