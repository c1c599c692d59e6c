#include "gateway/steering.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/log.h"
#include "format/dns.h"
#include "model/json_text.h"

namespace naru::gateway {
namespace {

constexpr std::size_t kControlLinks = 8;
constexpr milliseconds kStatsEvery{1'000};

std::vector<std::uint32_t> host_nameservers(const std::string& path) {
  std::string text(16 * 1024, '\0');
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const ssize_t got = fd ? read(fd.get(), text.data(), text.size()) : -1;
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return format::parse_nameservers(text);
}

unsigned thread_count(unsigned asked) {
  if (asked > 0) return std::min(asked, 64U);
  return std::clamp(std::thread::hardware_concurrency(), 1U, 64U);
}

}  // namespace

Result<std::unique_ptr<Steering>> Steering::start(const GatewayOptions& options) {
  std::unique_ptr<Steering> self(new Steering(options));
  self->telemetry_.emplace(TRY(ipc::Telemetry::open(options.telemetry_fd)));
  self->shared_.telemetry = &*self->telemetry_;
  self->shared_.generation = self->telemetry_->begin_generation();
  self->shared_.bounds = options.bounds;
  self->shared_.nameservers = host_nameservers(options.resolv_conf);
  self->shared_.resolver_port = options.resolver_port;
  self->wake_ = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!self->wake_) return fail_errno(Code::system, "gateway: eventfd");
  for (unsigned i = 0; i < thread_count(options.threads); ++i)
    self->workers_.push_back(TRY(Worker::start(self->shared_, i == 0)));
  if (const auto loaded = self->load_table(); !loaded && loaded.error().code != Code::not_found)
    log_event(Level::warn, "gateway.last_table_unusable", {{"error", loaded.error().message()}});
  if (options.supervisor_fd >= 0) {
    Fd own(fcntl(options.supervisor_fd, F_DUPFD_CLOEXEC, 3));
    if (!own) return fail_errno(Code::system, "gateway: supervisor's descriptor {}", options.supervisor_fd);
    self->supervisor_ = ipc::Channel(std::move(own));
  }
  if (options.control_listen_fd >= 0) {
    const int flags = fcntl(options.control_listen_fd, F_GETFL);
    if (flags < 0 || fcntl(options.control_listen_fd, F_SETFL, flags | O_NONBLOCK) < 0)
      return fail_errno(Code::system, "gateway: control's listening descriptor {}",
                        options.control_listen_fd);
  }
  log_event(Level::info, "gateway.started",
            {{"generation", self->shared_.generation},
             {"threads", self->workers_.size()},
             {"routes", self->revision_}});
  return self;
}

Steering::~Steering() {
  workers_.clear();
}

Result<void> Steering::load_table() {
  if (options_.table_path.empty()) return {};
  const RouteTable table = TRY(TableFile::load(options_.table_path));
  apply(route::Snapshot::compile(table), 0);
  return {};
}

// Link 0: nobody waits for the acknowledgement.
void Steering::apply(const std::shared_ptr<const route::Snapshot>& snapshot, std::uint64_t link) {
  revision_ = snapshot->revision();
  auto left = std::make_shared<std::atomic<std::size_t>>(workers_.size());
  for (auto& worker : workers_)
    worker->set_routes(snapshot, [this, left, link, revision = revision_] {
      if (left->fetch_sub(1) != 1 || link == 0) return;
      {
        const std::lock_guard lock(acks_mutex_);
        acks_.push_back({link, revision});
      }
      const std::uint64_t one = 1;
      const auto written = write(wake_.get(), &one, sizeof one);
      (void)written;  // full means that it is awake anyway
    });
}

void Steering::run(int stop_fd) {
  MonoTime next_stats = std::chrono::steady_clock::now() + kStatsEvery;
  while (!stopping_) {
    turn(stop_fd, static_cast<int>(kStatsEvery.count()));
    if (std::chrono::steady_clock::now() < next_stats) continue;
    send_stats();
    next_stats = std::chrono::steady_clock::now() + kStatsEvery;
  }
  drain();
}

void Steering::turn(int stop_fd, int timeout_ms) {
  std::vector<pollfd> polled{{stop_fd, POLLIN, 0},
                             {wake_.get(), POLLIN, 0},
                             {supervisor_.fd(), POLLIN, 0},
                             {options_.control_listen_fd, POLLIN, 0}};
  const std::size_t links = links_.size();
  for (const ControlLink& link : links_)
    polled.push_back(
        {link.channel.fd(), static_cast<short>(POLLIN | (link.channel.wants_write() ? POLLOUT : 0)), 0});
  if (poll(polled.data(), polled.size(), timeout_ms) <= 0) return;
  if (polled[0].revents) stopping_ = true;
  if (polled[1].revents) send_acks();
  if (polled[2].revents) read_supervisor();
  for (std::size_t i = 0; i < links; ++i)
    if (polled[4 + i].revents) read_control(links_[i]);
  if (polled[3].revents) accept_control();
  std::erase_if(links_, [](const ControlLink& link) { return !link.channel.valid(); });
}

// ---- the supervisor's side

void Steering::read_supervisor() {
  auto messages = supervisor_.read_available();
  if (!messages) {
    log_event(Level::info, "gateway.supervisor_gone", {{"error", messages.error().message()}});
    supervisor_.close();
    stopping_ = true;
    return;
  }
  for (ipc::Message& message : *messages) take_listeners(std::move(message));
}

void Steering::take_listeners(ipc::Message message) {
  ipc::ListenersMessage set;
  try {
    set = message.body.get<ipc::ListenersMessage>();
  } catch (const Json::exception& error) {
    return log_event(Level::error, "gateway.listeners_malformed", {{"error", error.what()}});
  }
  if (set.listeners.size() != message.fds.size() ||
      incoming_.size() + set.listeners.size() > ipc::kMaxListeners) {
    incoming_.clear();
    return log_event(Level::error, "gateway.listeners_malformed",
                     {{"listeners", set.listeners.size()}, {"descriptors", message.fds.size()}});
  }
  for (std::size_t i = 0; i < set.listeners.size(); ++i)
    incoming_.push_back({set.listeners[i], std::move(message.fds[i])});
  if (!set.more) publish_listeners();
}

void Steering::publish_listeners() {
  std::map<std::string, ListenerSpec> now;
  std::vector<std::string> keep;
  std::vector<Worker::NewListener> added;
  for (Worker::NewListener& one : incoming_) {
    keep.push_back(one.spec.name);
    now[one.spec.name] = one.spec;
    const auto had = listeners_.find(one.spec.name);
    if (had == listeners_.end() || !(had->second == one.spec)) added.push_back(std::move(one));
  }
  incoming_.clear();
  listeners_ = std::move(now);
  for (auto& worker : workers_) {
    std::vector<Worker::NewListener> own;  // each thread polls a descriptor of its own
    for (const Worker::NewListener& one : added) {
      Fd copy(fcntl(one.fd.get(), F_DUPFD_CLOEXEC, 3));
      if (copy)
        own.push_back({one.spec, std::move(copy)});
      else
        log_event(Level::error, "gateway.listener_refused",
                  {{"name", one.spec.name}, {"error", "out of descriptors"}});
    }
    worker->set_listeners(std::move(own), keep);
  }
  log_event(Level::info, "gateway.listeners", {{"open", listeners_.size()}, {"new", added.size()}});
}

// ---- control's side

void Steering::accept_control() {
  while (true) {
    Fd client(accept4(options_.control_listen_fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!client) return;
    if (links_.size() >= kControlLinks) {
      log_event(Level::warn, "gateway.too_many_controls");
      continue;
    }
    links_.push_back({next_link_++, ipc::Channel(std::move(client))});
  }
}

void Steering::read_control(ControlLink& link) {
  if (auto flushed = link.channel.flush(); !flushed) return link.channel.close();
  auto messages = link.channel.read_available();
  if (!messages) return link.channel.close();
  for (const ipc::Message& message : *messages) {
    if (message.body.contains("routes"))
      take_routes(link, message.body);
    else
      send(link, {{"error", "unknown message: only \"routes\" is understood"}});
  }
}

void Steering::take_routes(ControlLink& link, const Json& body) {
  const Json& routes = body["routes"];
  const auto table = read_route_table(routes);
  if (!table) {
    log_event(Level::error, "gateway.routes_refused", {{"error", table.error().message()}});
    return send(link, {{"refused", 0}, {"error", table.error().message()}});
  }
  const auto snapshot = route::Snapshot::compile(*table);
  for (const std::string& what : snapshot->left_out())
    log_event(Level::error, "gateway.left_out", {{"error", what}});
  apply(snapshot, link.id);
  table_file_.save(json_text(routes));
}

void Steering::send(ControlLink& link, const Json& body) {
  auto queued = link.channel.queue(body);
  if (queued) queued = link.channel.flush();
  if (!queued) link.channel.close();
}

void Steering::send_acks() {
  std::uint64_t count = 0;
  const auto got = read(wake_.get(), &count, sizeof count);
  (void)got;
  std::vector<Ack> acks;
  {
    const std::lock_guard lock(acks_mutex_);
    acks.swap(acks_);
  }
  for (const Ack& ack : acks)
    for (ControlLink& link : links_)
      if (link.id == ack.link && link.channel.valid()) send(link, {{"acked", ack.revision}});
}

ipc::GatewayStats Steering::stats() const {
  return {shared_.generation,          revision_,
          shared_.connections.load(),  shared_.held.load(),
          shared_.retried.load(),      shared_.refused.load(),
          shared_.refused_calls.load()};
}

void Steering::send_stats() {
  for (ControlLink& link : links_)
    if (link.channel.valid()) send(link, {{"stats", stats()}});
  std::erase_if(links_, [](const ControlLink& link) { return !link.channel.valid(); });
}

// ---- the end

std::size_t Steering::clients() const {
  std::size_t sum = 0;
  for (const auto& worker : workers_) sum += worker->clients();
  return sum;
}

// Control must find the next process, so its connections go at once; clients keep theirs until their next
// answer says "close", or time is up.
void Steering::drain() {
  links_.clear();
  auto accepting = std::make_shared<std::atomic<std::size_t>>(workers_.size());
  for (auto& worker : workers_) worker->drain([accepting] { accepting->fetch_sub(1); });
  log_event(Level::info, "gateway.draining", {{"connections", clients()}});
  const MonoTime end = std::chrono::steady_clock::now() + options_.drain;
  while ((accepting->load() > 0 || clients() > 0) && std::chrono::steady_clock::now() < end)
    poll(nullptr, 0, 5);
  log_event(Level::info, "gateway.stopped", {{"cut", clients()}});
}

}  // namespace naru::gateway
