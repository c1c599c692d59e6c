#include "control/checkout.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <charconv>
#include <fstream>

#include "base/fd.h"
#include "base/rng.h"
#include "base/take.h"
#include "base/utf8.h"
#include "os/file.h"
#include "os/process.h"

namespace naru::control {

namespace {

namespace fs = std::filesystem;

struct Pipe {
  Fd read, write;
  static Result<Pipe> open() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(Code::system, "pipe");
    return Pipe{Fd(ends[0]), Fd(ends[1])};
  }
};

Result<pid_t> spawn(const std::vector<std::string>& argv, const std::vector<std::string>& extra,
                    const Pipe& out, const Pipe& err) {
  std::vector<char*> arguments, environment;
  for (const std::string& a : argv) arguments.push_back(const_cast<char*>(a.c_str()));
  arguments.push_back(nullptr);
  for (const std::string& e : extra) environment.push_back(const_cast<char*>(e.c_str()));
  for (char** e = environ; *e != nullptr; ++e) environment.push_back(*e);
  environment.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.write.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, err.write.get(), 2);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t signals;
  sigemptyset(&signals);
  posix_spawnattr_setsigmask(&attributes, &signals);
  sigaddset(&signals, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &signals);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  const int code =
      ::posix_spawnp(&pid, argv[0].c_str(), &actions, &attributes, arguments.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (code != 0)
    return std::unexpected(Error{Code::system, fmt::format("{} does not start", argv[0]), code, {}});
  os::give_up_first(pid);
  return pid;
}

// Reads both pipes to their ends; false when the time is over.
bool drain(Pipe& out, Pipe& err, std::string& output, std::string& errors, std::size_t max_output,
           MonoTime deadline) {
  std::array<pollfd, 2> polls{pollfd{out.read.get(), POLLIN, 0}, pollfd{err.read.get(), POLLIN, 0}};
  std::array<char, 65536> buffer{};
  while (polls[0].fd >= 0 || polls[1].fd >= 0) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - SystemClock().mono()).count();
    if (left <= 0 || ::poll(polls.data(), 2, static_cast<int>(left)) == 0) return false;
    for (std::size_t i = 0; i < 2; ++i) {
      if (polls[i].fd < 0 || polls[i].revents == 0) continue;
      const ssize_t got = ::read(polls[i].fd, buffer.data(), buffer.size());
      if (got <= 0) {
        polls[i].fd = -1;
        continue;
      }
      std::string& into = i == 0 ? output : errors;
      const std::size_t room = (i == 0 ? max_output + 1 : std::size_t{16384}) -
                               std::min(into.size(), i == 0 ? max_output + 1 : std::size_t{16384});
      into.append(buffer.data(), std::min(room, static_cast<std::size_t>(got)));
      if (output.size() > max_output) return true;  // too much: nobody reads on
    }
  }
  return true;
}

std::vector<std::string> git(const ipc::DataFolder& data, const std::string& app,
                             std::vector<std::string> arguments) {
  std::vector<std::string> argv{"git",
                                "-c",
                                "core.hooksPath=/dev/null",
                                "-c",
                                "safe.directory=*",
                                "--git-dir=" + data.repository(app).string()};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return argv;
}

// Before anything is written: how much would it be?
Result<void> check_size(const ipc::DataFolder& data, const std::string& app, const std::string& commit,
                        const GitEnvironment& environment) {
  const std::string listing =
      TRY(run_program(git(data, app, {"ls-tree", "-r", "-l", "-z", commit}), environment, 64U << 20));
  std::uint64_t bytes = 0;
  std::size_t files = 0;
  std::string_view rest = listing;
  while (!rest.empty()) {  // <mode> SP <type> SP <object> SP <size, padded> TAB <path> NUL
    const auto end = rest.find('\0');
    std::string_view entry = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    entry = entry.substr(0, entry.find('\t'));
    const auto space = entry.rfind(' ');
    std::uint64_t size = 0;
    if (space != std::string_view::npos)
      std::from_chars(entry.data() + space + 1, entry.data() + entry.size(), size);
    bytes += size;
    ++files;
  }
  if (files > kMaxCheckoutFiles)
    return fail(Code::too_large, "the commit has {} files; {} is the most", files, kMaxCheckoutFiles);
  if (bytes > kMaxCheckoutBytes)
    return fail(Code::too_large, "the commit's files are {} MB; {} MB is the most", bytes >> 20,
                kMaxCheckoutBytes >> 20);
  return {};
}

