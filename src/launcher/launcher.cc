#include "launcher/launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include <list>
#include <thread>

#include "base/log.h"
#include "base/version.h"
#include "image/unpack.h"
#include "ipc/channel.h"
#include "ipc/launcher_protocol.h"
#include "launcher/checks.h"
#include "launcher/jobs.h"
#include "launcher/operations.h"
#include "launcher/pool.h"
#include "launcher/volumes.h"
#include "os/file.h"
#include "os/process.h"

namespace naru::launcher {

namespace {

constexpr std::size_t kMaxInFlight = 512;  // requests of one client
constexpr unsigned kProbeThreads = 32;     // as many as control asks for at once
constexpr std::size_t kPlacesOfRoot = 4;   // among the clients
constexpr milliseconds kSettleAgain{100}, kSettlePatience{5'000};

// How the loop ended: by itself, until the next launcher comes, or with all of Naru.
enum class Ended { broken, for_now, for_good };

struct Client {
  std::uint64_t id = 0;
  unsigned uid = 0;  // as the kernel knows it
  ipc::Channel channel;
  std::size_t in_flight = 0;
};

// What a pool thread hands back to the loop.
struct Completion {
  std::uint64_t client = 0;  // 0 = every client
  Json body;
  std::vector<Fd> fds;
  std::vector<Watch> watches;
  bool answer = false;
  std::optional<std::pair<Watch, MonoTime>> again;  // watch this again from then on
};

// Of an earlier launcher: nobody waits for its result.
void remove_step(container::Engine& engine, network::Networks& networks, const std::string& id) {
  auto gone = engine.remove(id);
  if (gone) gone = networks.release(id);
  if (!gone)
    log_event(Level::error, "launcher.step_left", {{"container", id}, {"error", gone.error().message()}});
}

// Builds do not outlive their launcher: their containers go. One that does not end (its process waits for a
// disk) keeps nobody else from being looked after.
void end_builds(container::Engine& engine) {
  std::vector<std::jthread> ending;  // each may take as long as the kernel is given to end a killed process
  for (const ContainerStatus& status : engine.list())
    if (status.id.starts_with(kBuildPrefix))
      ending.emplace_back([&engine, id = status.id] {
        auto stopped = engine.stop(id, 0ms);
        const auto gone = stopped ? engine.remove(id) : Result<void>(std::unexpected(stopped.error()));
        if (!gone)
          log_event(Level::error, "launcher.step_left",
                    {{"container", id}, {"error", gone.error().message()}});
      });
}

class Server {
 public:
  Server(const LauncherOptions& options, container::Engine& engine, network::Networks& networks,
         Benches& benches, Layers& layers, Grants& grants, Nursery& nursery, Json hello)
      : options_(options),
        nursery_(nursery),
        wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        operations_{.engine = engine,
                    .networks = networks,
                    .benches = benches,
                    .layers = layers,
                    .grants = grants,
                    .hello = std::move(hello)},
        quick_("quick", options.worker_threads, 2048),
        folder_("folder", options.worker_threads, 512),
        stop_("stop", 16, 2048),
        probe_("probe", kProbeThreads, 2048),
        work_("work", 4, 512) {}

  void watch(Watch watch) { watches_.push_back(std::move(watch)); }
  Ended serve(int signals);

 private:
  std::vector<pollfd> poll_set(int signals) const;
  int wait_ms() const;
  void accept_client();
  void read_client(Client& client);
  void take_request(Client& client, ipc::Message message);
  void answer(Client& client, Json id, Result<Reply> result);
  void send(Client& client, const Json& body, std::vector<Fd> fds = {});
  void drop(Client& client, const Error& why);
  void drop_broken();
  void give_up_builds(std::uint64_t client);
  void post(Completion completion);
  void take_completions();
  void check_watches(const std::vector<pollfd>& entries, std::size_t first);
  void check_deadlines();
  void ended(Watch watch, MonoTime since);
  Client* find(std::uint64_t id);
  Pool& pool(Lane lane);
  Lane lane_of(const Operation& operation, const Json& request) const;

  LauncherOptions options_;
  Nursery& nursery_;
  Fd wake_;
  Operations operations_;
  std::list<Client> clients_;
  std::uint64_t next_client_ = 1;
  std::vector<Watch> watches_;
  std::vector<std::pair<Watch, MonoTime>> later_;
  std::mutex mutex_;
  std::deque<Completion> completions_;
  Pool quick_, folder_, stop_, probe_, work_;  // last: their threads end first
};

Pool& Server::pool(Lane lane) {
  switch (lane) {
    case Lane::quick:
      return quick_;
    case Lane::folder:
      return folder_;
    case Lane::stop:
      return stop_;
    case Lane::probe:
      return probe_;
    case Lane::work:
      break;
  }
  return work_;
}

Lane Server::lane_of(const Operation& operation, const Json& request) const {
  if (operation.lane_of == nullptr) return operation.lane;
  try {
    return operation.lane_of(operations_, request);
  } catch (const std::exception&) {
    return operation.lane;  // where it is tried again, and answered
  }
}

Client* Server::find(std::uint64_t id) {
  for (Client& client : clients_)
    if (client.id == id) return &client;
  return nullptr;
}

void Server::accept_client() {
  Fd socket(::accept4(options_.listen_fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) return;
  const auto peer = ipc::peer_of(socket.get());
  if (!peer || (peer->uid != 0 && peer->uid != options_.allowed_uid)) {
    log_event(Level::warn, "launcher.stranger_refused",
              {{"uid", peer ? peer->uid : ~0U}, {"pid", peer ? peer->pid : 0}});
    return;
  }
  // Some places are root's: whoever runs as control cannot keep the operator out.
  const std::size_t bound = options_.max_clients - (peer->uid == 0 ? 0 : kPlacesOfRoot);
  if (clients_.size() >= bound) {
    log_event(Level::warn, "launcher.too_many_clients", {{"bound", bound}, {"uid", peer->uid}});
    return;
  }
  clients_.push_back({next_client_++, peer->uid, ipc::Channel(std::move(socket)), 0});
}

void Server::drop(Client& client, const Error& why) {
  log_event(why.code == Code::closed ? Level::info : Level::warn, "launcher.client_left",
            {{"client", client.id}, {"reason", why.message()}});
  client.channel.close();
  // What it had running as exec or build ends with it; containers do not.
  for (Watch& watch : watches_)
    if (watch.client == client.id) watch.deadline = std::chrono::steady_clock::now();
  give_up_builds(client.id);
}

// Of one who left: also after each thing that it had under way, which may have begun a build or used one
// until now.
void Server::give_up_builds(std::uint64_t client) {
  if (!operations_.benches.abandon(client)) return;
  const auto posted = work_.submit([this] { operations_.benches.discard_abandoned(); });
  if (!posted) log_event(Level::warn, "launcher.abandon_failed", {{"reason", posted.error().message()}});
}

void Server::drop_broken() {
  std::erase_if(clients_, [](const Client& client) { return !client.channel.valid(); });
}

void Server::send(Client& client, const Json& body, std::vector<Fd> fds) {
  if (!client.channel.valid()) return;
  auto queued = client.channel.queue(body, std::move(fds));
  if (queued) queued = client.channel.flush();
  if (!queued) drop(client, queued.error());
}

void Server::answer(Client& client, Json id, Result<Reply> result) {
  Json body{{"id", std::move(id)}};
  if (result)
    body["result"] = std::move(result->result);
  else
    body["error"] = ipc::error_to_json(result.error());
  send(client, body, result ? std::move(result->fds) : std::vector<Fd>{});
}

void Server::read_client(Client& client) {
  auto messages = client.channel.read_available();
  if (!messages) return drop(client, messages.error());
  for (ipc::Message& message : *messages) take_request(client, std::move(message));
}

void Server::take_request(Client& client, ipc::Message message) {
  const auto id = message.body.find("id");
  if (id == message.body.end() || !id->is_number_unsigned())
    return drop(client, Error{Code::malformed, "a request without a whole number as id", 0, {}});
  const auto op = message.body.find("op");
  if (op == message.body.end() || !op->is_string())
    return answer(client, *id, fail(Code::malformed, "the request has no op"));
  const std::string name = op->get<std::string>();
  const Operation* operation = find_operation(name);
  if (operation == nullptr)
    return answer(client, *id, fail(Code::unsupported, "the launcher has no op '{}'", name.substr(0, 80)));
  if (operation->for_root && client.uid != 0) {
    log_event(Level::warn, "launcher.root_only", {{"op", name}, {"uid", client.uid}});
    return answer(
        client, *id,
        fail(Code::forbidden, "{} is the operator's, as root; user {} may not ask for it", name, client.uid));
  }
  if (client.in_flight >= kMaxInFlight)
    return answer(client, *id,
                  fail(Code::unavailable, "{}: {} requests of this connection are under way already", name,
                       kMaxInFlight));
  auto request = std::make_shared<Json>(std::move(message.body));
  const auto submitted =
      pool(lane_of(*operation, *request)).submit([this, operation, request, name, from = client.id] {
        Completion done{.client = from,
                        .body = {{"id", (*request)["id"]}},
                        .fds = {},
                        .watches = {},
                        .answer = true,
                        .again = {}};
        Result<Reply> reply = fail(Code::internal, "{} did not run", name);
        try {
          reply = operation->carry_out(operations_, *request, from);
        } catch (const std::exception& problem) {  // from a library: a request must not end the launcher
          reply = fail(Code::internal, "{}: {}", name, problem.what());
        }
        if (reply) {
          done.body["result"] = std::move(reply->result);
          done.fds = std::move(reply->fds);
          done.watches = std::move(reply->watches);
          if (!reply->tell_all.is_null())
            post({.client = 0,
                  .body = std::move(reply->tell_all),
                  .fds = {},
                  .watches = {},
                  .answer = false,
                  .again = {}});
        } else {
          done.body["error"] = ipc::error_to_json(reply.error());
        }
        post(std::move(done));
      });
  if (!submitted) return answer(client, (*request)["id"], std::unexpected(submitted.error()));
  ++client.in_flight;
}

void Server::post(Completion completion) {
  {
    const std::scoped_lock lock(mutex_);
    completions_.push_back(std::move(completion));
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
}

void Server::take_completions() {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(wake_.get(), &count, sizeof count);
  std::deque<Completion> taken;
  {
    const std::scoped_lock lock(mutex_);
    taken.swap(completions_);
  }
  for (Completion& completion : taken) {
    if (completion.again) later_.push_back(std::move(*completion.again));
    Client* client = completion.client == 0 ? nullptr : find(completion.client);
    if (client != nullptr && completion.answer) --client->in_flight;
    if (client != nullptr)
      send(*client, completion.body, std::move(completion.fds));
    else if (completion.client == 0 && !completion.body.is_null())
      for (Client& each : clients_) send(each, completion.body);
    const bool gone = completion.client != 0 && (client == nullptr || !client->channel.valid());
    if (gone) give_up_builds(completion.client);
    for (Watch& watch : completion.watches) {
      if (gone && watch.client != 0) watch.deadline = std::chrono::steady_clock::now();
      watches_.push_back(std::move(watch));
    }
  }
}

// A watched process ended: collect it on a thread and tell who wants to know.
void Server::ended(Watch watch, MonoTime since) {
  auto shared = std::make_shared<Watch>(std::move(watch));
  const auto collect = [this, shared, since] {
    Completion done{
        .client = shared->client, .body = nullptr, .fds = {}, .watches = {}, .answer = false, .again = {}};
    const bool give_up = std::chrono::steady_clock::now() - since > kSettlePatience;
    if (shared->kind == WatchKind::container) {
      auto status = operations_.engine.settle(shared->id, give_up);
      if (status && status->state == ContainerState::running) {
        done.again.emplace(std::move(*shared), since);
      } else if (status && shared->id.starts_with(kBuildPrefix)) {  // end_builds() could not
        remove_step(operations_.engine, operations_.networks, shared->id);
      } else if (status) {
        done.body = {{"event", "container_exited"}, {"status", *status}};
      } else if (status.error().code != Code::not_found) {  // not_found: it was removed meanwhile
        log_event(Level::error, "launcher.settle_failed",
                  {{"container", shared->id}, {"error", status.error().message()}});
      }
    } else if (shared->kind == WatchKind::exec) {
      const auto code = operations_.engine.finish_exec(shared->id);
      done.body = {{"event", "exec_exited"},
                   {"exec", shared->id},
                   {"exit_code", code && *code ? **code : 137},
                   {"timed_out", shared->timed_out}};
    } else {
      auto result = operations_.benches.finish_step(shared->id, shared->timed_out);
      if (!result)
        log_event(Level::error, "launcher.step_failed",
                  {{"build", shared->id}, {"error", result.error().message()}});
      const build::RunResult lost{.exit_code = 137, .timed_out = shared->timed_out, .out_of_memory = false};
      done.body = {{"event", "build_exited"}, {"build", shared->id}, {"result", result ? *result : lost}};
    }
    post(std::move(done));
  };
  // The queue of quick work may be full: then this one is collected a little later.
  if (!quick_.submit(collect)) later_.emplace_back(std::move(*shared), since);
}

void Server::check_watches(const std::vector<pollfd>& entries, std::size_t first) {
  // poll_set listed the watches in order, and only this function takes any away.
  std::vector<Watch> kept, done;
  for (std::size_t i = 0; i < watches_.size(); ++i) {
    const bool readable = first + i < entries.size() && entries[first + i].revents != 0;
    (readable ? done : kept).push_back(std::move(watches_[i]));
  }
  watches_ = std::move(kept);
  for (Watch& watch : done) ended(std::move(watch), std::chrono::steady_clock::now());
}

void Server::check_deadlines() {
  const MonoTime now = std::chrono::steady_clock::now();
  for (Watch& watch : watches_) {
    if (!watch.deadline || *watch.deadline > now) continue;
    watch.deadline.reset();
    watch.timed_out = true;
    const auto killed = watch.kind == WatchKind::exec ? operations_.engine.kill_exec(watch.id, SIGKILL)
                                                      : operations_.benches.kill_step(watch.id);
    if (!killed)
      log_event(Level::warn, "launcher.kill_failed", {{"id", watch.id}, {"error", killed.error().message()}});
  }
  std::vector<std::pair<Watch, MonoTime>> due;
  due.swap(later_);
  for (auto& [watch, since] : due) ended(std::move(watch), since);
}

std::vector<pollfd> Server::poll_set(int signals) const {
  std::vector<pollfd> entries{{signals, POLLIN, 0},
                              {nursery_.fd(), POLLIN, 0},
                              {wake_.get(), POLLIN, 0},
                              {options_.listen_fd, POLLIN, 0}};
  for (const Client& client : clients_)
    entries.push_back(
        {client.channel.fd(), static_cast<short>(POLLIN | (client.channel.wants_write() ? POLLOUT : 0)), 0});
  for (const Watch& watch : watches_) entries.push_back({watch.pidfd.get(), POLLIN, 0});
  return entries;
}

int Server::wait_ms() const {
  if (!later_.empty()) return static_cast<int>(kSettleAgain.count());
  std::optional<MonoTime> first;
  for (const Watch& watch : watches_)
    if (watch.deadline && (!first || *watch.deadline < *first)) first = watch.deadline;
  if (!first) return -1;
  const auto left = std::chrono::ceil<milliseconds>(*first - std::chrono::steady_clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
}

Ended Server::serve(int signals) {
  while (true) {
    std::vector<pollfd> entries = poll_set(signals);
    if (::poll(entries.data(), entries.size(), wait_ms()) < 0 && errno != EINTR) {
      log_event(Level::error, "launcher.poll_failed", {{"errno", errno}});
      return Ended::broken;
    }
    if (entries[0].revents != 0) {
      signalfd_siginfo info{};
      const bool read = ::read(signals, &info, sizeof info) == sizeof info;
      return read && info.ssi_signo == ipc::kEndForGood ? Ended::for_good : Ended::for_now;
    }
    if (entries[1].revents != 0) {
      log_event(Level::error, "launcher.nursery_died", {});
      return Ended::broken;
    }
    std::size_t at = 4;
    const std::size_t first_watch = at + clients_.size();
    check_watches(entries, first_watch);
    for (Client& client : clients_) {
      const short revents = entries[at++].revents;
      if ((revents & POLLOUT) != 0)
        if (auto flushed = client.channel.flush(); !flushed) drop(client, flushed.error());
      if (client.channel.valid() && (revents & (POLLIN | POLLHUP | POLLERR)) != 0) read_client(client);
    }
    take_completions();
    drop_broken();
    if (entries[3].revents != 0) accept_client();
    check_deadlines();
  }
}

// Nothing of this Naru stays in the kernel. The networks' files do: the next launcher makes the same again.
// Not under containers that could not be stopped.
void clear_host(container::Engine& engine, network::Networks& networks) {
  end_builds(engine);
  for (const ContainerStatus& status : engine.list())
    if (status.state == ContainerState::running)
      return log_event(Level::error, "launcher.host_in_use", {{"container", status.id}});
  if (auto cleared = networks.clear_host(); !cleared)
    log_event(Level::error, "launcher.clear_networks", {{"error", cleared.error().message()}});
  engine.remove_groups();
}

Json make_hello(const container::Engine& engine, const network::Networks& networks) {
  std::vector<std::string> notices = engine.notices();
  for (std::string& notice : networks.notices()) notices.push_back(std::move(notice));
  const auto score = os::read_file("/proc/self/oom_score_adj", 64);
  if (!score || !score->starts_with('-'))
    notices.emplace_back(
        "Naru's own processes are not protected from the kernel's out-of-memory killer: oom_score_adj cannot "
        "be "
        "lowered here (CAP_SYS_RESOURCE)");
  return {{"version", kVersion},
          {"boot_id", os::boot_id().value_or("")},
          {"cgroup", engine.cgroup_mode()},
          {"notices", notices}};
}

Result<int> start_and_serve(const LauncherOptions& options, int signals) {
  const auto paths = container::Paths::under(options.data);
  const auto nursery = TRY(Nursery::open(worker_jobs()));  // before anything makes a thread
  const auto networks = TRY(network::Networks::open({.data = options.data}));
  const auto engine = TRY(container::Engine::open(paths));
  std::vector<container::RunningContainer> running = TRY(engine->adopt());
  end_builds(*engine);
  Layers layers(paths.layers);
  const auto benches =
      TRY(Benches::open(*engine, *networks, *nursery, layers));  // which makes room on the disk
  std::set<std::string> known;
  for (const ContainerStatus& status : engine->list()) known.insert(status.id);
  // An address too many is no reason to look after nobody: the next launcher gives it back.
  if (const auto kept = networks->keep_only(known); !kept)
    log_event(Level::error, "launcher.release_failed", {{"error", kept.error().message()}});
  if (const auto removed = image::remove_stale_unpacks(paths.layers); !removed)
    log_event(Level::warn, "launcher.cannot_remove", {{"error", removed.error().message()}});
  // A large one takes minutes: meanwhile everything else is served.
  const std::jthread remover([gone = half_removed_volumes(*engine)] {
    for (const std::filesystem::path& path : gone)
      if (const auto removed = os::remove_tree(path); !removed)
        log_event(Level::warn, "launcher.cannot_remove", {{"error", removed.error().message()}});
  });
  const SystemClock clock;
  const auto grants = Grants::open(options.data, clock);
  Server server(options, *engine, *networks, *benches, layers, *grants, *nursery,
                make_hello(*engine, *networks));
  for (container::RunningContainer& each : running)
    if (known.contains(each.status.id))
      server.watch({.kind = WatchKind::container,
                    .id = each.status.id,
                    .pidfd = std::move(each.pidfd),
                    .client = 0,
                    .deadline = {},
                    .timed_out = false});
  log_event(Level::info, "launcher.ready", {{"adopted", running.size()}, {"cgroup", engine->cgroup_mode()}});
  const Ended ended = server.serve(signals);
  if (ended == Ended::for_good) clear_host(*engine, *networks);
  const int status = ended == Ended::broken ? 1 : 0;
  log_event(Level::info, "launcher.ends", {{"status", status}});
  // At once: a thread may wait for a container's grace, and nothing here needs an orderly end.
  ::_exit(status);
}

}  // namespace

int run(const LauncherOptions& options) {
  ::prctl(PR_SET_NAME, "naru");  // executed by descriptor, it would be called by that one's number
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGTERM);
  sigaddset(&wanted, SIGINT);
  sigaddset(&wanted, ipc::kEndForGood);
  ::pthread_sigmask(SIG_BLOCK, &wanted, nullptr);  // inherited by every thread; read from a descriptor
  ::signal(SIGPIPE, SIG_IGN);
  const Fd signals(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  const int flags = ::fcntl(options.listen_fd, F_GETFL);
  if (flags < 0 || ::fcntl(options.listen_fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    log_event(Level::error, "launcher.no_socket", {{"fd", options.listen_fd}});
    return 1;
  }
  auto served = start_and_serve(options, signals.get());
  if (served) return *served;
  log_event(Level::error, "launcher.cannot_start",
            {{"error", served.error().message()}, {"hint", served.error().hint()}});
  return 1;
}

}  // namespace naru::launcher
