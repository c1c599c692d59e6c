#include "image/bootstrap.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <deque>

#include "base/environment.h"
#include "base/take.h"
#include "image/files.h"

namespace naru::image {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kMaxSourceFile = 1U << 20;
constexpr std::size_t kTailLines = 20;

std::vector<std::string_view> words(std::string_view text) {
  std::vector<std::string_view> found;
  for (std::size_t at = 0; (at = text.find_first_not_of(" \t\r\n", at)) != std::string_view::npos;) {
    const auto end = std::min(text.find_first_of(" \t\r\n", at), text.size());
    found.push_back(text.substr(at, end - at));
    at = end;
  }
  return found;
}

std::vector<std::string_view> lines(std::string_view text) {
  std::vector<std::string_view> found;
  while (!text.empty()) found.push_back(take_until(text, '\n'));
  return found;
}

bool belongs(std::string_view suite, std::string_view wanted) {
  if (!suite.starts_with(wanted)) return false;
  const auto rest = suite.substr(wanted.size());
  return rest.empty() || rest == "-updates" || rest == "-security" || rest == "-backports" ||
         rest == "/updates";
}

// "deb [signed-by=...] http://... bookworm main": the suite is the second word after the options.
bool line_belongs(std::string_view line, std::string_view wanted) {
  auto parts = words(line);
  if (parts.empty() || parts[0] != "deb") return false;
  std::size_t at = 1;
  if (at < parts.size() && parts[at].starts_with('[')) {
    while (at < parts.size() && !parts[at].ends_with(']')) ++at;
    ++at;
  }
  return at + 1 < parts.size() && belongs(parts[at + 1], wanted);
}

bool stanza_belongs(const std::vector<std::string_view>& stanza, std::string_view wanted) {
  bool suite = false, binary = false, enabled = true;
  std::string field;
  for (const std::string_view line : stanza) {
    if (line.starts_with('#')) continue;
    const bool goes_on = line.starts_with(' ') || line.starts_with('\t');
    const auto colon = line.find(':');
    if (!goes_on && colon != std::string_view::npos) {
      field = line.substr(0, colon);
      std::ranges::transform(field, field.begin(),
                             [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    }
    for (const std::string_view word :
         words(goes_on ? line : line.substr(colon == std::string_view::npos ? line.size() : colon + 1))) {
      if (field == "suites") suite = suite || belongs(word, wanted);
      if (field == "types") binary = binary || word == "deb";
      if (field == "enabled") enabled = word != "no" && word != "false" && word != "0";
    }
  }
  return suite && binary && enabled;
}

std::string deb822_of_suite(std::string_view content, std::string_view suite) {
  std::string kept;
  std::vector<std::string_view> stanza;
  const auto close = [&] {
    if (stanza_belongs(stanza, suite)) {
      for (const std::string_view line : stanza) kept += fmt::format("{}\n", line);
      kept += '\n';
    }
    stanza.clear();
  };
  for (const std::string_view line : lines(content)) {
    if (words(line).empty())
      close();
    else
      stanza.push_back(line);
  }
  close();
  return kept;
}

// A folder that goes with its owner.
class ScratchFolder {
 public:
  static Result<ScratchFolder> make() {
    const std::string base = environment_variable("TMPDIR").value_or("");
    std::string path = fmt::format("{}/naru-bootstrap-XXXXXX", base.empty() ? "/tmp" : base);
    if (!::mkdtemp(path.data())) return fail_errno(file_code(errno), "make the folder {}", path);
    return ScratchFolder(path);
  }
  ScratchFolder(ScratchFolder&& other) noexcept : path(std::exchange(other.path, {})) {}
  ~ScratchFolder() {
    std::error_code ignored;
    if (!path.empty()) fs::remove_all(path, ignored);
  }
  fs::path path;

 private:
  explicit ScratchFolder(fs::path made) : path(std::move(made)) {}
};

struct Process {
  pid_t pid = -1;
  Fd output;
};

Result<Process> spawn(const std::vector<std::string>& argv, const std::vector<std::string>& extra_env) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(Code::system, "pipe");
  Fd out(ends[0]), in(ends[1]);
  std::vector<std::string> env = extra_env;
  for (char** at = environ; *at; ++at) env.emplace_back(*at);
  // What it mounts goes with it, however it ends.
  std::vector<std::string> alone{"unshare", "--mount", "--propagation=private", "--"};
  alone.insert(alone.end(), argv.begin(), argv.end());
  std::vector<char*> args, variables;
  for (const std::string& arg : alone) args.push_back(const_cast<char*>(arg.c_str()));
  for (const std::string& variable : env) variables.push_back(const_cast<char*>(variable.c_str()));
  args.push_back(nullptr);
  variables.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, in.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, in.get(), 2);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  // A group of its own, so that a timeout ends all of it.
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
  Process process{-1, std::move(out)};
  const int error =
      ::posix_spawnp(&process.pid, args[0], &actions, &attributes, args.data(), variables.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return std::unexpected(Error{Code::system, "start unshare (util-linux)", error, {}});
  return process;
}

// While it lives, Ctrl-C and its like come as something to read: who waits can clean up.
class Interruptions {
 public:
  Interruptions() {
    sigset_t wanted;
    sigemptyset(&wanted);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&wanted, signal);
    ::pthread_sigmask(SIG_BLOCK, &wanted, &before_);
    fd_ = Fd(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  }
  ~Interruptions() {
    signalfd_siginfo taken{};
    while (::read(fd_.get(), &taken, sizeof taken) > 0) {
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  Interruptions(const Interruptions&) = delete;
  Interruptions& operator=(const Interruptions&) = delete;
  int fd() const { return fd_.get(); }

 private:
  sigset_t before_{};
  Fd fd_;
};

// Runs to the end, output line by line; bootstrap_failed with its last lines.
Result<> run(const std::vector<std::string>& argv, const std::vector<std::string>& env, milliseconds timeout,
             const std::function<void(std::string_view)>& on_line) {
  const Interruptions interruptions;
  const Process process = TRY(spawn(argv, env));
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  std::deque<std::string> tail;
  std::string pending;
  bool late = false, interrupted = false;
  for (char chunk[4096];;) {
    const auto left =
        std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    pollfd waiting[] = {{process.output.get(), POLLIN, 0}, {interruptions.fd(), POLLIN, 0}};
    const int ready = left <= 0 ? 0 : ::poll(waiting, 2, static_cast<int>(std::min<long>(left, 60'000)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0 && left > 0) continue;
    interrupted = ready > 0 && waiting[1].revents != 0;
    late = ready <= 0;
    if (late || interrupted) {
      ::kill(-process.pid, SIGKILL);
      break;
    }
    const ssize_t got = ::read(process.output.get(), chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    pending.append(chunk, static_cast<std::size_t>(got));
    for (std::size_t end; (end = pending.find_first_of("\r\n")) != std::string::npos;
         pending.erase(0, end + 1)) {
      if (end == 0) continue;
      if (on_line) on_line(std::string_view(pending).substr(0, end));
      tail.push_back(pending.substr(0, end));
      if (tail.size() > kTailLines) tail.pop_front();
    }
    if (pending.size() > (64U << 10)) pending.clear();  // no line of a person's
  }
  int status = 0;
  while (::waitpid(process.pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!late && !interrupted && WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
    return fail(Code::not_found, "{} is not installed (apt-get install {})", argv[0], argv[0]);
  if (interrupted)
    return std::unexpected(Error{Code::bootstrap_failed, argv[0] + " was interrupted", 0,
                                 "nothing is left of it; begin again when you like"});
  const std::string how = late                ? fmt::format("took longer than {}", humanize(timeout))
                          : WIFEXITED(status) ? fmt::format("ended with {}", WEXITSTATUS(status))
                                              : fmt::format("was killed by signal {}", WTERMSIG(status));
  return fail(Code::bootstrap_failed, "{} {}: {}\ncommand: {}", argv[0], how, fmt::join(tail, "\n"),
              fmt::join(argv, " "));
}

// Proxy and validity as the host's apt has them: its mirror may be a snapshot, or behind a proxy.
Result<std::vector<std::string>> host_apt_options() {
  std::vector<std::string> options;
  const auto take = [&](std::string_view line) {
    const bool wanted = line.starts_with("Acquire::http::Proxy") || line.starts_with("Acquire::https::") ||
                        line.starts_with("Acquire::Check-") || line.starts_with("Acquire::Retries ");
    if (wanted && line.ends_with("\";") && options.size() < 100)
      options.emplace_back(line.substr(0, line.size() - 1));
  };
  TRY(run({"apt-config", "dump"}, {"LC_ALL=C.UTF-8"}, 30s, take));
  return options;
}

Result<std::vector<fs::path>> write_sources(const BootstrapOptions& options, const fs::path& scratch) {
  std::vector<fs::path> inputs{options.apt_etc / "sources.list"}, written;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(options.apt_etc / "sources.list.d", error))
    inputs.push_back(entry.path());
  std::ranges::sort(inputs);
  for (const fs::path& input : inputs) {
    const std::string extension = input.extension();
    if (extension != ".list" && extension != ".sources") continue;
    const auto content = os::read_file(input, kMaxSourceFile);
    if (!content) {
      if (content.error().code == Code::not_found) continue;
      return std::unexpected(content.error());
    }
    const std::string kept = sources_of_suite(*content, options.suite, extension == ".sources");
    if (kept.empty()) continue;
    written.push_back(scratch / fmt::format("{}{}", written.size(), extension));
    TRY(os::write_file_atomically(written.back(), kept, {.mode = 0644}));
  }
  if (written.empty())
    return fail(Code::not_found, "{}: no apt source for {}", options.apt_etc.string(), options.suite);
  return written;
}

}  // namespace

std::string sources_of_suite(std::string_view content, std::string_view suite, bool deb822) {
  if (deb822) return deb822_of_suite(content, suite);
  std::string kept;
  for (const std::string_view line : lines(content))
    if (line_belongs(line, suite)) kept += fmt::format("{}\n", line);
  return kept;
}

std::vector<std::string> bootstrap_command(const BootstrapOptions& options,
                                           const std::vector<fs::path>& sources,
                                           const std::vector<std::string>& apt_options,
                                           const fs::path& out_tar) {
  std::vector<std::string> argv{"mmdebstrap", "--mode=root", "--variant=minbase", "--format=tar"};
  if (!options.include.empty()) argv.push_back(fmt::format("--include={}", fmt::join(options.include, ",")));
  for (const char* rule : {"path-exclude=/usr/share/man/*", "path-exclude=/usr/share/info/*",
                           "path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright",
                           "path-exclude=/usr/share/locale/*", "path-exclude=/usr/share/lintian/*"})
    argv.push_back(fmt::format("--dpkgopt={}", rule));
  argv.emplace_back("--aptopt=APT::Install-Recommends \"false\"");
  for (const std::string& option : apt_options) argv.emplace_back("--aptopt=" + option);
  // A build mounts the host's sources; the image itself must not know where it came from. mmdebstrap keeps
  // apt options in 99mmdebstrap.
  argv.emplace_back(
      "--customize-hook=rm -rf \"$1\"/etc/apt/sources.list.d/* \"$1\"/etc/apt/apt.conf.d/99mmdebstrap "
      "\"$1\"/etc/hostname \"$1\"/etc/resolv.conf "
      "\"$1\"/var/cache/ldconfig/aux-cache && find \"$1\"/var/log -type f -delete && : "
      ">\"$1\"/etc/apt/sources.list && "
      "printf 'APT::Install-Recommends \"false\";\\n' >\"$1\"/etc/apt/apt.conf.d/90no-recommends");
  argv.push_back(options.suite);
  argv.push_back(out_tar.string());
  for (const fs::path& source : sources) argv.push_back(source.string());
  return argv;
}

Result<> bootstrap(const BootstrapOptions& options, const fs::path& out_tar) {
  const auto valid = [](std::string_view name) {
    return !name.empty() && name.size() < 128 && name.front() != '-' &&
           std::ranges::all_of(
               name,
               [](char c) {
                 return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '+';
               });
  };
  if (!valid(options.suite))
    return fail(Code::invalid_argument, "suite '{}': letters, digits, '-', '.' and '+' only", options.suite);
  for (const std::string& package : options.include)
    if (!valid(package))
      return fail(Code::invalid_argument, "package '{}': letters, digits, '-', '.' and '+' only", package);
  const ScratchFolder scratch = TRY(ScratchFolder::make());
  const auto sources = TRY(write_sources(options, scratch.path));
  const auto apt_options = TRY(host_apt_options());
  const fs::path part = out_tar.parent_path() / fmt::format(".{}.part", out_tar.filename().string());
  const std::vector<std::string> env{fmt::format("SOURCE_DATE_EPOCH={}", options.source_date_epoch.count()),
                                     "LC_ALL=C.UTF-8", "TMPDIR=" + scratch.path.string()};
  auto made =
      run(bootstrap_command(options, sources, apt_options, part), env, options.timeout, options.progress);
  std::error_code error;
  if (made) fs::rename(part, out_tar, error);
  if (!made || error) {
    std::error_code ignored;
    fs::remove(part, ignored);
  }
  if (error)
    return std::unexpected(
        Error{file_code(error.value()), "rename to " + out_tar.string(), error.value(), {}});
  return made;
}

}  // namespace naru::image
