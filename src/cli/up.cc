// `naru up` and `naru down`.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <set>
#include <thread>

#include "cli/verbs.h"
#include "format/oci.h"
#include "io/address.h"
#include "ipc/data_folder.h"
#include "model/json_text.h"

namespace naru::cli {

namespace {

constexpr milliseconds kPatience{15'000};
constexpr milliseconds kPause{50};

std::string where(std::uint16_t port) {
  return fmt::format("http://localhost:{}", port);
}

std::string banner(const Session& session, const ControlPlace& place, const Json& version) {
  const auto link = ControlClient(place).post("/v1/login-link");
  const auto name = [&](std::string_view label) {
    return session.paint(Tone::dim, fmt::format("  {:<9}", label));
  };
  std::string out = fmt::format("{} {}\n", session.paint(Tone::bold, "Naru is up"), text(version, "version"));
  out += fmt::format("{} {}\n", name("data"), place.data);
  out += fmt::format("{} {}  (SERVICE.ENVIRONMENT.APP.localhost)\n", name("gateway"),
                     where(static_cast<std::uint16_t>(number(version, "gateway_port"))));
  if (link)
    out += fmt::format("{} {}  (works once; another with `naru open`)\n", name("console"),
                       session.paint(Tone::accent, text(*link, "url")));
  else
    out += fmt::format("{} {}\n", name("console"), link.error().message());
  const std::string option = place.data == ControlPlace{}.data ? "" : fmt::format(" --data {}", place.data);
  if (const std::string elsewhere = text(version, "https"); !elsewhere.empty())
    out += fmt::format("{} {}  (NARU_URL for other machines, with a token of `naru token create`)\n",
                       name("https"), elsewhere);
  if (const std::string refused = text(version, "https_refused"); !refused.empty())
    out += fmt::format("{} not served: {}  (see `naru doctor`)\n", name("https"),
                       session.paint(Tone::bad, clean(refused)));
  out += fmt::format("{} in your repository: naru app create shop{} && git push naru main\n", name("next"),
                     option);
  return out;
}

// Control's answer to /v1/version, within the patience; `stop` is asked in between.
template <class Stop>
Result<Json> wait_for_control(const ControlPlace& place, Stop stop) {
  const ControlClient control(place);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    auto version = control.get("/v1/version");
    if (version) return version;
    if (auto stopped = stop(); !stopped) return std::unexpected(stopped.error());
    if (std::chrono::steady_clock::now() > deadline)
      return std::unexpected(
          Error{Code::timeout,
                fmt::format("control has not answered within {}: {}", humanize(kPatience),
                            version.error().message()),
                0, fmt::format("see {}", ipc::DataFolder{place.data}.process_log("control").string())});
  }
}

void show_up(const Session& session, const ControlPlace& place, const Json& version, bool already) {
  if (session.json) {
    Json out = version;
    out["data"] = place.data;
    out["already_running"] = already;
    if (const auto link = ControlClient(place).post("/v1/login-link")) out["console"] = text(*link, "url");
    session.document(out);
    return;
  }
  if (already) session.print("Naru runs already on {}\n", place.data);
  session.say(banner(session, place, version));
}

Done run_in_foreground(const Session& session, const ControlPlace& place, const UpRequest& request) {
  std::jthread greeter;
  const auto on_started = [&] {
    // A thread: the supervisor must go on while control starts.
    greeter = std::jthread([&session, place](const std::stop_token& stop) {
      const auto version = wait_for_control(place, [&]() -> Result<void> {
        if (stop.stop_requested()) return fail(Code::cancelled, "stopped");
        std::this_thread::sleep_for(kPause);
        return {};
      });
      if (version)
        show_up(session, place, *version, false);
      else if (!stop.stop_requested())
        session.error(version.error());
    });
  };
  TRY(session.processes.up(request, on_started));
  return 0;
}

// What the process that goes on by itself says when it could not.
void tell_failure(int fd, const Error& error) {
  const std::string said = json_text(
      Json{{"code", code_info(error.code).name}, {"message", error.message()}, {"hint", error.hint()}});
  if (::write(fd, said.data(), said.size()) < 0) ::_exit(1);
}

[[noreturn]] void become_background(const Session& session, const UpRequest& request, int failure_fd,
                                    int log_fd) {
  ::setsid();
  const int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, STDIN_FILENO);
  ::dup2(log_fd, STDOUT_FILENO);
  ::dup2(log_fd, STDERR_FILENO);
  // The caller's other descriptors (a pipe that somebody reads until its end) must not live as long as the
  // platform.
  const int pipe = failure_fd == 3 ? 3 : ::dup3(failure_fd, 3, O_CLOEXEC);
  ::close_range(4, ~0U, 0);
  ::umask(022);
  if (::chdir("/") != 0) ::_exit(1);
  const auto ended = session.processes.up(request, [] {});
  if (!ended) tell_failure(pipe, ended.error());
  ::_exit(ended ? 0 : 1);
}

Error failure_from(int fd, int status) {
  std::string said(64 << 10, '\0');
  const ssize_t n = ::read(fd, said.data(), said.size());
  said.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  if (said.empty())
    return {Code::internal,
            fmt::format("the supervisor ended at once (status {})",
                        WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)),
            0,
            {}};
  return ControlClient::refusal(500, json_text(Json{{"error", Json::parse(said, nullptr, false)}}));
}

