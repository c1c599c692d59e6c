#include "gateway/worker.h"

#include <fcntl.h>

#include <algorithm>

#include "base/log.h"
#include "gateway/dns_service.h"

namespace naru::gateway {

struct Worker::Open {
  std::shared_ptr<const Origin> origin;
  std::optional<io::Listener> listener;
  std::shared_ptr<DnsSocket> datagrams;
  bool closed = false;
  void close() {
    closed = true;
    if (listener) listener->close();
    if (datagrams) datagrams->close();
  }
};

bool RetryBudget::take(MonoTime now) {
  if (last_ != MonoTime{}) {
    const double passed = std::chrono::duration<double>(now - last_).count();
    tokens_ = std::max(tokens_, std::min(10.0, tokens_ + passed * 10));
  }
  last_ = now;
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

Worker::Worker(Shared& shared, std::unique_ptr<io::Reactor> reactor, bool serves_dns)
    : shared_(&shared),
      reactor_(std::move(reactor)),
      rng_(secure_random_u64()),
      upstreams_(*reactor_, rng_),
      serves_dns_(serves_dns) {}

Result<std::unique_ptr<Worker>> Worker::start(Shared& shared, bool serves_dns) {
  auto reactor = TRY(io::Reactor::create());
  std::unique_ptr<Worker> worker(new Worker(shared, std::move(reactor), serves_dns));
  worker->thread_ = std::thread([raw = worker.get()] {
    raw->reactor_->spawn(keep_house(*raw));
    raw->reactor_->run();
    raw->stop_returned_.acquire();
    // Sessions are destroyed on the thread that ran them, while what they refer to still stands.
    for (auto& open : raw->listeners_) open->close();
    raw->listeners_.clear();
    raw->upstreams_.close_idle();
    raw->reactor_.reset();
  });
  return worker;
}

Worker::~Worker() {
  if (!thread_.joinable()) return;
  reactor_->stop();
  stop_returned_.release();
  thread_.join();
}

void Worker::set_routes(std::shared_ptr<const route::Snapshot> snapshot, std::function<void()> applied) {
  reactor_->post([this, snapshot = std::move(snapshot), applied = std::move(applied)]() mutable {
    apply_routes(std::move(snapshot));
    if (applied) applied();
  });
}

void Worker::apply_routes(std::shared_ptr<const route::Snapshot> snapshot) {
  routes_ = std::move(snapshot);
  upstreams_.set_addresses(routes_->addresses());
  for (io::Event* hold : holds_) hold->raise();
}

void Worker::set_listeners(std::vector<NewListener> added, std::vector<std::string> keep) {
  reactor_->post([this, added = std::move(added), keep = std::move(keep)]() mutable {
    std::erase_if(listeners_, [&](const std::shared_ptr<Open>& open) {
      const bool stays = std::ranges::find(keep, open->origin->listener) != keep.end();
      if (!stays) open->close();
      return !stays;
    });
    for (NewListener& one : added) open_listener(std::move(one));
  });
}

void Worker::open_listener(NewListener added) {
  if (draining_) return;
  std::erase_if(listeners_, [&](const std::shared_ptr<Open>& open) {  // the same name, another socket
    if (open->origin->listener != added.spec.name) return false;
    open->close();
    return true;
  });
  Origin origin{added.spec.kind, added.spec.name, {}};
  if (const auto colon = added.spec.name.find(':'); colon != std::string::npos)
    origin.network = added.spec.name.substr(colon + 1);
  auto open = std::make_shared<Open>();
  open->origin = std::make_shared<const Origin>(std::move(origin));
  const bool dns = added.spec.kind == ListenerKind::dns_udp || added.spec.kind == ListenerKind::dns_tcp;
  if (dns && !serves_dns_) return;
  if (added.spec.kind == ListenerKind::dns_udp) {
    auto socket = DnsSocket::start(*this, open->origin, std::move(added.fd));
    if (!socket)
      return log_event(Level::error, "gateway.listener_refused",
                       {{"name", added.spec.name}, {"error", socket.error().message()}});
    open->datagrams = *socket;
  } else {
    auto listener = io::Listener::adopt(*reactor_, std::move(added.fd));
    if (!listener)
      return log_event(Level::error, "gateway.listener_refused",
                       {{"name", added.spec.name}, {"error", listener.error().message()}});
    open->listener.emplace(std::move(*listener));
    reactor_->spawn(accept_loop(*this, open));
  }
  listeners_.push_back(std::move(open));
}

io::Task<void> Worker::accept_loop(Worker& worker, std::shared_ptr<Open> open) {
  while (!open->closed) {
    auto client = co_await open->listener->accept();
    if (!client) {
      if (open->closed || client.error().code == Code::cancelled) co_return;
      co_await io::sleep(*worker.reactor_, 20ms);  // out of descriptors: others close meanwhile
      continue;
    }
    if (worker.clients() >= worker.bounds().connections) continue;  // closed at once
    if (open->origin->kind == ListenerKind::dns_tcp)
      worker.reactor_->spawn(serve_dns_connection(worker, std::move(*client), open->origin));
    else
      worker.reactor_->spawn(serve_connection(worker, std::move(*client), open->origin));
  }
}

void Worker::drain(std::function<void()> closed) {
  reactor_->post([this, closed = std::move(closed)]() mutable {
    draining_ = true;
    for (auto& open : listeners_) open->close();
    listeners_.clear();
    reactor_->spawn(after_accepted(*this, std::move(closed)));
  });
}

// What the kernel gave us in this very turn waits to be resumed: to end now would lose its request.
io::Task<void> Worker::after_accepted(Worker& worker, std::function<void()> call) {
  co_await io::yield(*worker.reactor_);
  call();
}

io::Task<void> Worker::keep_house(Worker& worker) {
  while (true) {
    co_await io::sleep(*worker.reactor_, 5s);
    worker.upstreams_.sweep();
  }
}

Worker::Hold::Hold(Worker& worker, std::size_t head_bytes)
    : worker_(worker), bytes_(head_bytes), table_changed_(worker.reactor()) {
  Shared& shared = worker.shared();
  const bool count_fits = shared.held.fetch_add(1) < shared.bounds.held_requests;
  const bool bytes_fit = shared.held_bytes.fetch_add(bytes_) + bytes_ <= shared.bounds.held_bytes;
  admitted_ = count_fits && bytes_fit;
  place_ = worker_.holds_.insert(worker_.holds_.end(), &table_changed_);
}

Worker::Hold::~Hold() {
  worker_.holds_.erase(place_);
  worker_.shared().held.fetch_sub(1);
  worker_.shared().held_bytes.fetch_sub(bytes_);
}

io::Task<void> Worker::Hold::wait(milliseconds at_most) {
  auto waited = co_await table_changed_.wait(io::after(at_most));
  (void)waited;  // a timeout is as good: the caller looks at the table and at its client
  table_changed_.clear();
}

}  // namespace naru::gateway
