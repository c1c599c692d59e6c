// naru-bench-starts: how long it takes until a program runs in a container, for `./dev bench road`.
//
//   naru-bench-starts --socket=DATA/run/launcher.sock --layers=DATA/layers --blob=DIGEST --layer=DIFF_ID
//                     --media-type=TYPE --work=FOLDER [--n=20] [--runc=BUNDLE] [--seed=1]
//
// The program is date(1), which says the time at which it runs. Three ways take turns in an order that is
// drawn anew each round: Naru's launcher over its socket, `runc run` on BUNDLE (whose config.json names the
// root FOLDER/runc/root), and the least that the kernel allows: clone3, pivot_root, exec. Each has its own
// pid, mount, network, ipc, uts and cgroup namespace, an overlay over the same layer, and a cgroup. A fourth
// is Naru's start with a network: a link to the environment's bridge and an address.
//
// Prints one JSON object: for each way lists of microseconds: `start` (until the program inside reads the
// clock), `answer` (Naru: until the launcher's answer), `cycle` (until it has ended and nothing is left).
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <mutex>
#include <set>

#include "base/rng.h"
#include "ipc/launcher_client.h"
#include "os/cgroup.h"
#include "os/file.h"
#include "os/process.h"

namespace naru {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNetwork = "bench.starts";
constexpr std::size_t kMaxProcText = 1 << 20;

struct Options {
  std::string socket, blob, layer, media_type, layers, work, runc;
  std::uint64_t n = 20, seed = 1;
};

// Nanoseconds of the clock that date(1) reads.
std::int64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

Result<std::int64_t> said_time(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || value < 1'000'000'000'000'000'000LL)
    return fail(Code::malformed, "date said '{}'", text.substr(0, 80));
  return value;
}

struct Sample {
  std::int64_t start_us = 0, cycle_us = 0;
  std::optional<std::int64_t> answer_us;
};

// ---- Naru: a request to the launcher, as control makes it.

class NaruStarts {
 public:
  explicit NaruStarts(const Options& options)
      : logs_(fs::path(options.socket).parent_path().parent_path() / "logs"),
        options_(options),
        client_(ipc::LauncherClient::open({options.socket, [this](const Json& event) { hear(event); }})) {}
  ~NaruStarts() { client_->stop(); }
  NaruStarts(const NaruStarts&) = delete;
  NaruStarts& operator=(const NaruStarts&) = delete;

  Result<void> prepare() {
    TRY(client_->hello());
    layer_ = TRY(Digest::parse(options_.layer));
    TRY(client_->unpack_layer(TRY(Digest::parse(options_.blob)), layer_, options_.media_type));
    TRY(client_->ensure_network(kNetwork));
    return {};
  }
  Result<void> clean_up() { return client_->remove_network(kNetwork); }

  Result<Sample> run(bool networked) {
    ContainerSpec spec;
    spec.id = fmt::format("bench-{}-{}", ::getpid(), ++count_);
    spec.layers = {layer_};
    spec.argv = {"/bin/date", "+%s%N"};
    if (networked) spec.network = kNetwork;
    const std::int64_t begin = now_ns();
    TRY(client_->start(spec));
    const std::int64_t answered = now_ns();
    TRY(wait_exit(spec.id));
    const std::int64_t ended = now_ns();
    const std::int64_t said = TRY(said_time(TRY(first_line(spec.id))));
    const std::int64_t read = now_ns();
    TRY(client_->remove(spec.id));
    return Sample{(said - begin) / 1000, (now_ns() - begin - (read - ended)) / 1000,
                  (answered - begin) / 1000};
  }

 private:
  void hear(const Json& event) {
    if (event.value("event", "") != "container_exited") return;
    const std::lock_guard lock(mutex_);
    ended_.insert(event["status"].value("id", ""));
    changed_.notify_all();
  }
  Result<void> wait_exit(const std::string& id) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, 10s, [&] { return ended_.contains(id); }))
      return fail(Code::timeout, "container {} did not end", id);
    return {};
  }
  // "2025-01-01T00:00:00.000Z stdout 1735689600000000000"
  Result<std::string> first_line(const std::string& id) const {
    const std::string text = TRY(os::read_file(logs_ / id / "current.log", 4096));
    const auto at = text.find(" stdout ");
    if (at == std::string::npos) return fail(Code::malformed, "the log of {} is '{}'", id, text);
    return text.substr(at + 8);
  }

  fs::path logs_;
  const Options& options_;
  Digest layer_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<std::string> ended_;
  int count_ = 0;
  std::unique_ptr<ipc::LauncherClient> client_;  // last: its thread uses the others
};

// ---- what the other two share

struct Overlay {
  fs::path folder, root;
  std::string options;
};

