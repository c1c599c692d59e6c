#include "control/control.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/slewed_clock.h"
#include "base/version.h"
#include "base/wait.h"
#include "control/api.h"
#include "control/checkout.h"
#include "control/deliveries.h"
#include "control/grants_to_drop.h"
#include "control/judging.h"
#include "control/outbox.h"
#include "control/probe_users.h"
#include "control/probing.h"
#include "control/stop_left.h"
#include "control/tls_listener.h"
#include "model/json_text.h"
#include "os/file.h"
#include "os/process.h"

namespace naru::control {

namespace {

constexpr std::size_t kConnections = 1024;
constexpr milliseconds kGrace{3'000};          // for requests under way at the end
constexpr milliseconds kDownPatience{90'000};  // for containers to stop, at `down --all`
constexpr milliseconds kDownGrace{3'000};      // of one that was not stopped in that time
constexpr milliseconds kRetry{500};
constexpr milliseconds kLastPatience{10'000};
constexpr milliseconds kKeepClock{60'000};

// A connection takes one, a log that is followed another: the soft limit's 1,024 would be the first bound to
// be hit, and the one that locks the operator out, too.
void use_all_descriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 65536);
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0)
    log_event(Level::warn, "control.few_descriptors", {{"limit", limit.rlim_cur}});
}

Result<void> make_folders(const ipc::DataFolder& data) {
  for (const auto& folder :
       {data.control(), data.git(), data.pipelines(), data.build_cache(), data.old_logs()})
    TRY(os::make_dirs(folder, 0700));
  // Containers' binds lie in checkouts, and the launcher's confined workers read there: no secret stands in
  // them.
  TRY(os::make_dirs(data.checkouts(), 0755));
  // What imports left that a kill ended: nobody else writes there.
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(data.control(), ignored))
    if (entry.path().filename().string().starts_with("import-"))
      std::filesystem::remove(entry.path(), ignored);
  return {};
}

// Every part of the process. The order of members is the order of making; `end` says how they go.
class Process {
 public:
  static Result<std::unique_ptr<Process>> create(const ControlOptions& options) {
    std::unique_ptr<Process> process(new Process(options));
    TRY(process->prepare());
    return process;
  }
  ~Process() { end(); }

  int serve(int signal_fd, int stop_fd);

 private:
  explicit Process(const ControlOptions& options)
      : options_(options),
        data_{options.data},
        supervisor_(options.supervisor_fd),
        gateway_(data_.gateway_socket().string()),
        log_(data_.pipelines()) {}
  Result<void> prepare();
  Result<void> prepare_api();
  void on_launcher_event(const Json& event);
  void list_containers(const std::stop_token& stop);
  Result<void> list_grants();
  void catch_up(const std::stop_token& stop);
  void compare_refs(const std::stop_token& stop);
  void resume_clock();
  void keep_clock() const;
  Result<std::vector<std::string>> down(bool all);
  Result<std::vector<std::string>> stop_everything();
  std::set<EnvKey> noted_as_stopped() const;
  void start_what_down_stopped();
  std::filesystem::path stopped_by_down() const { return data_.control() / "stopped-by-down.json"; }
  io::Task<void> wait_for(io::Stream stream);
  void end();

  ControlOptions options_;
  SystemClock machine_clock_;
  SlewedClock clock_{machine_clock_};  // what rows are told: it never goes back, also over restarts
  ipc::DataFolder data_;
  SupervisorLink supervisor_;
  GatewayLink gateway_;
  PipelineLog log_;
  ImageGate gate_;
  std::optional<ipc::Telemetry> telemetry_;
  std::optional<image::Store> images_;
  std::optional<build::StepCache> cache_;
  std::unique_ptr<Tokens> tokens_;
  std::unique_ptr<GrantsToDrop> grants_to_drop_;
  std::unique_ptr<Core> core_;
  std::mutex launcher_mutex_;
  std::condition_variable_any launcher_changed_;
  bool ask_launcher_ = false;  // it is new to us, or said that something has changed
  std::unique_ptr<ipc::LauncherClient> launcher_;
  std::unique_ptr<Deliveries> deliveries_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<Outbox> outbox_;
  std::unique_ptr<Judging> judging_;
  std::unique_ptr<Probing> probing_;
  std::unique_ptr<ProbeUsers> probe_users_;
  std::unique_ptr<Sampler> sampler_;
  std::unique_ptr<Housekeeping> housekeeping_;
  std::atomic<bool> stopping_{false};
  std::unique_ptr<io::Reactor> reactor_;
  std::unique_ptr<io::WorkerPool> pool_, pushes_;
  std::unique_ptr<Context> context_;
  std::unique_ptr<Api> api_;
  std::unique_ptr<io::HttpServer> server_;
  std::unique_ptr<TlsListener> tls_;
  std::mutex down_mutex_;
  std::mutex note_mutex_;  // of stopped-by-down.json
  bool going_down_ = false;
  std::jthread lister_, catcher_;
};

std::string executable_of(const ControlOptions& options) {
  if (!options.executable.empty()) return options.executable;
  std::error_code error;
  const auto path = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? "naru" : path.string();
}

Result<void> Process::prepare() {
  TRY(make_folders(data_));
  telemetry_.emplace(options_.telemetry_fd >= 0 ? TRY(ipc::Telemetry::open(options_.telemetry_fd))
                                                : TRY(ipc::Telemetry::create()));
  images_.emplace(TRY(image::Store::open(data_.images())));
  cache_.emplace(TRY(build::StepCache::open(data_.build_cache())));
  tokens_ = TRY(Tokens::open(data_.control() / "tokens.json", clock_));
  resume_clock();  // before anything is noted: a machine's clock that was set is not believed at once
  core_ = TRY(Core::open(data_.control().string(), clock_));
  clock_.not_before(core_->last_time());
  launcher_ = ipc::LauncherClient::open(
      {data_.launcher_socket().string(), [this](const Json& event) { on_launcher_event(event); }});
  grants_to_drop_ = std::make_unique<GrantsToDrop>(
      data_.control() / "grants-to-drop.json",
      [this](const std::string& app) {
        return core_->read([&](const State& state) { return state.apps.contains(app); });
      },
      [this](const std::string& app) { return launcher_->drop_grants(app); });
  executor_ = std::make_unique<Executor>(Executor::Parts{data_, clock_, *core_, *launcher_, gateway_,
                                                         supervisor_, *telemetry_, *images_, *cache_, log_,
                                                         gate_, options_.allowed_registries});
  housekeeping_ = std::make_unique<Housekeeping>(
      Housekeeping::Parts{data_, machine_clock_, *core_, *launcher_, *images_, *cache_, gate_});
  deliveries_ = std::make_unique<Deliveries>(*core_, data_);
  outbox_ = std::make_unique<Outbox>(*core_, [this](const Action& action, std::stop_token stop) {
    return executor_->execute(action, stop);
  });
  judging_ = std::make_unique<Judging>(*core_, *telemetry_, clock_);
  probing_ = std::make_unique<Probing>(*core_, *launcher_, clock_);
  probe_users_ =
      std::make_unique<ProbeUsers>(*core_, clock_, options_.gateway_address, options_.gateway_port);
  sampler_ = std::make_unique<Sampler>(*core_, *telemetry_, *launcher_, clock_);
  return prepare_api();
}

Result<void> Process::prepare_api() {
  reactor_ = TRY(io::Reactor::create());
  pool_ = std::make_unique<io::WorkerPool>(8);
  pushes_ = std::make_unique<io::WorkerPool>(4);
  context_.reset(new Context{data_,
                             clock_,
                             *core_,
                             *launcher_,
                             gateway_,
                             *telemetry_,
                             *images_,
                             *executor_,
                             log_,
                             *tokens_,
                             *grants_to_drop_,
                             *sampler_,
                             *housekeeping_,
                             gate_,
                             *reactor_,
                             *pool_,
                             *pushes_,
                             *deliveries_,
                             stopping_,
                             [this](bool all) { return down(all); },
                             std::string(kVersion),
                             executable_of(options_),
                             options_.gateway_port,
                             0,
                             {},
                             clock_.wall(),
                             options_.max_push_bytes,
                             0});
  api_ = std::make_unique<Api>(*context_);
  std::vector<io::Listener> listeners;
  for (const int fd : {options_.unix_listen_fd, options_.tcp_listen_fd, options_.tcp6_listen_fd}) {
    if (fd < 0) continue;
    listeners.push_back(TRY(io::Listener::adopt(*reactor_, Fd(fd))));
    if (fd != options_.tcp_listen_fd) continue;
    context_->tcp_port = listeners.back().address().port();
    context_->tcp_ip = listeners.back().address().ip();
  }
  if (listeners.empty()) return fail(Code::invalid_argument, "control was given no socket to listen on");
  io::ServerOptions server;
  server.handler = [this](io::Request& request, io::ResponseWriter& response) {
    return api_->handle(request, response);
  };
  server.connections = kConnections;
  server_ = io::HttpServer::start(*reactor_, std::move(server), std::move(listeners.front()));
  for (std::size_t i = 1; i < listeners.size(); ++i) server_->add_listener(std::move(listeners[i]));
  if (options_.tls_listen_fd < 0) return {};
  tls_ = TRY(TlsListener::adopt(*reactor_, options_.tls_listen_fd, options_.tls_channel_fd));
  tls_->serve(*server_, kConnections);
  context_->tls = tls_.get();
  return {};
}

// On the launcher client's thread, which must not ask anything itself.
void Process::on_launcher_event(const Json& event) {
  const std::string name = event.value("event", "");
  if (name == "container_exited" && event.contains("status")) {
    try {
      const auto status = event["status"].get<ContainerStatus>();
      core_->post(command::ContainerExited{status.id, status.exit_code, status.out_of_memory});
    } catch (const Json::exception& e) {
      log_event(Level::warn, "control.launcher_event", {{"error", e.what()}});
    }
  }
  if (name != "connected" && name != "grants_changed") return;
  const std::lock_guard lock(launcher_mutex_);
  ask_launcher_ = true;
  launcher_changed_.notify_all();
}

// What the operator allows is the launcher's to know. What an application has that is not known here stays:
// it may be we who have lost it.
Result<void> Process::list_grants() {
  TRY(grants_to_drop_->settle());
  auto apps = TRY(launcher_->list_grants());
  for (const AppGrants& its : apps)
    if (!core_->read([&](const State& state) { return state.apps.contains(its.app); }))
      log_event(Level::warn, "control.grants_of_nobody", {{"app", its.app}});
  core_->post(command::GrantsListed{std::move(apps)});
  return {};
}

// After each connection: what ended while nobody listened is found in the launcher's list.
void Process::list_containers(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    {
      std::unique_lock lock(launcher_mutex_);
      if (!launcher_changed_.wait(lock, stop, [this] { return ask_launcher_; })) return;
      ask_launcher_ = false;
    }
    const WallTime asked = clock_.wall();
    auto listed = launcher_->list();
    if (listed) {
      core_->post(command::ContainersListed{std::move(*listed), asked});
      executor_->set_udp_routes_again();
    }
    const auto granted = listed ? list_grants() : Result<void>(std::unexpected(listed.error()));
    if (granted) continue;
    log_event(Level::warn, "control.list_containers", {{"error", granted.error().message()}});
    wait(stop, kRetry);
    const std::lock_guard lock(launcher_mutex_);
    ask_launcher_ = true;  // once more
  }
}

// Where our time stood, for the next start of control in this boot.
void Process::keep_clock() const {
  const Json now{{"boot", os::boot_id().value_or("")},
                 {"mono_ms", std::chrono::floor<milliseconds>(clock_.mono().time_since_epoch())},
                 {"wall", clock_.wall()}};
  if (auto kept = os::write_file_atomically(data_.control() / "clock.json", json_text(now)); !kept)
    log_event(Level::warn, "control.clock", {{"error", kept.error().message()}});
}

void Process::resume_clock() {
  const auto kept = os::read_file(data_.control() / "clock.json", 1000);
  const auto then = kept ? parse_json(*kept, "clock.json") : Result<Json>(Json());
  if (!then || !then->is_object()) return;
  try {
    if (then->at("boot").get<std::string>() == os::boot_id().value_or(""))
      clock_.resume(MonoTime(then->at("mono_ms").get<milliseconds>()), then->at("wall").get<WallTime>());
  } catch (const Json::exception& e) {  // not ours: the machine's clock will do
    log_event(Level::warn, "control.clock", {{"error", e.what()}});
  }
}

// A kill between git's update of a branch and the pipeline's start loses no push.
void Process::compare_refs(const std::stop_token& stop) {
  const auto apps = core_->read([](const State& state) { return state.apps; });
  for (const auto& [name, app] : apps) {
    if (stop.stop_requested()) return;
    std::error_code ignored;
    if (!std::filesystem::exists(data_.repository(name), ignored)) continue;  // made with its first push
    if (const auto handed_in = deliveries_->hand_in(name, true); !handed_in)
      log_event(Level::error, "control.refs", {{"app", name}, {"error", handed_in.error().message()}});
  }
}

std::set<EnvKey> Process::noted_as_stopped() const {
  const auto noted = os::read_file(stopped_by_down(), 1 << 20);
  const auto keys = noted ? parse_json(*noted, "stopped-by-down.json") : Json::array();
  std::set<EnvKey> out;
  if (keys && keys->is_array())
    for (const Json& key : *keys)
      if (key.is_string()) out.insert(key.get<std::string>());
  return out;
}

// `naru down --all` stopped them for as long as Naru is down, unlike `naru app stop`. One that cannot be
// started now stays noted for the next time.
void Process::start_what_down_stopped() {
  const std::lock_guard lock(note_mutex_);
  std::set<EnvKey> left;
  for (const EnvKey& key : noted_as_stopped()) {
    const auto started = core_->submit(command::StopEnvironment{key, false});
    if (started || started.error().code == Code::not_found) continue;
    log_event(Level::warn, "control.start_environment", {{"error", started.error().message()}});
    left.insert(key);
  }
  std::error_code ignored;
  if (left.empty())
    std::filesystem::remove(stopped_by_down(), ignored);
  else if (const auto kept = os::write_file_atomically(stopped_by_down(), json_text(left)); !kept)
    log_event(Level::warn, "control.start_environment", {{"error", kept.error().message()}});
}

void Process::catch_up(const std::stop_token& stop) {
  start_what_down_stopped();
  compare_refs(stop);
  MonoTime keep_clock_at{};
  // A gateway that is new (or that we are new to) may know an older table: it gets the current one.
  while (!stop.stop_requested()) {
    if (!gateway_.listen())
      if (auto published = executor_->publish_routes(); published)
        core_->post(command::RoutesAcked{0, *published});
    executor_->keep_listening();
    if (clock_.mono() >= keep_clock_at) {
      keep_clock();
      keep_clock_at = clock_.mono() + kKeepClock;
    }
    wait(stop, kRetry);
  }
}

Result<std::vector<std::string>> Process::down(bool all) {
  {
    const std::lock_guard lock(down_mutex_);
    if (std::exchange(going_down_, true)) return fail(Code::conflict, "Naru is on its way down already");
  }
  auto left = all ? stop_everything() : std::vector<std::string>();
  if (left)
    if (auto asked = supervisor_.down(all); !asked) left = std::unexpected(asked.error());
  if (left) return left;
  if (all) start_what_down_stopped();
  const std::lock_guard lock(down_mutex_);
  going_down_ = false;
  return left;
}

// What cannot be noted is not stopped: nobody would start it again.
Result<std::vector<std::string>> Process::stop_everything() {
  std::unique_lock noting(note_mutex_);
  const auto keys = core_->read([](const State& state) {
    std::set<EnvKey> out;
    for (const auto& [key, environment] : state.environments)
      if (!environment.stopped) out.insert(key);
    return out;
  });
  std::set<EnvKey> noted = noted_as_stopped();  // by a `down` after which not all could be started
  noted.insert(keys.begin(), keys.end());
  TRY(os::write_file_atomically(stopped_by_down(), json_text(noted)));
  noting.unlock();
  for (const EnvKey& key : keys)
    if (auto stopped = core_->submit(command::StopEnvironment{key, true}); !stopped)
      log_event(Level::warn, "control.stop_environment",
                {{"environment", key}, {"error", stopped.error().message()}});
  const MonoTime deadline = clock_.mono() + kDownPatience;
  const auto left = [this] { return core_->read([](const State& state) { return state.instances.size(); }); };
  while (left() > 0 && clock_.mono() < deadline) {
    if (stopping_) return fail(Code::unavailable, "control is stopping");
    std::this_thread::sleep_for(100ms);
  }
  if (left() == 0) return std::vector<std::string>();
  log_event(Level::warn, "control.down_stops_itself", {{"instances", left()}});
  return stop_what_is_left({[this] { return launcher_->list(); },
                            [this](const std::string& container) -> Result<void> {
                              TRY(launcher_->stop(container, kDownGrace));
                              return {};
                            }});
}

io::Task<void> Process::wait_for(io::Stream stream) {
  std::array<char, 256> what{};  // a signalfd_siginfo, or what an eventfd counts
  const auto said = co_await stream.read(what);
  if (!said && said.error().code == Code::cancelled) co_return;
  stopping_ = true;
  reactor_->stop();
}

int Process::serve(int signal_fd, int stop_fd) {
  core_->start();
  outbox_->start();
  judging_->start();
  probe_users_->start();
  probing_->start();
  sampler_->start();
  housekeeping_->start();
  lister_ = std::jthread([this](const std::stop_token& stop) { list_containers(stop); });
  catcher_ = std::jthread([this](const std::stop_token& stop) { catch_up(stop); });
  for (const int fd : {signal_fd, stop_fd}) {
    if (fd < 0) continue;
    auto stream = io::Stream::adopt(*reactor_, Fd(fd));
    if (stream) reactor_->spawn(wait_for(std::move(*stream)));
  }
  log_event(Level::info, "control.started", {{"data", data_.root.string()}, {"port", context_->tcp_port}});
  reactor_->run();
  reactor_->block_on(server_->stop(kGrace));
  return 0;
}

// Nobody may call into what is gone: first those who ask (threads of requests, watchers), then the core,
// which calls the probes and the outbox; then these; the outbox's workers too, whose calls to the launcher
// have been failed and whose commands are refused. Whatever is not done stays in the outbox on disk.
void Process::end() {
  stopping_ = true;
  if (launcher_) launcher_->stop();
  for (std::jthread* thread : {&lister_, &catcher_}) {
    thread->request_stop();
    if (thread->joinable()) thread->join();
  }
  if (housekeeping_) housekeeping_->stop();
  server_.reset();
  pool_.reset();
  pushes_.reset();
  tls_.reset();      // it has descriptors that the reactor knows
  reactor_.reset();  // connections that did not end: their coroutines go with it
  api_.reset();
  context_.reset();
  sampler_.reset();
  if (core_) core_->stop();
  probe_users_.reset();
  probing_.reset();
  judging_.reset();
  housekeeping_.reset();
  outbox_.reset();
  executor_.reset();
  launcher_.reset();
  core_.reset();
}

}  // namespace

int run(const ControlOptions& options) {
  use_all_descriptors();
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  // Before any thread is made: all inherit it, and the descriptor gets every one.
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  const int signal_fd = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  ::umask(0022);  // checkouts are mounted into containers, whose users read them; what is private lies in
                  // folders of 0700
  auto process = Process::create(options);
  if (!process) {
    fmt::print(stderr, "naru control: {}\nhint: {}\n", process.error().message(), process.error().hint());
    if (signal_fd >= 0) ::close(signal_fd);
    return 1;
  }
  const int code = (*process)->serve(signal_fd, options.stop_fd);
  // A download or a git that does not end must not hold up a restart: every instant is a good one to be
  // killed.
  const std::jthread watchdog([](const std::stop_token& stop) {
    wait(stop, kLastPatience);
    if (!stop.stop_requested()) ::_exit(0);
  });
  process->reset();
  return code;
}

}  // namespace naru::control
