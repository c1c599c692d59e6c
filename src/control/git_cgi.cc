#include "control/git_cgi.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <charconv>
#include <csignal>
#include <filesystem>

#include "base/take.h"
#include "control/git_check.h"
#include "model/push_bounds.h"

namespace naru::control {

namespace {

constexpr std::size_t kMaxCgiHead = 64 << 10;
constexpr std::size_t kPiece = 64 << 10;
constexpr milliseconds kPatience{3'600'000};  // of one pipe operation: a hook may wait for a long build
constexpr milliseconds kReap{30'000};
constexpr std::uint64_t kLittleSpace = 16 << 20;
// What git and all that it starts begin with: a megabyte of a pack can inflate to a gigabyte of tree, so each
// has a GiB of address space (ulimit counts in KiB), and the kernel's out-of-memory killer takes them before
// Naru. A shell sets it, because nothing may run before it is set.
constexpr const char* kGit =
    "{ echo 500 >/proc/self/oom_score_adj; ulimit -v 1048576; } 2>/dev/null; exec git http-backend";

Result<std::pair<Fd, Fd>> pipe_ends() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(Code::system, "pipe");
  return std::pair<Fd, Fd>(Fd(ends[0]), Fd(ends[1]));
}

Result<pid_t> spawn_git(const std::vector<std::string>& environment, int input, int output) {
  std::vector<char*> entries;
  for (const std::string& entry : environment) entries.push_back(const_cast<char*>(entry.c_str()));
  entries.push_back(nullptr);
  std::string program = "sh", option = "-c", script = kGit;
  char* arguments[] = {program.data(), option.data(), script.data(), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input, 0);
  posix_spawn_file_actions_adddup2(&actions, output, 1);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t signals;
  sigemptyset(&signals);
  posix_spawnattr_setsigmask(&attributes, &signals);
  sigaddset(&signals, SIGPIPE);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  posix_spawnattr_setsigdefault(&attributes, &signals);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  pid_t pid = 0;
  const int code = ::posix_spawn(&pid, "/bin/sh", &actions, &attributes, arguments, entries.data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (code != 0) return std::unexpected(Error{Code::system, "/bin/sh does not start", code, {}});
  return pid;
}

struct CgiHead {
  int status = 200;
  std::string content_type = "application/octet-stream";
  io::Headers headers;
};

Result<CgiHead> parse_cgi_head(std::string_view text) {
  CgiHead head;
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const auto colon = line.find(':');
    if (colon == std::string_view::npos)
      return fail(Code::malformed, "git http-backend answered '{}'", line.substr(0, 100));
    const std::string_view name = line.substr(0, colon);
    std::string_view value = line.substr(colon + 1);
    while (value.starts_with(' ')) value.remove_prefix(1);
    if (io::http1::iequals(name, "status"))
      std::from_chars(value.data(), value.data() + value.size(), head.status);
    else if (io::http1::iequals(name, "content-type"))
      head.content_type = value;
    else if (!io::http1::iequals(name, "content-length"))
      head.headers.push_back({std::string(name), std::string(value)});
  }
  if (head.status < 200 || head.status > 599)
    return fail(Code::malformed, "git http-backend answered the status {}", head.status);
  return head;
}

// git says only that the pack is too large, or that a file cannot be written.
std::string push_hint(std::uint64_t received, const PushBounds& bounds) {
  if (received > bounds.bytes) {
    const std::uint64_t needed = (received >> 20) + 1;
    return fmt::format(
        "hint: this push has {} MiB, the bound is {} MiB; take large files out of its commits (a volume or "
        "an "
        "image can bring them){}\n",
        received >> 20, bounds.bytes >> 20,
        needed > kMostPushMiB ? "" : fmt::format(", or start Naru with `naru up --max-push-mb {}`", needed));
  }
  std::error_code error;
  const std::uint64_t free = std::filesystem::space(bounds.folder, error).available;
  if (error || free >= std::max(received, kLittleSpace)) return {};
  return fmt::format(
      "hint: only {} MiB are free on the disk of Naru's data: free space, e.g. with `naru prune`, and see "
      "`naru "
      "doctor`\n",
      free >> 20);
}

// Packets with a band of 1 to 3 as their fifth byte: the client prints what comes in band 2
// (gitprotocol-pack(5), "side-band-64k"). One that did not ask for it gets no hint.
std::string hint_packet(std::string_view answer, const std::string& hint) {
  const bool side_band = answer.size() > 4 && answer[4] >= 1 && answer[4] <= 3;
  return side_band && !hint.empty() ? fmt::format("{:04x}\x02{}", hint.size() + 5, hint) : std::string();
}

// What git answers, packet by packet, until its report (band 1): of two pushes that came at once it says to
// the later one only that it "cannot lock ref". After that, as a packet of its own, comes what to do.
class LostRace {
 public:
  // What may be sent on of all that has come; the rest is the beginning of a packet (64 KiB at most).
  std::string pass(std::string_view bytes) {
    held_ += bytes;
    std::string out;
    while (!over_ && held_.size() >= 4) {
      std::size_t size = 0;
      const auto [end, error] = std::from_chars(held_.data(), held_.data() + 4, size, 16);
      const bool flush = size == 0;
      over_ = error != std::errc() || end != held_.data() + 4 || (size < 5 && !flush);
      if (over_ || held_.size() < size) break;
      const std::string packet = held_.substr(0, flush ? 4 : size);
      const char band = flush ? '\2' : packet[4];
      over_ = band != '\2' && packet.size() > 5;  // without content: git says that it is still there
      held_.erase(0, packet.size());
      out += packet;
      if (band == '\2')
        out += hint_packet(packet, hint(std::string_view(packet).substr(std::min(packet.size(), 5UL))));
    }
    return over_ ? out + rest() : out;
  }
  std::string rest() { return std::exchange(held_, {}); }