Result<Fd> open_log(const ipc::DataFolder& folder) {
  const auto path = folder.process_log("supervisor");
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
  if (!fd && errno == EACCES)
    return std::unexpected(Error{Code::forbidden,
                                 fmt::format("{} may not be written by this user", folder.root.string()), 0,
                                 "run it with sudo, or by systemd"});
  if (!fd) return fail_errno(Code::system, "{}: open", path.string());
  return fd;
}

Done run_in_background(const Session& session, const ControlPlace& place, const UpRequest& request) {
  const Fd log = TRY(open_log({place.data}));
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(Code::system, "pipe2");
  const Fd read_end(ends[0]);
  Fd write_end(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return fail_errno(Code::system, "fork");
  if (child == 0) become_background(session, request, write_end.get(), log.get());
  write_end.reset();
  auto version = wait_for_control(place, [&]() -> Result<void> {
    pollfd ended{read_end.get(), POLLIN, 0};
    if (::poll(&ended, 1, static_cast<int>(kPause.count())) <= 0) return {};
    int status = 0;
    ::waitpid(child, &status, 0);
    Error error = failure_from(read_end.get(), status);
    if (error.remedy.empty())
      error.remedy = fmt::format("see {}", ipc::DataFolder{place.data}.process_log("supervisor").string());
    return std::unexpected(std::move(error));
  });
  if (!version) return std::unexpected(version.error());
  show_up(session, place, *version, false);
  return 0;
}

Result<std::uint16_t> port_of(const Session& session, std::optional<std::uint16_t> option, const char* name,
                              std::uint16_t otherwise) {
  if (option) return *option;
  const std::string given = session.variable(name).value_or("");
  if (given.empty()) return otherwise;
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), port);
  if (error == std::errc() && end == given.data() + given.size() && port != 0) return port;
  return std::unexpected(Error{Code::invalid_argument,
                               fmt::format("{} is '{}', which is not a port", name, given), 0,
                               "give it a number from 1 to 65535"});
}

constexpr std::string_view kTlsUsage = "naru up --tls-listen ADDRESS:PORT --tls-cert FILE --tls-key FILE";

std::unexpected<Error> wrong_tls(std::string what) {
  return std::unexpected(
      Error{Code::invalid_argument, std::move(what), 0, fmt::format("give all three: {}", kTlsUsage)});
}

Result<std::string> absolute_file(const std::string& file) {
  std::error_code error;
  auto path = std::filesystem::absolute(file, error);
  if (error) return fail(Code::system, "{}: {}", file, error.message());
  return path.string();
}

