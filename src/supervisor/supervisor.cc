#include "supervisor/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>

#include <filesystem>

#include "base/log.h"
#include "container/engine.h"
#include "ipc/channel.h"
#include "ipc/data_folder.h"
#include "ipc/gateway_protocol.h"
#include "ipc/launcher_protocol.h"
#include "ipc/telemetry.h"
#include "os/file.h"
#include "os/process.h"
#include "os/sealed.h"
#include "supervisor/certificate_files.h"
#include "supervisor/child.h"
#include "supervisor/process_log.h"
#include "supervisor/sockets.h"

namespace naru::supervisor {

namespace {

namespace fs = std::filesystem;

std::optional<User> find_user(const std::string& name) {
  // The supervisor has one thread.
  const passwd* entry = ::getpwnam(name.c_str());  // NOLINT(concurrency-mt-unsafe)
  if (entry == nullptr) return std::nullopt;
  return User{name, entry->pw_uid, entry->pw_gid};
}

Result<User> ensure_user(const std::string& name) {
  if (auto user = find_user(name)) return *user;
  std::string program = "useradd", system = "--system", home = "--no-create-home",
              shell = "--shell=/usr/sbin/nologin", user = name;
  char* argv[] = {program.data(), system.data(), home.data(), shell.data(), user.data(), nullptr};
  pid_t pid = 0;
  int status = -1;
  if (::posix_spawnp(&pid, "useradd", nullptr, nullptr, argv, environ) == 0) ::waitpid(pid, &status, 0);
  if (auto made = find_user(name)) return *made;
  return fail(Code::system,
              "the user '{}', as which gateway and control run, does not exist and could not be created "
              "(useradd: {})",
              name, status);
}

Result<void> make_folder(const fs::path& path, mode_t mode, const User* owner = nullptr) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error)
    return std::unexpected(Error{Code::system, fmt::format("{}: create", path.string()), error.value(), {}});
  if (::chmod(path.c_str(), mode) != 0) return fail_errno(Code::system, "{}: chmod", path.string());
  if (owner != nullptr && ::chown(path.c_str(), owner->uid, owner->gid) != 0)
    return fail_errno(Code::system, "{}: chown", path.string());
  return {};
}

Result<void> make_folders(const ipc::DataFolder& data, const User& user) {
  TRY(make_folder(data.root, 0711));
  TRY(make_folder(data.run(), 0711));
  TRY(make_folder(data.root / "log", 0750));
  const User reader{"", 0,
                    user.gid};  // root writes what containers say, control reads it, nobody else enters
  TRY(make_folder(data.logs(), 0750, &reader));
  for (const fs::path& owned :
       {data.control(), data.images(), data.checkouts(), data.gateway_table().parent_path()})
    TRY(make_folder(owned, 0700, &user));
  return {};
}

Result<Fd> lock_folder(const ipc::DataFolder& data) {
  Fd lock(::open(data.lock().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!lock) return fail_errno(Code::system, "{}: open", data.lock().string());
  // A killed one's child may hold it for a moment more, until its exec or its own end.
  const auto patience = std::chrono::steady_clock::now() + 1s;
  while (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (std::chrono::steady_clock::now() < patience) {
      std::this_thread::sleep_for(10ms);
      continue;
    }
    return std::unexpected(
        Error{Code::conflict, fmt::format("{} is in use: another `naru up` runs on it", data.root.string()),
              0, "see `naru status`, or stop it with `naru down`"});
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock.get(), 0) != 0 || ::pwrite(lock.get(), pid.data(), pid.size(), 0) < 0)
    return fail_errno(Code::system, "{}: write", data.lock().string());
  return lock;
}

Result<Fd> listen_for(const fs::path& path, const User& user) {
  Fd fd = TRY(ipc::listen_unix(path.string(), 0600));
  if (::chown(path.c_str(), user.uid, user.gid) != 0)
    return fail_errno(Code::system, "{}: chown", path.string());
  return fd;
}

struct OwnSockets {
  Fd socket;
  std::optional<Fd> other_half;
};

enum class Halves { asked, both };  // of 127.0.0.1: without and with [::1]