// The checkout is the user's: no symbolic link in any part of the path is followed.
Result<std::string> read_bounded(const fs::path& checkout, const std::string& path) {
  const Fd root = TRY(os::open_folder(checkout));
  const Fd file = TRY(os::open_beneath(root.get(), path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  return os::read_fd(file.get(), format::kMaxComposeBytes, path);
}

}  // namespace

Result<std::string> run_program(const std::vector<std::string>& argv,
                                const std::vector<std::string>& environment, std::size_t max_output,
                                milliseconds timeout) {
  Pipe out = TRY(Pipe::open()), err = TRY(Pipe::open());
  const pid_t pid = TRY(spawn(argv, environment, out, err));
  out.write.reset();
  err.write.reset();
  std::string output, errors;
  const bool ended = drain(out, err, output, errors, max_output, SystemClock().mono() + timeout);
  if (!ended || output.size() > max_output) ::kill(pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!ended) return fail(Code::timeout, "{} took longer than {}", argv[0], humanize(timeout));
  if (output.size() > max_output)
    return fail(Code::too_large, "{} printed more than {} bytes", argv[0], max_output);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return fail(Code::system, "{} failed: {}", argv[0],
                printable(std::string_view(errors).substr(errors.size() > 500 ? errors.size() - 500 : 0)));
  return output;
}

bool is_commit_id(std::string_view text) {
  return (text.size() == 40 || text.size() == 64) &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

Result<CommitInfo> commit_info(const ipc::DataFolder& data, const std::string& app, const std::string& commit,
                               const GitEnvironment& environment) {
  if (!is_commit_id(commit))
    return fail(Code::invalid_argument, "'{}' is not a commit id", commit.substr(0, 80));
  const std::string text =
      TRY(run_program(git(data, app, {"log", "-1", "--format=%H%n%ct%n%an%n%s", commit}), environment));
  std::string_view rest = text;
  CommitInfo info;
  info.commit = take_until(rest, '\n');
  const std::string_view time = take_until(rest, '\n');
  std::int64_t seconds_since_epoch = 0;
  std::from_chars(time.data(), time.data() + time.size(), seconds_since_epoch);
  info.time = seconds(seconds_since_epoch);
  info.author = printable(beginning(take_until(rest, '\n'), 200));
  info.subject = printable(beginning(take_until(rest, '\n'), 300));
  return info;
}

Result<fs::path> check_out(const ipc::DataFolder& data, const std::string& app, const std::string& commit,
                           const GitEnvironment& environment) {
  if (!is_commit_id(commit))
    return fail(Code::invalid_argument, "'{}' is not a commit id", commit.substr(0, 80));
  fs::path folder = data.checkouts() / app / commit;
  std::error_code error;
  // Whoever comes for it makes it fresh: housekeeping lets it be for a while.
  if (::utimensat(AT_FDCWD, folder.c_str(), nullptr, AT_SYMLINK_NOFOLLOW) == 0) return folder;
  TRY(check_size(data, app, commit, environment));
  const fs::path fresh = data.checkouts() / app / (".new-" + secure_random_hex(8));
  fs::create_directories(fresh, error);
  if (error)
    return std::unexpected(Error{Code::system, fmt::format("{}: create", fresh.string()), error.value(), {}});
  const std::string index = "GIT_INDEX_FILE=" + (fresh.string() + ".index");
  GitEnvironment with_index = environment;
  with_index.push_back(index);
  const auto write = [&]() -> Result<void> {
    TRY(run_program(git(data, app, {"read-tree", commit}), with_index));
    TRY(run_program(git(data, app, {"--work-tree=" + fresh.string(), "checkout-index", "-a"}), with_index));
    return {};
  };
  auto written = write();
  fs::remove(fresh.string() + ".index", error);
  if (written) fs::rename(fresh, folder, error);
  if (!written || (error && !fs::exists(folder))) {
    const int code = error.value();
    fs::remove_all(fresh, error);
    if (!written) return std::unexpected(written.error());
    return std::unexpected(Error{Code::system, fmt::format("{}: rename", folder.string()), code, {}});
  }
  fs::remove_all(fresh, error);  // two pushes at once: the other one was first
  return folder;
}

Result<format::ComposeFile> read_compose(const fs::path& checkout, const std::string& app,
                                         const std::map<std::string, std::string>& variables,
                                         std::vector<Grant> grants) {
  for (const std::string_view name : format::kComposeFileNames) {
    std::error_code error;
    if (!fs::is_regular_file(fs::symlink_status(checkout / name, error))) continue;
    const std::string text = TRY(read_bounded(checkout, std::string(name)));
    format::ComposeInput input;
    input.file_name = name;
    input.app = app;
    input.variables = variables;
    input.grants = std::move(grants);
    input.files.read_file = [checkout](const std::string& path) { return read_bounded(checkout, path); };
    input.files.exists = [checkout](const std::string& path) {
      std::error_code ignored;
      return fs::exists(fs::symlink_status(checkout / path, ignored));
    };
    input.files.passes_link = [checkout](const std::string& path) {
      fs::path at = checkout;
      return std::ranges::any_of(fs::path(path), [&](const fs::path& part) {
        std::error_code ignored;
        return fs::is_symlink(fs::symlink_status(at /= part, ignored));
      });
    };
    return format::parse_compose(text, input);
  }
  return fail(Code::compose_missing, "the commit has no compose.yaml at its top");
}

Result<std::vector<std::pair<std::string, std::string>>> refs_of(const ipc::DataFolder& data,
                                                                 const std::string& app) {
  const std::string text =
      TRY(run_program(git(data, app, {"for-each-ref", "--format=%(objectname) %(refname)", "refs/heads"})));
  std::vector<std::pair<std::string, std::string>> refs;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view line = take_until(rest, '\n');
    const auto space = line.find(' ');
    if (space != std::string_view::npos) refs.emplace_back(line.substr(space + 1), line.substr(0, space));
  }
  return refs;
}

}  // namespace naru::control
