// The container engine: starts, stops, enters, finds again and cleans up containers on one data folder. No
// helper process and no second exec: clone into fresh namespaces, set up, exec the image's program.
//
// Threads: every member may be called from any thread; a call on one container waits only for calls on the
// same one. start() and stop() block (a start: milliseconds; a stop: up to the grace), so a launcher calls
// them from a worker. Children: the engine waits for its own children by pidfd. Nobody in the process may
// call wait(-1) or ignore SIGCHLD. Nothing here decides restarts: policy belongs to control.
//
// Sources: OCI runtime specification 1.2 (config-linux.md: default devices, masked and read-only paths),
// moby's default seccomp profile and capability set, clone(2), mount_setattr(2), openat2(2), cgroups(7),
// user_namespaces(7).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "model/container.h"

namespace naru::container {

// The data folder. containers/<id> is a bundle: spec.json, state.json, wait.json, exit.json, upper/,
// work/, root/, resolv.conf, hosts, hostname, stdout, stderr.
struct Paths {
  std::filesystem::path data;        // absolute
  std::filesystem::path layers;      // layers/<hex of the diff id>: one unpacked layer each
  std::filesystem::path containers;  // mode 0700: container roots could leave set-uid files or device nodes
  std::filesystem::path volumes;     // volumes/<full name>
  std::filesystem::path checkouts;   // the only place that bind mounts may come from
  std::filesystem::path logs;        // logs/<id>/current.log, 1.log (newer) ... (see log_writer.h)
  static Paths under(const std::filesystem::path& data_folder);
};

struct EngineOptions {
  // Where /sys/fs/cgroup is described; tests point them at files of their own.
  std::string mountinfo = "/proc/self/mountinfo";
  std::string self_cgroup = "/proc/self/cgroup";
  std::uint64_t total_memory = 0;       // to be shared out among applications and builds; 0 = what there is
  bool write_logs = true;               // false: nobody reads the FIFOs (a tool that only lists)
  milliseconds spawn_patience{60'000};  // for a program to begin: container/spawn.h
};

// The network that a container joins, made by the network module.
struct NetworkJoin {
  int netns_fd = -1;                     // borrowed for the call; -1 = a new namespace with only loopback up
  std::string address;                   // IPv4 of the container, without prefix; "" with loopback only
  std::string nameserver;                // for resolv.conf; "" = none
  std::vector<std::string> extra_hosts;  // lines for /etc/hosts: "10.1.2.3 name"
};

// A file or folder of the host that the launcher itself chose (never from a request): builds get CA bundle,
// apt sources.
struct HostMount {
  std::filesystem::path source;  // absolute; symbolic links are followed
  std::string target;            // absolute in the container
  bool read_only = true;
};

// A folder or file of the machine that the operator allowed, opened by the launcher: its disk may not answer,
// and the engine waits for none.
struct GrantedBind {
  std::string source;  // as the spec's mount names it
  int fd = -1;         // O_PATH, borrowed for the call
  bool directory = true;
};

struct StartOptions {
  NetworkJoin network;
  std::vector<HostMount> host_mounts;
  // Non-empty: upper/ and work/ live in this folder (created if absent), survive remove(), and may be used by
  // the next container; a build runs its steps so and then commits upper/. Never two running containers on
  // one overlay.
  std::filesystem::path overlay;
  // What the operator allowed the container's application, checked by the launcher: capabilities of the
  // spec's cap_add and sources of its binds. Whatever else reaches beyond the container is refused.
  std::vector<std::string> granted_capabilities;
  std::vector<GrantedBind> granted_binds;
  // Borrowed; >= 0: standard output and error go here instead of to the log.
  int output_fd = -1;
};

struct ExecSpec {
  std::vector<std::string> argv;
  std::vector<std::string> env;  // on top of the container's
  std::string user;              // "" = the container's
  std::string cwd;               // "" = the container's
  bool tty = false;
  std::uint16_t rows = 24, cols = 80;
};

struct StartedExec {
  std::string id;
  Fd pidfd;         // becomes readable at exit: then call finish_exec(id)
  Fd pty;           // with tty: both directions
  Fd in, out, err;  // without tty: our ends; blocking
};

struct Stats {
  std::uint64_t memory_bytes = 0;  // as the kernel counts it, page cache included
  std::uint64_t memory_limit = 0;  // 0 = none
  std::uint64_t cpu_usec = 0;      // since the start
  std::uint64_t pids = 0;
  std::uint64_t dropped_log_lines = 0;
};

struct RunningContainer {
  ContainerStatus status;
  Fd pidfd;  // a duplicate, the caller's own: readable when the container's first process ended
};

class Engine {
 public:
  // Creates missing folders and the cgroup parents. Errors: system, invalid_argument, conflict (another
  // Engine holds it).
  static Result<std::unique_ptr<Engine>> open(Paths paths, EngineOptions options = {});
  ~Engine();  // running containers run on
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const Paths& paths() const;
  std::string_view cgroup_mode() const;             // "v1", "hybrid", "v2" or "none"
  const std::vector<std::string>& notices() const;  // isolation this machine cannot give, and why