// `option`, as "--port PORT", chooses the port.
Result<OwnSockets> open_own(const ListenerSpec& spec, std::string_view option, Halves halves = Halves::both) {
  const auto open = [&]() -> Result<OwnSockets> {
    OwnSockets own{TRY(open_listener(spec)), {}};
    if (halves == Halves::both) own.other_half = TRY(open_other_half(spec));
    return own;
  };
  auto own = open();
  // A killed one's gateway may have it for a moment more, until it hears of that.
  const auto patience = std::chrono::steady_clock::now() + 2s;
  while (!own && own.error().code == Code::port_taken && std::chrono::steady_clock::now() < patience) {
    std::this_thread::sleep_for(10ms);
    own = open();
  }
  if (!own && own.error().code == Code::port_taken)
    own.error().remedy = fmt::format(
        "choose another with `naru up {}`, or stop who listens there (`ss -ltnp 'sport = :{}'` shows "
        "who)",
        option, spec.port);
  return own;
}

enum class Process { launcher, gateway, control };
constexpr std::array kProcesses{Process::launcher, Process::gateway, Process::control};
constexpr std::string_view kNames[] = {"launcher", "gateway", "control"};
constexpr milliseconds kLookInterval{10'000};  // at logs, and at the files of a certificate
constexpr int kClearAttempts = 3;

class Supervisor {
 public:
  static Result<std::unique_ptr<Supervisor>> create(const SupervisorOptions& options) {
    std::unique_ptr<Supervisor> s(new Supervisor(options));
    // The key is read here, as root: control, which runs as another user, gets its text and no right to the
    // file. What cannot be used ends no start: the applications run, and doctor says why.
    if (options.tls) {
      s->certificate_.emplace(options.tls->certificate_file, options.tls->key_file);
      s->renew_certificate(true);
    }
    s->user_ = TRY(ensure_user(options.user));
    TRY(make_folders(s->data_, s->user_));
    s->lock_ = TRY(lock_folder(s->data_));
    s->launcher_socket_ = TRY(listen_for(s->data_.launcher_socket(), s->user_));
    s->gateway_socket_ = TRY(listen_for(s->data_.gateway_socket(), s->user_));
    s->control_socket_ = TRY(listen_for(s->data_.control_socket(), s->user_));
    const ListenerSpec api{"control", ListenerKind::http, options.control_address, options.control_port};
    OwnSockets control = TRY(open_own(api, "--port PORT"));
    s->control_tcp_ = std::move(control.socket);
    s->control_tcp6_ = std::move(control.other_half);
    if (options.tls) {
      const ListenerSpec elsewhere{"control-tls", ListenerKind::http, options.tls->address,
                                   options.tls->port};
      s->control_tls_ = TRY(open_own(elsewhere, "--tls-listen ADDRESS:PORT", Halves::asked)).socket;
    }
    s->edge_ = {"edge", ListenerKind::http, options.gateway_address, options.gateway_port};
    OwnSockets edge = TRY(open_own(s->edge_, "--gateway-port PORT"));
    s->edge_socket_ = std::move(edge.socket);
    s->edge6_socket_ = std::move(edge.other_half);
    s->telemetry_.emplace(TRY(ipc::Telemetry::create()));
    s->seal_program();
    s->protect_memory();
    TRY(s->watch_signals());
    return s;
  }

  Result<void> run() {
    if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
      return fail_errno(Code::system, "prctl(PR_SET_CHILD_SUBREAPER)");
    for (const Process process : kProcesses) TRY(start(process));
    if (options_.on_started) options_.on_started();
    while (!stopping_) turn();
    stop_children();
    return {};
  }

 private:
  struct Running {
    pid_t pid = 0;
    Restart restart;
    std::optional<MonoTime> start_at;
    ipc::Channel channel;  // gateway and control
  };

  explicit Supervisor(const SupervisorOptions& options)
      : options_(options), data_{fs::absolute(options.data)} {}

  // Containers meet the launcher's program through /proc/<pid>/exe: it runs from a copy that none can write.
  // One copy for this supervisor's life, so that all four processes are of one version; the next start takes
  // the file that stands there then.
  void seal_program() {
    if (auto sealed = os::sealed_copy("/proc/self/exe", "naru"))
      program_ = std::move(*sealed);
    else
      log_event(Level::warn, "supervisor.program_not_sealed", {{"error", sealed.error().message()}});
  }

  // What runs out of memory is an application or a build, never Naru's four processes, which inherit this;
  // containers get 0 and builds 500 from the launcher.
  void protect_memory() {
    if (auto written = os::write_existing("/proc/self/oom_score_adj", "-500"); !written)
      log_event(Level::warn, "supervisor.not_protected_from_oom", {{"error", written.error().message()}});
  }

  Result<void> watch_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    signals_ = Fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_) return fail_errno(Code::system, "signalfd");
    return {};
  }

  Running& at(Process process) { return running_[static_cast<std::size_t>(process)]; }

  // The descriptors' numbers go by argument.
  Result<ChildSpec> spec_of(Process process, std::vector<Fd>& their_ends) {
    ChildSpec spec;
    spec.name = kNames[static_cast<std::size_t>(process)];
    spec.log_path = data_.process_log(spec.name).string();
    spec.arguments = {"--data=" + data_.root.string()};
    const auto pass = [&](std::string_view option, int fd) {
      spec.arguments.push_back(fmt::format("--{}={}", option, fd));
      spec.fds.push_back(fd);
    };
    if (process == Process::launcher) {
      spec.arguments.push_back(fmt::format("--allowed-uid={}", user_.uid));
      pass("listen-fd", launcher_socket_.get());
      spec.held_signals = {SIGTERM, ipc::kEndForGood};
      spec.program_fd = program_.get();
      return spec;
    }
    spec.user = user_;
    auto [ours, theirs] = TRY(ipc::Channel::pair());
    at(process).channel = std::move(ours);
    const auto pass_end = [&](std::string_view option, const ipc::Channel& end) {
      pass(option, their_ends.emplace_back(::fcntl(end.fd(), F_DUPFD_CLOEXEC, 3)).get());
    };
    pass_end("supervisor-fd", theirs);
    pass("telemetry-fd", telemetry_->fd());
    if (process == Process::gateway) {
      pass("control-fd", gateway_socket_.get());
    } else {
      pass("unix-fd", control_socket_.get());
      pass("tcp-fd", control_tcp_.get());
      if (control_tcp6_) pass("tcp6-fd", control_tcp6_->get());
      if (certificate_) {
        auto [tell, listen] = TRY(ipc::Channel::pair());
        tls_channel_ = std::move(tell);
        pass("tls-fd", control_tls_.get());
        pass_end("tls-channel-fd", listen);
        send_certificate();
      }
      spec.arguments.push_back(fmt::format("--gateway-address={}", options_.gateway_address));
      spec.arguments.push_back(fmt::format("--gateway-port={}", options_.gateway_port));
      spec.arguments.push_back(fmt::format("--max-push-bytes={}", options_.max_push_bytes));
      if (!options_.allowed_registries.empty())
        spec.arguments.push_back(
            fmt::format("--allowed-registries={}", fmt::join(options_.allowed_registries, ",")));
    }
    return spec;
  }

  Result<void> start(Process process) {
    Running& child = at(process);
    std::vector<Fd> their_ends;
    const ChildSpec spec = TRY(spec_of(process, their_ends));
    child.pid = TRY(start_child(spec));
    child.start_at.reset();
    child.restart.started(clock_.mono());
    log_event(Level::info, "supervisor.started", {{"process", spec.name}, {"pid", child.pid}});
    if (process == Process::gateway) send_listeners();
    return {};
  }

  void turn() {
    std::array<pollfd, 3> polls{pollfd{signals_.get(), POLLIN, 0}, pollfd{-1, 0, 0}, pollfd{-1, 0, 0}};
    const auto watch = [&](pollfd& poll, ipc::Channel& channel) {
      if (!channel.valid()) return;
      poll.fd = channel.fd();
      poll.events = static_cast<short>(POLLIN | (channel.wants_write() ? POLLOUT : 0));
    };
    watch(polls[1], at(Process::control).channel);
    watch(polls[2], at(Process::gateway).channel);
    ::poll(polls.data(), polls.size(), next_turn_in());
    look_around();
    if (polls[0].revents != 0) on_signal();
    if (polls[1].revents != 0) on_control();
    if (polls[2].revents != 0) on_gateway();
    for (const Process process : kProcesses)
      if (at(process).start_at && clock_.mono() >= *at(process).start_at && !stopping_)
        if (auto started = start(process); !started) {
          log_event(Level::error, "supervisor.start", {{"error", started.error().message()}});
          at(process).start_at = clock_.mono() + 1s;
        }
  }

  void look_around() {
    if (tls_channel_.wants_write() && !tls_channel_.flush()) tls_channel_.close();
    if (clock_.mono() - looked_around_ < kLookInterval) return;
    looked_around_ = clock_.mono();
    renew_certificate(false);
    for (const std::string_view name : {"launcher", "gateway", "control", "supervisor"})
      if (auto bounded = bound_log(data_.process_log(std::string(name))); !bounded)
        log_event(Level::warn, "supervisor.bound_log", {{"error", bounded.error().message()}});
  }

  void renew_certificate(bool asked) {
    if (!certificate_) return;
    const auto renewed = certificate_->refresh(clock_.wall(), asked);
    if (!renewed) {
      if (!asked && renewed.error().message() == certificate_refused_) return;  // said already
      log_event(Level::error, "supervisor.certificate_refused",
                {{"error", renewed.error().message()}, {"remedy", renewed.error().hint()}});
      certificate_refused_ = renewed.error().message();
      return tell_of_certificate({{"refused", certificate_refused_}});
    }
    if (!*renewed) return;
    certificate_refused_.clear();
    log_event(Level::info, "supervisor.certificate", {{"file", certificate_->pem().certificate_file}});
    send_certificate();
  }
  void send_certificate() {
    if (certificate_->usable())
      tell_of_certificate(
          {{"certificate", certificate_->pem().certificate}, {"key", certificate_->pem().key}});
    if (!certificate_refused_.empty()) tell_of_certificate({{"refused", certificate_refused_}});
  }
  void tell_of_certificate(const Json& what) {
    if (!tls_channel_.valid()) return;
    if (!tls_channel_.queue(what) || !tls_channel_.flush()) tls_channel_.close();
  }

  int next_turn_in() const {
    milliseconds wait = kLookInterval;
    for (const Running& child : running_)
      if (child.start_at)
        wait =
            std::min(wait, std::max(0ms, std::chrono::ceil<milliseconds>(*child.start_at - clock_.mono())));
    return static_cast<int>(wait.count());
  }

  void on_signal() {
    signalfd_siginfo info{};
    while (::read(signals_.get(), &info, sizeof info) == sizeof info)
      if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
        stopping_ = true;
      else if (info.ssi_signo == SIGHUP)
        renew_certificate(true);
    reap();
  }

  // Ours are restarted; others are containers that lost their launcher: their status is written down before
  // they are reaped, while their start time can still be read.
  void reap() {
    siginfo_t info{};
    while (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) {
      const pid_t pid = info.si_pid;
      const auto start_time = os::process_start_time(pid);
      int status = 0;
      const int wait_status =
          info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8 : (info.si_status & 0x7f);
      if (start_time && !is_ours(pid))
        if (auto recorded =
                container::record_exit(container::Paths::under(data_.root), pid, *start_time, wait_status);
            !recorded)
          log_event(Level::warn, "supervisor.record_exit",
                    {{"pid", pid}, {"error", recorded.error().message()}});
      ::waitpid(pid, &status, 0);
      if (is_ours(pid)) on_death(pid, wait_status);
      info = {};
    }
  }
  bool is_ours(pid_t pid) const {
    return std::ranges::any_of(running_, [&](const Running& child) { return child.pid == pid; });
  }
  void on_death(pid_t pid, int status) {
    for (const Process process : kProcesses) {
      Running& child = at(process);
      if (child.pid != pid) continue;
      child.pid = 0;
      child.channel.close();
      const milliseconds delay = child.restart.next_delay(clock_.mono());
      child.start_at = clock_.mono() + delay;
      if (!stopping_)
        log_event(Level::warn, "supervisor.died",
                  {{"process", kNames[static_cast<std::size_t>(process)]},
                   {"status", os::exit_code_of(status)},
                   {"restart_in_ms", delay.count()}});
    }
  }

  void on_control() {
    Running& control = at(Process::control);
    auto messages = control.channel.read_available();
    if (!messages) return control.channel.close();
    for (const ipc::Message& message : *messages) {
      Json answer{{"id", message.body.value("id", std::uint64_t{0})}};
      if (message.body.value("down", false)) stopping_ = true;
      if (message.body.value("all", false)) for_good_ = true;
      if (message.body.contains("listeners")) answer["errors"] = replace_listeners(message.body["listeners"]);
      if (!control.channel.queue(answer)) return control.channel.close();
    }
    if (!control.channel.flush()) control.channel.close();
  }

  Json replace_listeners(const Json& wanted) {
    try {
      const Json errors = listeners_.replace(wanted.get<std::vector<ListenerSpec>>());
      send_listeners();
      return errors;
    } catch (const Json::exception& e) {
      return std::vector<ipc::ListenerError>{{"", fmt::format("malformed request: {}", e.what())}};
    }
  }

  void on_gateway() {
    ipc::Channel& channel = at(Process::gateway).channel;
    if (auto messages = channel.read_available(); !messages || !channel.flush()) channel.close();
  }

  void send_listeners() {
    ipc::Channel& channel = at(Process::gateway).channel;
    if (!channel.valid()) return;
    std::vector<std::pair<ListenerSpec, int>> all{{edge_, edge_socket_.get()}};
    if (edge6_socket_)
      all.emplace_back(ListenerSpec{"edge-v6", edge_.kind, "::1", edge_.port}, edge6_socket_->get());
    for (const auto& [name, open] : listeners_.open()) all.emplace_back(open.spec, open.fd.get());
    for (std::size_t at = 0; at < all.size(); at += ipc::kListenersPerMessage) {
      ipc::ListenersMessage message;
      std::vector<Fd> fds;
      for (std::size_t i = at; i < std::min(all.size(), at + ipc::kListenersPerMessage); ++i) {
        message.listeners.push_back(all[i].first);
        fds.emplace_back(::fcntl(all[i].second, F_DUPFD_CLOEXEC, 3));
      }
      message.more = at + ipc::kListenersPerMessage < all.size();
      if (!channel.queue(message, std::move(fds))) return channel.close();
    }
    if (!channel.flush()) channel.close();
  }

  // Control first, so that it stops deciding; the launcher last.
  void stop_children() {
    stop(Process::control, SIGTERM, 5s);
    stop(Process::gateway, SIGTERM, 5s);
    if (for_good_)
      clear_host();
    else
      stop(Process::launcher, SIGTERM, 5s);
  }

  // What is left in the kernel goes with the launcher's end: with one that is started for it when none runs
  // or when the one that was at it died.
  void clear_host() {
    for (int attempt = 0; attempt < kClearAttempts; ++attempt) {
      if (at(Process::launcher).pid == 0)
        if (auto started = start(Process::launcher); !started) {
          log_event(Level::error, "supervisor.start", {{"error", started.error().message()}});
          continue;
        }
      if (stop(Process::launcher, ipc::kEndForGood, 30s) == 0) return;
    }
    log_event(Level::error, "supervisor.host_not_cleared", {{"attempts", kClearAttempts}});
  }

  // Returns its wait status; 0 when it does not run.
  int stop(Process process, int signal, milliseconds patience) {
    Running& child = at(process);
    int status = 0;
    if (child.pid == 0) return status;
    ::kill(child.pid, signal);
    const MonoTime deadline = clock_.mono() + patience;
    while (::waitpid(child.pid, &status, WNOHANG) == 0) {
      if (clock_.mono() > deadline) ::kill(child.pid, SIGKILL);
      pollfd wake{signals_.get(), POLLIN, 0};
      ::poll(&wake, 1, 20);
      signalfd_siginfo info{};
      while (::read(signals_.get(), &info, sizeof info) > 0) {
      }
    }
    child.pid = 0;
    return status;
  }

  SupervisorOptions options_;
  ipc::DataFolder data_;
  SystemClock clock_;
  User user_;
  Fd lock_, launcher_socket_, gateway_socket_, control_socket_, control_tcp_, control_tls_, edge_socket_,
      signals_, program_;
  std::optional<Fd> control_tcp6_, edge6_socket_;  // of 127.0.0.1's, on [::1]
  ListenerSpec edge_;
  std::optional<CertificateFiles> certificate_;
  std::string certificate_refused_;  // why the files as they are now were not taken, else ""
  ipc::Channel tls_channel_;         // to control, of certificate_
  std::optional<ipc::Telemetry> telemetry_;
  Listeners listeners_;
  std::array<Running, 3> running_;
  bool stopping_ = false, for_good_ = false;
  MonoTime looked_around_{};
};

}  // namespace

Result<void> run(const SupervisorOptions& options) {
  if (::geteuid() != 0)
    return std::unexpected(Error{Code::forbidden, "`naru up` starts containers and needs to be root", 0,
                                 "run it with sudo, or by systemd"});
  auto supervisor = TRY(Supervisor::create(options));
  return supervisor->run();
}

}  // namespace naru::supervisor
