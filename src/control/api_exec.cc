// A command in a running container, its streams carried as frames over the upgraded connection (docs/api.md).
#include <fcntl.h>
#include <sys/ioctl.h>

#include "control/api.h"
#include "io/exec_frames.h"

namespace naru::control {

namespace {

constexpr std::size_t kPiece = 32 << 10;
constexpr std::size_t kMaxArguments = 256, kMaxArgumentBytes = 128 << 10;
constexpr milliseconds kWrite{60'000}, kMostPause{200};

using io::FrameKind;

Result<std::vector<std::string>> strings(const Json& body, const char* name) {
  std::vector<std::string> out;
  const Json list = body.value(name, Json::array());
  std::size_t bytes = 0;
  if (!list.is_array() || list.size() > kMaxArguments)
    return fail(Code::invalid_argument, "'{}' must be a list of at most {} texts", name, kMaxArguments);
  for (const Json& item : list) {
    if (!item.is_string()) return fail(Code::invalid_argument, "'{}' must be a list of texts", name);
    out.push_back(item);
    bytes += out.back().size();
  }
  if (bytes > kMaxArgumentBytes)
    return fail(Code::too_large, "'{}' is longer than {} bytes", name, kMaxArgumentBytes);
  return out;
}

Result<std::uint16_t> size_member(const Json& body, const char* name, std::uint16_t otherwise) {
  const auto found = body.find(name);
  if (found == body.end() || found->is_null()) return otherwise;
  if (!found->is_number_unsigned() || found->get<std::uint64_t>() > 10'000)
    return fail(Code::invalid_argument, "'{}' must be a number up to 10000", name);
  return found->get<std::uint16_t>();
}

Result<ipc::ExecRequest> exec_request(const Json& body, const std::string& container) {
  ipc::ExecRequest request;
  request.container = container;
  request.argv = TRY(strings(body, "argv"));
  if (request.argv.empty()) return fail(Code::invalid_argument, "'argv' is missing: which command?");
  request.env = TRY(strings(body, "env"));
  request.user = TRY(text_member(body, "user", ""));
  request.cwd = TRY(text_member(body, "cwd", ""));
  const auto tty = body.find("tty");
  request.tty = tty != body.end() && tty->is_boolean() && tty->get<bool>();
  request.rows = TRY(size_member(body, "rows", 24));
  request.cols = TRY(size_member(body, "cols", 80));
  return request;
}

// One exec and one client.
class Bridge {
 public:
  Bridge(Context& context, std::string exec, std::uint64_t connection, bool tty, io::Stream client,
         std::string pending, io::Stream in, io::Stream out, io::Stream err)
      : context_(context),
        exec_(std::move(exec)),
        connection_(connection),
        tty_(tty),
        client_(std::move(client)),
        pending_(std::move(pending)),
        in_(std::move(in)),
        out_(std::move(out)),
        err_(std::move(err)),
        frames_(context.reactor) {}

  io::Task<void> run() { co_await io::Both(read_client(), give_output()); }

 private:
  // ---- from the client
  io::Task<void> read_client() {
    while (co_await take_frames()) {
      const auto got = co_await client_.read(piece_in_);
      if (!got || *got == 0) break;
      pending_.append(piece_in_.data(), *got);
    }
    in_.close();
    if (over_) co_return;
    // The client has gone: what it started goes, too.
    auto job = [&launcher = context_.launcher, exec = exec_] { return launcher.kill_exec(exec); };
    (void)co_await io::offload(context_.reactor, context_.pool, std::move(job));
  }

  // False: a frame is not valid.
  io::Task<bool> take_frames() {
    while (true) {
      const auto frame = io::take_frame(pending_);
      if (!frame) co_return false;
      if (!*frame) co_return true;
      const auto& [kind, bytes] = **frame;
      if (kind == FrameKind::stdin_bytes && bytes.empty())
        end_input();
      else if (kind == FrameKind::stdin_bytes && in_.open())
        (void)co_await in_.write(bytes, io::after(kWrite));
      else if (kind == FrameKind::resize && bytes.size() == 4)
        resize(bytes);
    }
  }

  void end_input() {
    if (!tty_) in_.close();
    // A terminal ends its input with a character (^D), which the client sends itself.
  }
  void resize(const std::string& bytes);

  // ---- to the client
  io::Task<void> give_output() {
    co_await io::Both(pump(out_, FrameKind::stdout_bytes, piece_out_),
                      pump(err_, FrameKind::stderr_bytes, piece_err_));
    const std::string status = co_await exit_status();
    over_ = true;
    co_await frames_.write(client_, FrameKind::exit_status, status);
    client_.shutdown_write();
    client_.close();
  }

  io::Task<void> pump(io::Stream& from, FrameKind kind, std::span<char> piece) {
    if (!from.open()) co_return;
    while (true) {
      const auto got = co_await from.read(piece);
      if (!got || *got == 0) break;  // the end; EIO when a terminal's other side has closed
      co_await frames_.write(client_, kind, std::string_view(piece.data(), *got));
    }
  }

  // Asked again and again, so that no thread waits for a program that has closed its output and lives on.
  io::Task<std::string> exit_status() {
    for (milliseconds pause{1}; !context_.stopping; pause = std::min(pause * 2, kMostPause)) {
      const auto ended = context_.launcher.wait_exec(exec_, 0ms);
      if (ended) co_return std::to_string(ended->exit_code);
      if (ended.error().code != Code::timeout || context_.launcher.connection() != connection_) break;
      co_await io::sleep(context_.reactor, pause);
    }
    co_return "255";
  }

  Context& context_;
  std::string exec_;
  std::uint64_t connection_ = 0;  // the launcher's: on another one nobody tells of its end
  bool tty_ = false;
  io::Stream client_;
  std::string pending_;
  io::Stream in_, out_, err_;
  io::FrameWriter frames_;
  bool over_ = false;
  std::array<char, kPiece> piece_in_{}, piece_out_{}, piece_err_{};
};

void Bridge::resize(const std::string& bytes) {
  if (!tty_ || !out_.open()) return;
  const auto byte = [&](std::size_t i) {
    return static_cast<unsigned short>(static_cast<unsigned char>(bytes[i]));
  };
  winsize size{};
  size.ws_row = static_cast<unsigned short>(byte(0) << 8 | byte(1));
  size.ws_col = static_cast<unsigned short>(byte(2) << 8 | byte(3));
  (void)::ioctl(out_.fd(), TIOCSWINSZ, &size);
}

struct Streams {
  io::Stream in, out, err;
};
Result<Streams> streams_of(io::Reactor& reactor, ipc::ExecSession& session, bool tty) {
  Streams out;
  if (tty && session.fds.size() == 1) {
    Fd second(::fcntl(session.fds[0].get(), F_DUPFD_CLOEXEC, 0));
    if (!second) return fail_errno(Code::system, "dup of a terminal");
    out.in = TRY(io::Stream::adopt(reactor, std::move(second)));
    out.out = TRY(io::Stream::adopt(reactor, std::move(session.fds[0])));
    return out;
  }
  if (session.fds.size() != 3)
    return fail(Code::internal, "the launcher gave {} descriptors for an exec", session.fds.size());
  out.in = TRY(io::Stream::adopt(reactor, std::move(session.fds[0])));
  out.out = TRY(io::Stream::adopt(reactor, std::move(session.fds[1])));
  out.err = TRY(io::Stream::adopt(reactor, std::move(session.fds[2])));
  return out;
}

Result<std::string> container_of(const Call& call) {
  const std::string& id = call.parameters.front();
  return call.context.core.read([&](const State& state) -> Result<std::string> {
    const auto found = state.instances.find(id);
    if (found == state.instances.end() || !call.who.may(found->second.app))
      return fail(Code::not_found, "there is no instance '{}'", id.substr(0, 100));
    if (found->second.phase != InstancePhase::running && found->second.phase != InstancePhase::ready &&
        found->second.phase != InstancePhase::retiring)
      return fail(Code::conflict, "{} does not run", id);
    return found->second.container();
  });
}

Answer exec(Call& call) {
  CO_TRY(const Json body, co_await read_json(call));
  CO_TRY(const std::string container, container_of(call));
  CO_TRY(const ipc::ExecRequest request, exec_request(body, container));
  const std::uint64_t connection = call.context.launcher.connection();
  auto job = [&launcher = call.context.launcher, request] { return launcher.exec(request); };
  CO_TRY(ipc::ExecSession session, co_await call.work(std::move(job)));
  CO_TRY(Streams streams, streams_of(call.context.reactor, session, request.tty));
  std::string pending;
  CO_TRY(io::Stream client, co_await call.response.upgrade("naru-exec", pending));
  auto bridge = std::make_unique<Bridge>(call.context, session.exec, connection, request.tty,
                                         std::move(client), std::move(pending), std::move(streams.in),
                                         std::move(streams.out), std::move(streams.err));
  co_await bridge->run();
  co_return Result<void>();
}

constexpr Route kRoutes[] = {{"POST", "/v1/instances/{}/exec", Access::any_token, exec}};

}  // namespace

std::span<const Route> exec_routes() {
  return kRoutes;
}

}  // namespace naru::control