 private:
  static std::string hint(std::string_view text) {
    constexpr std::string_view kSays = "error: cannot lock ref '";
    if (!text.starts_with(kSays)) return {};
    text.remove_prefix(kSays.size());
    const std::string_view ref = take_until(text, '\'');
    const bool moved = text.starts_with(": is at ") || text.starts_with(": reference already exists");
    if (!moved || !ref.starts_with(kHeads)) return {};
    return fmt::format("naru: another push came first\nhint: {}\n", second_push_remedy(ref));
  }

  std::string held_;
  bool over_ = false;
};

// Both directions of one exchange.
struct Exchange {
  Exchange(io::Request& r, io::ResponseWriter& w, GitProcess& g, const PushBounds& b)
      : request(r), response(w), git(g), bounds(b), input_over(r.reactor()) {}
  io::Request& request;
  io::ResponseWriter& response;
  GitProcess& git;
  const PushBounds bounds;
  std::uint64_t received = 0;
  io::Event input_over;
  Result<void> input_result, output_result;
  bool client_gone = false;
  std::array<char, kPiece> in_piece{}, out_piece{};

  // What git does not want to read any more (it has refused the pack) is read and thrown away: the client
  // listens to the answer only after its last byte.
  io::Task<void> feed() {
    bool wanted = true;
    while (true) {
      const auto got = co_await request.read(in_piece);
      if (!got) input_result = std::unexpected(got.error());
      if (!got || *got == 0) break;
      received += *got;
      if (wanted)
        wanted = (co_await git.input.write(std::string_view(in_piece.data(), *got), io::after(kPatience)))
                     .has_value();
    }
    git.input.close();
    // Half a pack is of no use: nothing of it is taken.
    if (!input_result) git.terminate();
    input_over.raise();
  }

  io::Task<void> answer() {
    output_result = co_await answer_or_fail();
    // To its end, whoever listens: hooks must not meet a closed pipe.
    while (true) {
      const auto got = co_await git.output.read(out_piece, io::after(kPatience));
      if (!got || *got == 0) break;
    }
  }