Result<Overlay> make_overlay_folders(const fs::path& folder, const Options& options) {
  Overlay overlay{folder, folder / "root", {}};
  for (const char* name : {"root", "upper", "work"}) TRY(os::make_dirs(folder / name));
  const std::string_view hex = std::string_view(options.layer).substr(options.layer.find(':') + 1);
  overlay.options = fmt::format("lowerdir={}/{},upperdir={}/upper,workdir={}/work,volatile", options.layers,
                                hex, folder.native(), folder.native());
  return overlay;
}

Result<void> mount_overlay(const Overlay& overlay) {
  if (::mount("overlay", overlay.root.c_str(), "overlay", MS_NODEV, overlay.options.c_str()) != 0)
    return fail_errno(Code::system, "mount an overlay");
  return {};
}

Result<std::pair<Fd, Fd>> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(Code::system, "pipe");
  return std::pair<Fd, Fd>(Fd(ends[0]), Fd(ends[1]));
}

// Everything until the last writer is gone.
std::string read_all(int fd) {
  std::string text;
  char piece[4096];
  for (ssize_t got = 0; (got = ::read(fd, piece, sizeof piece)) > 0 && text.size() < 65536;)
    text.append(piece, static_cast<std::size_t>(got));
  return text;
}

Result<void> wait_for(pid_t pid, std::string_view what, std::string_view output) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return fail_errno(Code::system, "waitpid");
  if (status != 0)
    return fail(Code::system, "{} ended with {}: {}", what, os::exit_code_of(status), output.substr(0, 2000));
  return {};
}

// ---- runc: what a script has to do, an overlay and `runc run`.

Result<Sample> start_with_runc(const Options& options) {
  const fs::path folder = fs::path(options.work) / "runc";
  auto [reader, writer] = TRY(make_pipe());
  const std::int64_t begin = now_ns();
  const Overlay overlay = TRY(make_overlay_folders(folder, options));
  TRY(mount_overlay(overlay));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, writer.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, writer.get(), 2);
  std::string state = fmt::format("{}/runc-state", options.work), id = fmt::format("bench-{}", ::getpid());
  std::string bundle = options.runc;
  const char* arguments[] = {"runc",     "--root",       state.c_str(), "run",
                             "--bundle", bundle.c_str(), id.c_str(),    nullptr};
  pid_t pid = 0;
  const int error =
      ::posix_spawnp(&pid, "runc", &actions, nullptr, const_cast<char* const*>(arguments), environ);
  posix_spawn_file_actions_destroy(&actions);
  writer.reset();
  Result<std::int64_t> said = fail(Code::system, "runc does not start");
  if (error == 0) {
    const std::string output = read_all(reader.get());
    const auto ended = wait_for(pid, "runc", output);
    said = ended ? said_time(output) : Result<std::int64_t>(std::unexpected(ended.error()));
  }
  ::umount2(overlay.root.c_str(), 0);
  TRY(os::remove_tree(folder));
  const std::int64_t end = now_ns();
  return Sample{(TRY(said) - begin) / 1000, (end - begin) / 1000, {}};
}

// ---- the least

struct BarePlan {
  const Overlay& overlay;
  const std::vector<Fd>& join;
  int output;
};

[[noreturn]] void die_in_child(const char* step) {
  ::dprintf(2, "%s: %s\n", step, strerrorname_np(errno));
  ::_exit(1);
}

[[noreturn]] void become_date(const BarePlan& plan) {
  ::dup2(plan.output, 1);
  ::dup2(plan.output, 2);
  for (const Fd& file : plan.join)
    if (::write(file.get(), "0", 1) != 1) die_in_child("join the cgroup");
  if (::unshare(CLONE_NEWCGROUP) != 0) die_in_child("unshare");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) die_in_child("make / private");
  if (!mount_overlay(plan.overlay)) die_in_child("mount the overlay");
  if (::chdir(plan.overlay.root.c_str()) != 0) die_in_child("chdir");
  if (::mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0)
    die_in_child("mount /proc");
  if (::syscall(SYS_pivot_root, ".", ".") != 0) die_in_child("pivot_root");
  if (::umount2(".", MNT_DETACH) != 0) die_in_child("leave the old root");
  if (::chdir("/") != 0) die_in_child("chdir");
  const char* arguments[] = {"/bin/date", "+%s%N", nullptr};
  const char* environment[] = {"PATH=/usr/bin:/bin", nullptr};
  ::execve(arguments[0], const_cast<char* const*>(arguments), const_cast<char* const*>(environment));
  die_in_child("execve");
}

