// `naru exec`: a program in a running container, over frames on an upgraded connection (docs/api.md).
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <charconv>
#include <set>

#include "cli/exec_input.h"
#include "cli/target.h"
#include "cli/verbs.h"
#include "io/exec_frames.h"
#include "model/json_text.h"

namespace naru::cli {

namespace {

constexpr std::size_t kPiece = 16 << 10;
constexpr milliseconds kQuiet = std::chrono::hours(24 * 365);
constexpr std::size_t kMaxCollected = 32U << 20;  // of output, with --json
using io::FrameKind;

winsize terminal_size() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) {
    size.ws_row = 24;
    size.ws_col = 80;
  }
  return size;
}

// Every key goes to the program, Ctrl-C too; as before when it goes out of scope.
class RawTerminal {
 public:
  RawTerminal() {
    if (::tcgetattr(STDIN_FILENO, &before_) != 0) return;
    termios raw = before_;
    ::cfmakeraw(&raw);
    active_ = ::tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
  }
  ~RawTerminal() {
    if (active_) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
  }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  termios before_{};
  bool active_ = false;
};

// SIGWINCH as something to read.
class Resizes {
 public:
  static Result<io::Stream> watch(io::Reactor& reactor) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGWINCH);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    Fd fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd) return fail_errno(Code::system, "signalfd");
    return io::Stream::adopt(reactor, std::move(fd));
  }
};

class Bridge {
 public:
  using Sink = std::function<Result<void>(FrameKind, std::string_view)>;
  Bridge(io::Reactor& reactor, Sink sink) : sink_(std::move(sink)), frames_(reactor) {}
  io::Stream server, input, resizes;  // input: closed when nothing is to be sent
  std::string pending;

  io::Task<Result<int>> run() {
    co_await io::Both(receive(), send());
    if (failed_) co_return std::unexpected(*failed_);
    if (!status_)
      co_return fail(Code::closed,
                     "the connection to control ended before the program did; its exit status is not known");
    co_return *status_;
  }

 private:
  io::Task<void> receive() {
    const auto buffer = std::make_unique<std::array<char, kPiece>>();
    while (take_frames()) {
      const auto got = co_await server.read(*buffer);
      if (!got || *got == 0) break;
      pending.append(buffer->data(), *got);
    }
    input.close();
    resizes.close();
  }

  // False when it is over.
  bool take_frames() {
    while (true) {
      const auto frame = io::take_frame(pending);
      if (!frame) {
        failed_ = frame.error();
        return false;
      }
      if (!*frame) return true;
      const auto& [kind, bytes] = **frame;
      if (auto taken = sink_(kind, bytes); !taken) {
        failed_ = taken.error();
        return false;
      }
      if (kind == FrameKind::exit_status) {
        int status = 255;
        std::from_chars(bytes.data(), bytes.data() + bytes.size(), status);
        status_ = status & 0xff;
        return false;
      }
    }
  }

  io::Task<void> send() { co_await io::Both(send_input(), send_resizes()); }

  io::Task<void> send_input() {
    const auto buffer = std::make_unique<std::array<char, kPiece>>();
    while (input.open()) {
      const auto got = co_await input.read(*buffer);
      if (!got || *got == 0) break;
      co_await frame(FrameKind::stdin_bytes, std::string_view(buffer->data(), *got));
    }
    co_await frame(FrameKind::stdin_bytes, {});
  }

  io::Task<void> send_resizes() {
    signalfd_siginfo info{};
    while (resizes.open()) {
      const auto got = co_await resizes.read(std::span(reinterpret_cast<char*>(&info), sizeof info));
      if (!got || *got == 0) co_return;
      const winsize size = terminal_size();
      const char bytes[] = {static_cast<char>(size.ws_row >> 8), static_cast<char>(size.ws_row & 0xff),
                            static_cast<char>(size.ws_col >> 8), static_cast<char>(size.ws_col & 0xff)};
      co_await frame(FrameKind::resize, std::string_view(bytes, sizeof bytes));
    }
  }

  io::Task<void> frame(FrameKind kind, std::string_view bytes) {
    if (!status_) co_await frames_.write(server, kind, bytes);
  }

  Sink sink_;
  io::FrameWriter frames_;
  std::optional<int> status_;
  std::optional<Error> failed_;
};

Bridge::Sink to_terminal(const Terminal& terminal) {
  return [&terminal](FrameKind kind, std::string_view bytes) -> Result<void> {
    if (kind == FrameKind::stdout_bytes) terminal.out(bytes);
    if (kind == FrameKind::stderr_bytes) terminal.err(bytes);
    return {};
  };
}

struct Collected {
  std::string out, err;
};
Bridge::Sink into(Collected& collected) {
  return [&collected](FrameKind kind, std::string_view bytes) -> Result<void> {
    if (kind != FrameKind::stdout_bytes && kind != FrameKind::stderr_bytes) return {};
    if (collected.out.size() + collected.err.size() + bytes.size() > kMaxCollected)
      return std::unexpected(Error{Code::too_large,
                                   fmt::format("the command prints more than {} MB", kMaxCollected >> 20), 0,
                                   "leave --json out: then its output is passed on as it comes"});
    (kind == FrameKind::stdout_bytes ? collected.out : collected.err).append(bytes);
    return {};
  };
}