// Other machines are served by TLS or not at all: a token that goes over a network in clear is everybody's.
Result<std::optional<TlsRequest>> tls_of(const UpOptions& options) {
  const bool certificate = !options.tls_certificate.empty(), key = !options.tls_key.empty();
  if (options.tls_listen.empty()) {
    if (certificate || key)
      return wrong_tls(
          fmt::format("{} without --tls-listen is for nothing", certificate ? "--tls-cert" : "--tls-key"));
    return std::optional<TlsRequest>();
  }
  const auto address = io::Address::parse(options.tls_listen);
  if (!address || address->family() == AF_UNIX || address->port() == 0)
    return std::unexpected(
        Error{Code::invalid_argument,
              fmt::format("--tls-listen '{}' is not an address with a port", clean(options.tls_listen)), 0,
              "write an address of this machine, or none for all: --tls-listen 192.0.2.7:7443, "
              "--tls-listen [2001:db8::7]:7443 or --tls-listen :7443"});
  if (!certificate || !key)
    return wrong_tls(
        fmt::format("--tls-listen {} without {}: control is served to other machines by TLS only, "
                    "never in clear",
                    clean(options.tls_listen),
                    certificate ? "--tls-key"
                    : key       ? "--tls-cert"
                                : "--tls-cert and --tls-key"));
  const bool everywhere = options.tls_listen.starts_with(':');
  return std::optional(TlsRequest{everywhere ? "" : address->ip(), address->port(),
                                  TRY(absolute_file(options.tls_certificate)),
                                  TRY(absolute_file(options.tls_key))});
}

// "host[:port]" as an image's reference names it: that is what it is compared with.
Result<void> check_registries(const std::vector<std::string>& registries) {
  for (const std::string& registry : registries) {
    const auto reference = format::ImageReference::parse(registry + "/image");
    if (!reference || reference->registry != registry)
      return std::unexpected(
          Error{Code::invalid_argument,
                fmt::format("--allow-registry '{}' is not the place of a registry", clean(registry)), 0,
                "write it as images name it, HOST or HOST:PORT: --allow-registry 127.0.0.1:5000"});
  }
  return {};
}

}  // namespace

Done up(const Session& session, const UpOptions& options) {
  ControlPlace place = session.place();
  if (!place.local())
    return std::unexpected(Error{Code::invalid_argument,
                                 "`naru up` starts Naru on this machine, but NARU_URL names another", 0,
                                 "unset NARU_URL, or give --data"});
  if (const auto running = ControlClient(place).get("/v1/version")) {
    show_up(session, place, *running, true);
    return 0;
  } else if (running.error().code == Code::forbidden) {
    return std::unexpected(running.error());
  }
  TRY(check_registries(options.allowed_registries));
  const std::uint16_t port = TRY(port_of(session, options.port, "NARU_PORT", 7433));
  const std::uint16_t edge = TRY(port_of(session, options.gateway_port, "NARU_GATEWAY_PORT", 8080));
  auto tls = TRY(tls_of(options));
  const UpRequest request{.data = place.data,
                          .control_port = port,
                          .gateway_address = options.listen,
                          .gateway_port = edge,
                          .max_push_bytes = std::uint64_t{options.max_push_mb} << 20,
                          .allowed_registries = options.allowed_registries,
                          .tls = std::move(tls),
                          .detach = options.detach};
  if (options.detach) return run_in_background(session, place, request);
  return run_in_foreground(session, place, request);
}

