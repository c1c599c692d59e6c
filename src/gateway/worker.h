// One thread of the gateway: a reactor, its listeners, its view of the routes. What sessions ask it for is
// used on its own thread only, so nothing here is locked.
#pragma once

#include <array>
#include <atomic>
#include <list>
#include <memory>
#include <semaphore>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_set>
#include <vector>

#include "base/rng.h"
#include "gateway/bounds.h"
#include "gateway/transfer.h"
#include "gateway/upstream.h"
#include "io/socket.h"
#include "ipc/telemetry.h"
#include "route/snapshot.h"

namespace naru::gateway {

// What the threads share: atomics, and what is fixed at start.
struct Shared {
  ipc::Telemetry* telemetry = nullptr;
  std::uint32_t generation = 0;
  std::vector<std::uint32_t> nameservers;  // the host's
  std::uint16_t resolver_port = 53;
  Bounds bounds;
  std::atomic<std::uint64_t> connections{0}, held{0}, held_bytes{0}, retried{0}, refused{0}, refused_calls{0};
};

// Where a connection came in.
struct Origin {
  ListenerKind kind = ListenerKind::http;
  std::string listener;  // name
  std::string network;   // inner and DNS: NetworkInfo::id
};

// Retries of canary failures: a fifth of the requests, and ten a second in any case.
class RetryBudget {
 public:
  void request() { tokens_ = std::min(tokens_ + 0.2, 100.0); }
  bool take(MonoTime now);

 private:
  double tokens_ = 10;
  MonoTime last_{};
};

class Worker {
 public:
  // The thread starts at once. unavailable: no reactor.
  static Result<std::unique_ptr<Worker>> start(Shared& shared, bool serves_dns);
  ~Worker();  // stops and joins

  // ---- any thread
  void set_routes(std::shared_ptr<const route::Snapshot> snapshot, std::function<void()> applied);
  struct NewListener {
    ListenerSpec spec;
    Fd fd;
  };
  // Adds these, closes those that are not in `keep`.
  void set_listeners(std::vector<NewListener> added, std::vector<std::string> keep);
  // Stops accepting; answers carry `Connection: close` from now on. `closed` is called on the worker's thread
  // when every connection that was accepted is counted in clients().
  void drain(std::function<void()> closed);
  std::size_t clients() const { return clients_.load(std::memory_order_relaxed); }

  // ---- its own thread: for sessions
  io::Reactor& reactor() { return *reactor_; }
  Shared& shared() { return *shared_; }
  const Bounds& bounds() const { return shared_->bounds; }
  ipc::Telemetry& telemetry() { return *shared_->telemetry; }
  // Null before the first table.
  const std::shared_ptr<const route::Snapshot>& routes() const { return routes_; }
  UpstreamPool& upstreams() { return upstreams_; }
  PipeCache& pipes() { return pipes_; }
  RetryBudget& retries() { return retries_; }
  Rng& rng() { return rng_; }
  bool draining() const { return draining_; }

  // Waits for the next table (or a short while): false when too many wait already. The caller looks again,
  // and again, until its own deadline.
  class Hold {
   public:
    Hold(Worker& worker, std::size_t head_bytes);
    ~Hold();
    bool admitted() const { return admitted_; }
    io::Task<void> wait(milliseconds at_most);

   private:
    Worker& worker_;
    std::size_t bytes_;
    bool admitted_ = false;
    io::Event table_changed_;
    std::list<io::Event*>::iterator place_;
  };

  // Ports whose server was seen to speak first: "<environment network>/<service>:<port>".
  bool speaks_first(const std::string& port) const { return tcp_ports_.contains(port); }
  void remember_speaks_first(const std::string& port) {
    if (tcp_ports_.size() < 4096) tcp_ports_.insert(port);
  }

  // Whether this thread has refused a call of this kind before (callers.h); what it remembers is bounded.
  bool first_refusal(const std::string& pair) {
    return refusals_.size() < 4096 && refusals_.insert(pair).second;
  }

  // Counts a client's connection while it lives.
  class Client {
   public:
    explicit Client(Worker& worker) : worker_(&worker) {
      worker.clients_.fetch_add(1, std::memory_order_relaxed);
      worker.shared_->connections.fetch_add(1, std::memory_order_relaxed);
    }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client() {
      worker_->clients_.fetch_sub(1, std::memory_order_relaxed);
      worker_->shared_->connections.fetch_sub(1, std::memory_order_relaxed);
    }

   private:
    Worker* worker_;
  };

 private:
  struct Open;  // a listener
  Worker(Shared& shared, std::unique_ptr<io::Reactor> reactor, bool serves_dns);
  void apply_routes(std::shared_ptr<const route::Snapshot> snapshot);
  void open_listener(NewListener listener);
  static io::Task<void> accept_loop(Worker& worker, std::shared_ptr<Open> open);
  static io::Task<void> after_accepted(Worker& worker, std::function<void()> call);
  static io::Task<void> keep_house(Worker& worker);

  Shared* shared_;
  std::unique_ptr<io::Reactor> reactor_;
  Rng rng_;
  UpstreamPool upstreams_;
  PipeCache pipes_;
  RetryBudget retries_;
  std::shared_ptr<const route::Snapshot> routes_;
  std::vector<std::shared_ptr<Open>> listeners_;
  std::list<io::Event*> holds_;
  std::unordered_set<std::string> tcp_ports_, refusals_;
  std::atomic<std::size_t> clients_{0};
  bool serves_dns_;
  bool draining_ = false;
  // stop() has returned: only then may the thread destroy the reactor that stop() wakes.
  std::binary_semaphore stop_returned_{0};
  std::thread thread_;
};

// Takes an accepted connection to its end.
io::Task<void> serve_connection(Worker& worker, io::Stream client, std::shared_ptr<const Origin> origin);

}  // namespace naru::gateway