  io::Task<Result<void>> answer_or_fail() {
    std::string head;
    std::size_t end = std::string::npos, gap = 0;
    while (end == std::string::npos) {
      CO_TRY(const std::size_t got, co_await git.output.read(out_piece, io::after(kPatience)));
      if (got == 0) {
        CO_TRY_VOID(co_await input_over.wait());
        if (!input_result) co_return std::unexpected(input_result.error());  // why git was ended
        co_return std::unexpected(
            Error{Code::internal, "git http-backend ended without an answer", 0,
                  "see whether `naru doctor` finds git; control's log says what git said"});
      }
      head.append(out_piece.data(), got);
      const std::size_t crlf = head.find("\r\n\r\n"), lf = head.find("\n\n");
      end = std::min(crlf, lf);
      gap = crlf < lf ? 4 : 2;
      if (end == std::string::npos && head.size() > kMaxCgiHead)
        co_return fail(Code::too_large, "git http-backend answered a head above {} bytes", kMaxCgiHead);
    }
    CO_TRY(const CgiHead parsed, parse_cgi_head(std::string_view(head).substr(0, end)));
    CO_TRY_VOID(co_await input_over.wait());
    if (!input_result) co_return std::unexpected(input_result.error());
    for (const io::Header& field : parsed.headers) response.header(field.name, field.value);
    CO_TRY_VOID(co_await response.start(parsed.status, std::nullopt, parsed.content_type));
    head.erase(0, end + gap);
    const std::string hint = push_hint(received, bounds);
    while (!hint.empty() && head.size() < 5) {
      CO_TRY(const std::size_t got, co_await git.output.read(out_piece, io::after(kPatience)));
      if (got == 0) break;
      head.append(out_piece.data(), got);
    }
    LostRace race;
    CO_TRY_VOID(co_await response.write(hint_packet(head, hint) + race.pass(head)));
    while (true) {
      CO_TRY(const std::size_t got, co_await git.output.read(out_piece, io::after(kPatience)));
      if (got == 0) break;
      CO_TRY_VOID(co_await response.write(race.pass(std::string_view(out_piece.data(), got))));
    }
    CO_TRY_VOID(co_await response.write(race.rest()));
    co_return co_await response.finish();
  }
};

}  // namespace

Result<GitProcess> GitProcess::start(io::Reactor& reactor, const std::vector<std::string>& environment) {
  auto in = TRY(pipe_ends());
  auto out = TRY(pipe_ends());
  const pid_t pid = TRY(spawn_git(environment, in.first.get(), out.second.get()));
  GitProcess process(pid, {}, {});  // owns the process from here on
  process.input = TRY(io::Stream::adopt(reactor, std::move(in.second)));
  process.output = TRY(io::Stream::adopt(reactor, std::move(out.first)));
  return process;
}

GitProcess::GitProcess(GitProcess&& other) noexcept
    : input(std::move(other.input)), output(std::move(other.output)), pid_(std::exchange(other.pid_, 0)) {}

GitProcess::~GitProcess() {
  if (pid_ <= 0) return;
  ::kill(-pid_, SIGKILL);
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
}

void GitProcess::terminate() {
  if (pid_ > 0) ::kill(-pid_, SIGTERM);
}

io::Task<void> GitProcess::reap(milliseconds patience) {
  const io::Deadline deadline = io::after(patience);
  int status = 0;
  while (::waitpid(pid_, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > deadline) co_return;  // the destructor kills it
    co_await io::sleep(output.reactor(), 5ms);
  }
  pid_ = 0;
}

io::Task<Result<void>> run_git(io::Request& request, io::ResponseWriter& response,
                               const std::vector<std::string>& environment, const PushBounds& bounds) {
  CO_TRY(GitProcess git, GitProcess::start(request.reactor(), environment));
  auto exchange = std::make_unique<Exchange>(request, response, git, bounds);
  co_await io::Both(exchange->feed(), exchange->answer());
  const bool cut_short = !exchange->input_result;
  Result<void> result = exchange->output_result;
  exchange.reset();
  co_await git.reap(cut_short ? milliseconds(2'000) : kReap);
  co_return result;
}

}  // namespace naru::control
