#include "ipc/launcher_client.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "ipc/channel.h"

namespace naru::ipc {

namespace {
constexpr milliseconds kRetryMin{100}, kRetryMax{2'000}, kWaitForConnection{2'000}, kSendTimeout{10'000};
constexpr milliseconds kQuick{30'000}, kStart{120'000}, kWorker{45 * 60'000};
constexpr std::size_t kMaxPending = 4096, kMaxRememberedExits = 1024;
// An end of an exec or a build that nobody has asked for yet is remembered under this name.
std::string exit_key(std::string_view kind, const std::string& id) {
  return fmt::format("{}:{}", kind, id);
}
}  // namespace

struct LauncherClient::State {
  struct Pending {
    bool done = false;
    Result<Json> result;
    std::vector<Fd> fds;
  };

  Options options;
  Fd wake;
  std::atomic<bool> stopping{false};
  std::mutex mutex;  // everything below
  std::condition_variable changed;
  bool connected = false;
  std::uint64_t next_id = 1, connection = 0;
  std::map<std::uint64_t, std::shared_ptr<Pending>> pending;
  std::deque<std::pair<std::string, Json>> exits;
  std::mutex sending;  // taken after `mutex` is left; guards writes to and the life of `channel`
  Channel channel;
  std::thread reader;

  void emit(const Json& event) const {
    if (options.on_event) options.on_event(event);
  }
  void read_until_broken();
  void dispatch(Message message);
  void break_connection(const std::string& why);
  void run();
  bool pause(milliseconds how_long) const;
  // `used`: the connection that carried the call.
  Result<Json> perform(std::string_view op, Json arguments, milliseconds timeout, std::vector<Fd>* fds,
                       std::uint64_t* used = nullptr);
  Result<Json> wait_exit(const std::string& key, std::uint64_t on_connection, MonoTime deadline);
};

bool LauncherClient::State::pause(milliseconds how_long) const {
  pollfd entry{wake.get(), POLLIN, 0};
  ::poll(&entry, 1, static_cast<int>(how_long.count()));
  return !stopping;
}

void LauncherClient::State::run() {
  milliseconds retry = kRetryMin;
  while (!stopping) {
    auto made = Channel::connect(options.socket_path);
    if (!made) {
      if (!pause(retry)) return;
      retry = std::min(retry * 2, kRetryMax);
      continue;
    }
    retry = kRetryMin;
    {
      const std::scoped_lock lock(mutex, sending);
      channel = std::move(*made);
      connected = true;
      ++connection;
      exits.clear();
    }
    changed.notify_all();
    emit({{"event", "connected"}});
    read_until_broken();
    emit({{"event", "disconnected"}});
    if (!pause(kRetryMin)) return;
  }
}

void LauncherClient::State::read_until_broken() {
  while (true) {
    std::array<pollfd, 2> entries{{{channel.fd(), POLLIN, 0}, {wake.get(), POLLIN, 0}}};
    if (::poll(entries.data(), entries.size(), -1) < 0 && errno != EINTR)
      return break_connection("poll failed");
    if (stopping) return break_connection("the client is closing");
    if (entries[0].revents == 0) continue;
    auto messages = channel.read_available();
    if (!messages) return break_connection(messages.error().message());
    for (Message& message : *messages) dispatch(std::move(message));
  }
}

void LauncherClient::State::break_connection(const std::string& why) {
  const std::scoped_lock lock(mutex, sending);
  channel.close();
  connected = false;
  ++connection;
  for (auto& [id, call] : pending) {
    call->result = fail(Code::unavailable, "the launcher's connection broke: {}", why);
    call->done = true;
  }
  pending.clear();
  changed.notify_all();
}

void LauncherClient::State::dispatch(Message message) {
  const Json& body = message.body;
  if (const auto event = body.find("event"); event != body.end() && event->is_string()) {
    const std::string kind = event->get<std::string>();
    if (kind == "exec_exited" || kind == "build_exited") {
      const std::scoped_lock lock(mutex);
      const char* key = kind == "exec_exited" ? "exec" : "build";
      if (body.contains(key) && body[key].is_string())
        exits.emplace_back(exit_key(key, body[key].get<std::string>()), body);
      if (exits.size() > kMaxRememberedExits) exits.pop_front();
      changed.notify_all();
    }
    emit(body);
    return;
  }
  const auto id = body.find("id");
  if (id == body.end() || !id->is_number_unsigned())
    return log_event(Level::warn, "launcher_client.strange_message");
  const std::scoped_lock lock(mutex);
  const auto found = pending.find(id->get<std::uint64_t>());
  if (found == pending.end()) return;  // its caller has given up
  Pending& call = *found->second;
  if (const auto error = body.find("error"); error != body.end())
    call.result = std::unexpected(error_from_json(*error));
  else
    call.result = body.value("result", Json::object());
  call.fds = std::move(message.fds);
  call.done = true;
  pending.erase(found);
  changed.notify_all();
}

std::unique_ptr<LauncherClient> LauncherClient::open(Options options) {
  auto state = std::make_unique<State>();
  state->options = std::move(options);
  state->wake = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  State* raw = state.get();
  state->reader = std::thread([raw] { raw->run(); });
  return std::unique_ptr<LauncherClient>(new LauncherClient(std::move(state)));
}

LauncherClient::LauncherClient(std::unique_ptr<State> state) : state_(std::move(state)) {}

void LauncherClient::stop() {
  state_->stopping = true;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(state_->wake.get(), &one, sizeof one);
  const std::lock_guard lock(state_->mutex);
  state_->changed.notify_all();
}

LauncherClient::~LauncherClient() {
  stop();
  state_->reader.join();
}

Result<Json> LauncherClient::call(std::string_view op, Json arguments, milliseconds timeout,
                                  std::vector<Fd>* fds) {
  return state_->perform(op, std::move(arguments), timeout, fds);
}

Result<Json> LauncherClient::State::perform(std::string_view op, Json arguments, milliseconds timeout,
                                            std::vector<Fd>* fds, std::uint64_t* used) {
  const MonoTime deadline = std::chrono::steady_clock::now() + timeout;
  auto call = std::make_shared<Pending>();
  std::uint64_t id = 0, on_connection = 0;
  {
    std::unique_lock lock(mutex);
    const MonoTime patience = std::min(deadline, std::chrono::steady_clock::now() + kWaitForConnection);
    if (!changed.wait_until(lock, patience, [&] { return connected || stopping; }) || stopping)
      return fail(Code::unavailable, "{}: no connection to the launcher at {}", op, options.socket_path);
    if (pending.size() >= kMaxPending)
      return fail(Code::unavailable, "{}: {} calls wait for the launcher already", op, kMaxPending);
    id = next_id++;
    on_connection = connection;
    if (used != nullptr) *used = connection;
    pending[id] = call;
  }
  arguments["id"] = id;
  arguments["op"] = op;
  Result<void> sent;
  {
    const std::scoped_lock sending_lock(sending);
    sent = channel.send(arguments, std::min(kSendTimeout, timeout));
  }
  std::unique_lock lock(mutex);
  if (!sent) {
    pending.erase(id);
    // Half a frame may be out: this connection is of no more use. shutdown wakes the reader, which breaks it.
    if (sent.error().code == Code::timeout && connected && connection == on_connection)
      ::shutdown(channel.fd(), SHUT_RDWR);
    return fail(sent.error().code == Code::too_large ? Code::too_large : Code::unavailable, "{}: {}", op,
                sent.error().message());
  }
  if (!changed.wait_until(lock, deadline, [&] { return call->done; })) {
    pending.erase(id);
    return fail(Code::timeout, "{}: no answer from the launcher within {}", op, humanize(timeout));
  }
  if (fds != nullptr) *fds = std::move(call->fds);
  return std::move(call->result);
}

Result<Json> LauncherClient::State::wait_exit(const std::string& key, std::uint64_t on_connection,
                                              MonoTime deadline) {
  std::unique_lock lock(mutex);
  while (true) {
    for (auto entry = exits.begin(); entry != exits.end(); ++entry) {
      if (entry->first != key) continue;
      Json body = std::move(entry->second);
      exits.erase(entry);
      return body;
    }
    if (connection != on_connection)
      return fail(Code::unavailable, "{}: the launcher's connection broke", key);
    if (changed.wait_until(lock, deadline) == std::cv_status::timeout)
      return fail(Code::timeout, "{}: it has not ended yet", key);
  }
}

namespace {
// The launcher is another version of us, or broken: its answer is checked like any other bytes.
template <class T>
Result<T> read_as(Result<Json> answer, std::string_view op) {
  if (!answer) return std::unexpected(std::move(answer).error());
  try {
    return answer->get<T>();
  } catch (const Json::exception& problem) {
    return fail(Code::malformed, "{}: the launcher's answer cannot be read: {}", op, problem.what());
  }
}
Result<void> nothing(Result<Json> answer) {
  if (!answer) return std::unexpected(std::move(answer).error());
  return {};
}
}  // namespace

Result<LauncherHello> LauncherClient::hello() {
  return read_as<LauncherHello>(call("hello", Json::object(), kQuick), "hello");
}

Result<NetworkInfo> LauncherClient::ensure_network(const std::string& id) {
  return read_as<NetworkInfo>(call("network.ensure", {{"network", id}}, kQuick), "network.ensure");
}
Result<void> LauncherClient::remove_network(const std::string& id) {
  return nothing(call("network.remove", {{"network", id}}, kQuick));
}
Result<void> LauncherClient::set_udp_routes(const std::string& network, const UdpRoutes& routes) {
  return nothing(call("network.udp", {{"network", network}, {"routes", routes}}, kQuick));
}
Result<ContainerStatus> LauncherClient::start(const ContainerSpec& spec) {
  return read_as<ContainerStatus>(call("container.start", {{"spec", spec}}, kStart), "container.start");
}
Result<ContainerStatus> LauncherClient::stop(const std::string& container,
                                             std::optional<milliseconds> grace) {
  Json arguments{{"container", container}};
  if (grace) arguments["grace_ms"] = grace->count();
  // Without a grace the spec's holds, which is bounded by the launcher (10 min).
  return read_as<ContainerStatus>(call("container.stop", arguments, grace.value_or(600'000ms) + kQuick),
                                  "container.stop");
}
Result<void> LauncherClient::remove(const std::string& container) {
  return nothing(call("container.remove", {{"container", container}}, kQuick));
}
Result<std::vector<ContainerStatus>> LauncherClient::list() {
  const Json answer = TRY(call("container.list", Json::object(), kQuick));
  return read_as<std::vector<ContainerStatus>>(answer.value("containers", Json::array()), "container.list");
}

Result<ExecSession> LauncherClient::exec(const ExecRequest& request) {
  ExecSession session;
  Json arguments = request;
  arguments["timeout_ms"] = request.timeout.count();
  const Json answer = TRY(call("container.exec", std::move(arguments), kQuick, &session.fds));
  session.exec = TRY(read_as<std::string>(answer.value("exec", Json()), "container.exec"));
  if (session.fds.size() != (request.tty ? 1U : 3U))
    return fail(Code::malformed, "container.exec: {} descriptors came with the answer", session.fds.size());
  return session;
}
std::uint64_t LauncherClient::connection() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->connection;
}
Result<ExecExit> LauncherClient::wait_exec(const std::string& exec, milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  return read_as<ExecExit>(state_->wait_exit(exit_key("exec", exec), connection(), deadline), "exec_exited");
}
Result<void> LauncherClient::kill_exec(const std::string& exec) {
  return nothing(call("exec.kill", {{"exec", exec}}, kQuick));
}

Result<ProbeResult> LauncherClient::probe(const std::string& container, const std::vector<std::string>& argv,
                                          milliseconds timeout) {
  const Json arguments{{"container", container}, {"argv", argv}, {"timeout_ms", timeout.count()}};
  return read_as<ProbeResult>(call("container.probe", arguments, timeout + kQuick), "container.probe");
}
Result<ContainerStats> LauncherClient::stats(const std::string& container) {
  return read_as<ContainerStats>(call("container.stats", {{"container", container}}, kQuick),
                                 "container.stats");
}
Result<void> LauncherClient::ensure_volume(const std::string& name) {
  return nothing(call("volume.ensure", {{"volume", name}}, kQuick));
}
Result<void> LauncherClient::remove_volume(const std::string& name) {
  return nothing(call("volume.remove", {{"volume", name}}, kWorker));
}
Result<std::vector<VolumeInfo>> LauncherClient::container_sizes() {
  const Json answer = TRY(call("container.sizes", Json::object(), kQuick));
  return read_as<std::vector<VolumeInfo>>(answer.value("containers", Json::array()), "container.sizes");
}
Result<std::vector<VolumeInfo>> LauncherClient::list_volumes() {
  const Json answer = TRY(call("volume.list", Json::object(), kQuick));
  return read_as<std::vector<VolumeInfo>>(answer.value("volumes", Json::array()), "volume.list");
}
Result<void> LauncherClient::unpack_layer(const Digest& blob, const Digest& diff_id,
                                          const std::string& media_type) {
  return nothing(
      call("layer.unpack", {{"blob", blob}, {"diff_id", diff_id}, {"media_type", media_type}}, kWorker));
}

Result<AppGrants> LauncherClient::allow(const std::string& app, const std::vector<std::string>& grants,
                                        const std::string& by) {
  return read_as<AppGrants>(call("grant.allow", {{"app", app}, {"grants", grants}, {"by", by}}, kQuick),
                            "grant.allow");
}
Result<AppGrants> LauncherClient::disallow(const std::string& app, const std::vector<std::string>& grants,
                                           const std::string& by) {
  return read_as<AppGrants>(call("grant.disallow", {{"app", app}, {"grants", grants}, {"by", by}}, kQuick),
                            "grant.disallow");
}
Result<std::vector<AppGrants>> LauncherClient::list_grants() {
  const Json answer = TRY(call("grant.list", Json::object(), kQuick));
  return read_as<std::vector<AppGrants>>(answer.value("apps", Json::array()), "grant.list");
}
Result<void> LauncherClient::drop_grants(const std::string& app) {
  return nothing(call("grant.drop", {{"app", app}}, kQuick));
}
Result<std::vector<Digest>> LauncherClient::list_layers() {
  const Json answer = TRY(call("layer.list", Json::object(), kQuick));
  return read_as<std::vector<Digest>>(answer.value("layers", Json::array()), "layer.list");
}
Result<LayerRemoval> LauncherClient::remove_layers(const std::vector<Digest>& layers, bool dry_run) {
  return read_as<LayerRemoval>(call("layer.remove", {{"layers", layers}, {"dry_run", dry_run}}, kWorker),
                               "layer.remove");
}
Result<std::uint64_t> LauncherClient::sweep_layers() {
  const Json answer = TRY(call("layer.sweep", Json::object(), kWorker));
  return read_as<std::uint64_t>(answer.value("bytes", Json()), "layer.sweep");
}
Result<std::uint64_t> LauncherClient::bytes_of_layers(const std::vector<Digest>& layers) {
  const Json answer = TRY(call("layer.size", {{"layers", layers}}, kWorker));
  return read_as<std::uint64_t>(answer.value("bytes", Json()), "layer.size");
}

// It waits behind copies and commits, and for the deletion of what others abandoned.
Result<void> LauncherClient::build_begin(Json request) {
  return nothing(call("build.begin", std::move(request), kWorker));
}
Result<void> LauncherClient::build_copy(Json request) {
  return nothing(call("build.copy", std::move(request), kWorker));
}
Result<Json> LauncherClient::build_commit(const std::string& build) {
  return call("build.commit", {{"build", build}}, kWorker);
}
Result<void> LauncherClient::build_discard(const std::string& build) {
  return nothing(call("build.discard", {{"build", build}}, kQuick));
}

Result<Json> LauncherClient::build_run(Json request, const std::function<void(std::string_view)>& output,
                                       std::stop_token stop) {
  const std::string build = request.value("build", "");
  std::uint64_t on_connection = 0;
  {
    const std::scoped_lock lock(state_->mutex);
    // An end that an earlier, given up run of the same bench left behind is not this run's.
    std::erase_if(state_->exits, [&](const auto& entry) { return entry.first == exit_key("build", build); });
  }
  std::vector<Fd> fds;
  TRY(state_->perform("build.run", std::move(request), kStart, &fds, &on_connection));
  if (fds.size() != 1)
    return fail(Code::malformed, "build.run: {} descriptors came with the answer", fds.size());
  bool killed = false;
  std::vector<char> buffer(64UL << 10);
  while (true) {
    if (stop.stop_requested() && !killed) {
      killed = true;
      TRY(call("build.kill", {{"build", build}}, kQuick));
    }
    pollfd entry{fds[0].get(), POLLIN, 0};
    if (::poll(&entry, 1, 100) == 0) continue;  // 100 ms: how late a stop request may be seen
    const ssize_t got = ::read(fds[0].get(), buffer.data(), buffer.size());
    if (got == 0) break;
    if (got < 0 && errno != EINTR && errno != EAGAIN)
      return fail_errno(Code::system, "build.run: reading the output of {}", build);
    if (got > 0 && output) output(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
  }
  const auto deadline = std::chrono::steady_clock::now() + kQuick;
  const Json end = TRY(state_->wait_exit(exit_key("build", build), on_connection, deadline));
  if (killed) return fail(Code::build_cancelled, "{}: stopped on request", build);
  return end.value("result", Json::object());
}

NARU_JSON_FIELDS(ExecRequest, container, argv, env, user, cwd, tty, rows, cols, timeout)
NARU_JSON_FIELDS(ProbeResult, exit_code, output, timed_out)
NARU_JSON_FIELDS(ContainerStats, memory_bytes, cpu_usec, pids)
NARU_JSON_FIELDS(VolumeInfo, name, bytes)
NARU_JSON_FIELDS(LayerRemoval, removed, in_use)
NARU_JSON_FIELDS(LauncherHello, version, boot_id, cgroup, notices, forward_drops)
NARU_JSON_FIELDS(ExecExit, exit_code, timed_out)
}  // namespace naru::ipc