namespace {

constexpr std::size_t kLeftNamed = 8;

// Down, but not all of it.
Done tell_left(const Session& session, const Json& answer, const Json& left) {
  if (session.json) {
    session.document(answer);
    return 1;
  }
  std::string names;
  for (std::size_t i = 0; i < std::min(left.size(), kLeftNamed); ++i)
    names += fmt::format("{}{}", i == 0 ? "" : ", ",
                         left[i].is_string() ? clean(left[i].get<std::string>()) : "?");
  if (left.size() > kLeftNamed) names += fmt::format(" and {} more", left.size() - kLeftNamed);
  return std::unexpected(Error{
      Code::timeout,
      fmt::format("Naru is down, but {} of its containers could not be stopped: {}", left.size(), names), 0,
      "`naru up` finds them again; see `naru ps`, then `naru down --all` once more"});
}

// What goes on without Naru, so that nobody takes "down" for "gone".
std::string running_on(const ControlClient& control) {
  const auto answer = control.get("/v1/ps");
  if (!answer) return "Containers run on";
  std::set<std::string> apps;
  std::size_t count = 0;
  for (const Json& instance : list(*answer, "instances")) {
    if (const std::string phase = text(instance, "phase"); phase != "ready" && phase != "running") continue;
    ++count;
    apps.insert(text(instance, "app"));
  }
  if (count == 0) return "No container runs";
  return fmt::format("{} container{} of {} run{} on", count, count == 1 ? "" : "s", fmt::join(apps, ", "),
                     count == 1 ? "s" : "");
}

// Nobody is there to be stopped: for `down` that is well, but containers that an earlier one left run on.
Done down_already(const Session& session, const ControlPlace& place, const Error& error, bool all) {
  const std::string option = place.data == ControlPlace{}.data ? "" : fmt::format(" --data {}", place.data);
  const std::string remedy = fmt::format("sudo naru up --detach{0} && sudo naru down --all{0}", option);
  if (all)
    return std::unexpected(
        Error{error.code, fmt::format("{}; who is down cannot stop containers that run on", error.message()),
              0, fmt::format("start it, so that it finds them: {}", remedy)});
  if (session.json)
    session.document({{"stopping", false}, {"all", false}, {"left", Json::array()}});
  else
    session.print("{}: it is down already. Should containers of it run on, this stops them: {}\n",
                  error.message(), remedy);
  return 0;
}

// Some things are asked over the socket alone, by who is root on the machine where Naru runs.
Result<void> check_here(const ControlPlace& place, std::string_view command) {
  if (place.local()) return {};
  return std::unexpected(Error{
      Code::forbidden,
      fmt::format("`naru {}` works only on the machine where Naru runs, and NARU_URL leads to {}", command,
                  clean(place.url)),
      0,
      fmt::format("on that machine: sudo naru {0}; or, if it is this one: sudo env -u NARU_URL naru {0}",
                  command)});
}

}  // namespace

Done down(const Session& session, const DownOptions& options) {
  const ControlPlace place = session.place();
  TRY(check_here(place, options.all ? "down --all" : "down"));
  const ControlClient control(place);
  const std::string on = options.all ? "" : running_on(control);
  const auto told = control.post("/v1/down", {{"all", options.all}});
  if (!told && told.error().code == Code::unavailable && place.local())
    return down_already(session, place, told.error(), options.all);
  if (!told) return std::unexpected(told.error());
  const Json& answer = *told;
  // Down means down: the next `naru up` must find the folder free.
  const auto deadline = std::chrono::steady_clock::now() + milliseconds(options.all ? 120'000 : 30'000);
  const Fd lock(::open(ipc::DataFolder{place.data}.lock().c_str(), O_RDONLY | O_CLOEXEC));
  bool free = !lock.valid();
  while (!free && std::chrono::steady_clock::now() < deadline) {
    free = ::flock(lock.get(), LOCK_EX | LOCK_NB) == 0;
    if (!free) std::this_thread::sleep_for(kPause);
  }
  if (!free)
    return std::unexpected(
        Error{Code::timeout, "Naru has been told to stop but has not ended yet", 0,
              fmt::format("see {}", ipc::DataFolder{place.data}.process_log("supervisor").string())});
  if (const Json& left = list(answer, "left"); !left.empty()) return tell_left(session, answer, left);
  if (session.json)
    session.document(answer);
  else
    session.say(
        options.all
            ? "Naru is down, every container is stopped, and its networks and cgroups are gone. Volumes "
              "are kept; `naru up` starts again what ran.\n"
            : fmt::format(
                  "Naru is down. {}; nobody is answered at the applications' addresses until `naru up`.\n",
                  on));
  return 0;
}

Done open_console(const Session& session) {
  TRY(check_here(session.place(), "open"));
  const Json link = TRY(session.control().post("/v1/login-link"));
  if (session.json)
    session.document(link);
  else
    session.print("{}\n", text(link, "url"));
  if (const std::string elsewhere = text(link, "https"); !session.json && !elsewhere.empty())
    session.notice("from another machine: " + elsewhere);
  return 0;
}

}  // namespace naru::cli