Result<Sample> start_bare(const Options& options, const os::Cgroups& cgroups) {
  auto [reader, writer] = TRY(make_pipe());
  const std::int64_t begin = now_ns();
  const Overlay overlay = TRY(make_overlay_folders(fs::path(options.work) / "bare", options));
  std::vector<std::string> notices;
  const os::Cgroup group =
      TRY(cgroups.create("apps", "bare", {.memory_bytes = 0, .cpu_millis = 0, .pids = 4096}, notices));
  const std::vector<Fd> join = TRY(group.join_files());
  clone_args arguments{};
  arguments.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
  arguments.exit_signal = SIGCHLD;
  const auto pid = static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof arguments));
  if (pid < 0) return fail_errno(Code::system, "clone3");
  if (pid == 0) become_date({overlay, join, writer.get()});
  writer.reset();
  const std::string output = read_all(reader.get());
  const auto ended = wait_for(pid, "the bare container", output);
  TRY(group.remove());
  TRY(os::remove_tree(overlay.folder));
  const std::int64_t end = now_ns();
  TRY(ended);
  return Sample{(TRY(said_time(output)) - begin) / 1000, (end - begin) / 1000, {}};
}

// ---- taking turns

struct Way {
  std::string name;
  std::function<Result<Sample>()> run;
  Json start = Json::array(), answer = Json::array(), cycle = Json::array();
};

Result<void> take_turns(std::vector<Way>& ways, const Options& options) {
  Rng rng(options.seed);
  for (std::uint64_t round = 0; round < options.n + 1; ++round) {
    for (std::size_t i = ways.size(); i > 1; --i) std::swap(ways[i - 1], ways[rng.below(i)]);
    for (Way& way : ways) {
      const Sample sample = TRY(way.run());
      if (round == 0) continue;  // caches are cold
      way.start.push_back(sample.start_us);
      way.cycle.push_back(sample.cycle_us);
      if (sample.answer_us) way.answer.push_back(*sample.answer_us);
    }
  }
  return {};
}

Result<Json> measure(const Options& options) {
  const auto layout = TRY(os::cgroup_layout(TRY(os::read_file("/proc/self/mountinfo", kMaxProcText)),
                                            TRY(os::read_file("/proc/self/cgroup", kMaxProcText))));
  const os::Cgroups cgroups = TRY(os::Cgroups::open(layout, fmt::format("naru-bench-{}", ::getpid())));
  NaruStarts naru(options);
  TRY(naru.prepare());
  std::vector<Way> ways;
  ways.push_back({"naru", [&] { return naru.run(false); }});
  ways.push_back({"naru_networked", [&] { return naru.run(true); }});
  ways.push_back({"bare", [&] { return start_bare(options, cgroups); }});
  if (!options.runc.empty()) ways.push_back({"runc", [&] { return start_with_runc(options); }});
  const auto done = take_turns(ways, options);
  const auto cleaned = naru.clean_up();
  cgroups.remove_parents();
  TRY(done);
  TRY(cleaned);
  Json out = Json::object();
  for (const Way& way : ways)
    out[way.name] = {{"start", way.start}, {"answer", way.answer}, {"cycle", way.cycle}};
  out["cgroup"] = cgroups.mode();
  return out;
}

Result<Options> parse(int argc, char** argv) {
  Options options;
  const std::map<std::string_view, std::string*> texts{
      {"socket", &options.socket}, {"blob", &options.blob},
      {"layer", &options.layer},   {"media-type", &options.media_type},
      {"layers", &options.layers}, {"work", &options.work},
      {"runc", &options.runc}};
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const auto equals = argument.find('=');
    const std::string_view name = argument.starts_with("--") ? argument.substr(2, equals - 2) : "";
    const std::string value(equals == std::string_view::npos ? "" : argument.substr(equals + 1));
    if (const auto found = texts.find(name); found != texts.end())
      *found->second = value;
    else if (name == "n" || name == "seed")
      (name == "n" ? options.n : options.seed) = std::strtoull(value.c_str(), nullptr, 10);
    else
      return fail(Code::invalid_argument, "unknown argument '{}'", argument);
  }
  if (options.n < 1 || options.n > 10'000) return fail(Code::invalid_argument, "--n takes 1 to 10000");
  for (const char* needed : {"socket", "blob", "layer", "media-type", "layers", "work"})
    if (texts.at(needed)->empty()) return fail(Code::invalid_argument, "--{} is missing", needed);
  return options;
}

}  // namespace
}  // namespace naru

int main(int argc, char** argv) {
  const auto options = naru::parse(argc, argv);
  const auto measured =
      options ? naru::measure(*options) : naru::Result<naru::Json>(std::unexpected(options.error()));
  if (!measured) {
    std::fprintf(stderr, "error: %s\n", measured.error().message().c_str());
    return options ? 1 : 2;
  }
  std::puts(measured->dump().c_str());
  return 0;
}