  // After open: finds what earlier engines left. Running ones are adopted (their logs are read again) and
  // returned with their pidfds; ended ones get their recorded status, or `lost`; half-made ones are cleaned
  // away.
  Result<std::vector<RunningContainer>> adopt();

  // Idempotent by spec.id: an id that exists returns its status untouched (and no pidfd when it ended).
  // Errors: invalid_argument and forbidden (the spec, said exactly), not_found (a layer, a user),
  // command_not_found / command_not_executable (argv[0]; exit_code_for() gives 127 / 126), system (names the
  // step). A failed start leaves nothing behind.
  Result<RunningContainer> start(const ContainerSpec& spec, const StartOptions& options = {});

  // Call when the pidfd is readable. Collects the exit status, writes it to the bundle, removes the cgroups.
  // Idempotent. Still `running`: the process is another's child (adopted) and its parent, the supervisor, has
  // not reaped it yet: it will call record_exit; call again then, or after a while with give_up, which makes
  // it `lost`.
  Result<ContainerStatus> settle(const std::string& id, bool give_up = false);

  // The stop signal, then SIGKILL after `grace` (none: the spec's). Blocks until it ended. Idempotent.
  Result<ContainerStatus> stop(const std::string& id, std::optional<milliseconds> grace = std::nullopt);
  Result<void> signal(const std::string& id, int signal);

  // Bundle, logs and unfinished execs go. Errors: conflict while it runs. An unknown id is fine: it is gone.
  Result<void> remove(const std::string& id);

  Result<StartedExec> exec(const std::string& container, const ExecSpec& spec);
  // The exit code (128 + signal), none while it runs. After a code was returned the exec is forgotten.
  Result<std::optional<int>> finish_exec(const std::string& exec);
  Result<void> kill_exec(const std::string& exec, int signal);

  Result<ContainerStatus> status(const std::string& id) const;
  std::vector<ContainerStatus> list() const;
  Result<Stats> stats(const std::string& id) const;
  Result<ContainerSpec> spec(const std::string& id) const;
  // Containers that run, or are being started, and mount that volume, or a folder of the machine that meets
  // that one, read-write. Waits for a start of one of them only.
  std::vector<std::string> writers_of(const ContainerMount& where) const;
  // Of every container that exists, in whatever state.
  std::set<Digest> layers_in_use() const;
  // The cgroups that no container is in. The next start needs a new Engine: for the end of a platform.
  void remove_groups() const;

 private:
  struct State;
  explicit Engine(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// 127 for command_not_found, 126 for command_not_executable, none for other errors (the shells' convention).
std::optional<int> exit_code_for(const Error& error);

// What a request may ask for; start() calls it. invalid_argument or forbidden, with the field's name.
Result<void> validate(const ContainerSpec& spec, const std::vector<std::string>& granted_capabilities = {});
// Both write the same volume, or folders of the machine of which one lies in the other.
bool write_alike(const ContainerMount& a, const ContainerMount& b);

// For the supervisor, the parent of orphaned containers: writes the exit of (pid, start_time) into its
// bundle. False: no container has that process. `wait_status` as waitpid gives it. Read start_time
// (process_start_time, os/process.h) while the process is a zombie still: waitid(.., WEXITED | WNOWAIT)
// first, record, then reap. Needs no Engine.
Result<bool> record_exit(const Paths& paths, pid_t pid, std::uint64_t start_time, int wait_status);

}  // namespace naru::container