io::Task<Result<int>> converse(io::Reactor& reactor, Bridge::Sink sink, const ControlClient& control,
                               io::FetchRequest request, io::Stream input, io::Stream resizes) {
  CO_TRY(io::ClientOptions options, control.options());
  io::HttpClient client(reactor, std::move(options));
  auto opened = co_await client.open(std::move(request));
  if (!opened) co_return std::unexpected(control.explain(opened.error()));
  if (opened->status() != 101) {
    std::string body;
    const auto buffer = std::make_unique<std::array<char, kPiece>>();
    while (body.size() < 64 << 10) {
      const auto got = co_await opened->read(*buffer);
      if (!got || *got == 0) break;
      body.append(buffer->data(), *got);
    }
    co_return std::unexpected(ControlClient::refusal(opened->status(), body));
  }
  Bridge bridge(reactor, std::move(sink));
  bridge.server = opened->take_stream(bridge.pending);
  bridge.input = std::move(input);
  bridge.resizes = std::move(resizes);
  co_return co_await bridge.run();
}

// The instance that is meant: ready before running, and of what everybody meets before the canary.
Result<std::string> instance_of(const ControlClient& control, const Target& target) {
  const Json answer = TRY(control.get("/v1/ps?" + query_part("app", target.app)));
  std::set<std::string> services;
  std::string best;
  int best_rank = -1;
  for (const Json& instance : list(answer, "instances")) {
    const std::string phase = text(instance, "phase"), side = text(instance, "side"),
                      service = text(instance, "service"), id = text(instance, "id");
    if (text(instance, "env") != target.env || (phase != "ready" && phase != "running")) continue;
    services.insert(service);
    if (!target.service.empty() && service != target.service && id != target.service) continue;
    const int rank = (phase == "ready" ? 2 : 0) + (side == "stable" || side == "both" ? 1 : 0);
    if (rank > best_rank) {
      best_rank = rank;
      best = id;
    }
  }
  const std::string names = fmt::format("{}", fmt::join(services, ", "));
  if (target.service.empty() && services.size() > 1)
    return std::unexpected(
        Error{Code::invalid_argument, fmt::format("{} has several services", target.text()), 0,
              fmt::format("name one, as {}/{}; there are: {}", target.app, *services.begin(), names)});
  if (best.empty())
    return std::unexpected(
        Error{Code::not_found,
              fmt::format("nothing runs of {}{}{}", target.text(), target.service.empty() ? "" : "/",
                          target.service),
              0, services.empty() ? "see `naru ps`" : fmt::format("these services run: {}", names)});
  return best;
}

}  // namespace

Done exec(const Session& session, const ExecOptions& options) {
  const Target target = TRY(parse_service(options.target));
  if (session.json && options.tty)
    return std::unexpected(Error{Code::invalid_argument, "--json and --tty do not go together", 0,
                                 "a terminal mixes output and errors: leave one of them out"});
  const ControlClient control = session.control();
  const bool terminals = !session.json && ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
  // As with ssh: a person at a terminal means to type.
  const bool by_itself = !options.interactive && !options.tty && terminals;
  const bool tty = options.tty || by_itself, interactive = options.interactive || by_itself;
  const std::string instance = TRY(instance_of(control, target));
  const auto reactor = TRY(io::Reactor::create());
  io::Stream input, resizes;
  if (tty) resizes = TRY(Resizes::watch(*reactor));  // before it is measured: no change falls in between
  const winsize size = terminal_size();
  io::FetchRequest request =
      control.request("POST", fmt::format("/v1/instances/{}/exec", path_part(instance)));
  request.headers.push_back({"Connection", "Upgrade"});
  request.headers.push_back({"Upgrade", "naru-exec"});
  request.headers.push_back({"Content-Type", "application/json"});
  request.body = json_text(Json{{"argv", options.argv},
                                {"env", options.env},
                                {"user", options.user},
                                {"cwd", options.cwd},
                                {"tty", tty},
                                {"rows", size.ws_row},
                                {"cols", size.ws_col}});
  request.idle_timeout = kQuiet;
  std::optional<InputPump> pump;
  if (interactive) input = TRY(InputPump::start(*reactor, STDIN_FILENO, pump));
  std::optional<RawTerminal> raw;
  if (tty && interactive && ::isatty(STDIN_FILENO) == 1) raw.emplace();
  Collected collected;
  const int status =
      TRY(reactor->block_on(converse(*reactor, session.json ? into(collected) : to_terminal(session.terminal),
                                     control, std::move(request), std::move(input), std::move(resizes))));
  if (session.json)
    session.document({{"stdout", collected.out}, {"stderr", collected.err}, {"exit", status}});
  return status;
}

}  // namespace naru::cli
