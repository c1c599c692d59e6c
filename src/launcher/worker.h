// Confined workers: the only place where bytes of a user's (layers, checkouts, image roots) are parsed as
// root.
//
// A nursery is a process forked before the launcher has a second thread; it stays single-threaded, so that
// every job is a plain fork of it into fresh mount, pid, network, ipc and uts namespaces. A job sees a root
// of its own with only the folders of its kind, drops capabilities, forbids itself system calls that no job
// needs, does its work, answers, ends. The nursery ends with the launcher, and every job with the nursery
// (PR_SET_PDEATHSIG).
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "ipc/channel.h"
#include "model/json.h"

namespace naru::launcher {

enum class FolderAccess { read_only, read_write };
NARU_JSON(FolderAccess)

// One folder of the job's root.
struct WorkerFolder {
  std::string place;  // "layers": its name below the root
  FolderAccess access = FolderAccess::read_only;
  // Either a folder to bind: `path` below `root`, strictly and without symbolic links ("" = the root
  // itself)...
  std::string root, path;
  // ... or an overlay; absolute paths that the launcher made from checked names, topmost first; upper "" =
  // read-only.
  std::vector<std::string> lower;
  std::string upper, work;
};
NARU_JSON(WorkerFolder)

struct Job {
  std::string kind;  // "unpack", "copy", "commit"; see jobs.h
  Json arguments;
  std::vector<WorkerFolder> folders;
  std::vector<int> fds;  // files to read from, opened by the launcher; borrowed for the call
  milliseconds timeout{30 * 60'000};
};

// What a job of each kind does, inside its root; `fds` as in Job. Runs in the worker.
using JobFunction = Result<Json> (*)(const Json& arguments, const std::vector<Fd>& fds);
using JobTable = std::map<std::string, JobFunction>;

class Nursery {
 public:
  // Forks. Call while the process has one thread.
  static Result<std::unique_ptr<Nursery>> open(const JobTable& table);
  ~Nursery();  // ends it and its jobs

  // Blocks until the job answered. Thread-safe. worker_failed: it died without an answer; timeout: it was
  // killed.
  Result<Json> run(const Job& job);
  // Becomes readable when the nursery is gone: then the launcher ends, too, and is started anew.
  int fd() const { return channel_.fd(); }
  int pid() const { return pid_; }

 private:
  Nursery(ipc::Channel channel, int pid) : channel_(std::move(channel)), pid_(pid) {}
  std::mutex mutex_;  // for sending and next_
  ipc::Channel channel_;
  std::uint64_t next_ = 1;
  int pid_;
};

// The nursery's side; in worker_child.cc. Never returns.
[[noreturn]] void run_nursery(ipc::Channel channel, const JobTable& table);
// Inside a freshly cloned job: builds the root, pivots, drops what is not needed.
Result<void> confine(const std::vector<WorkerFolder>& folders);

}  // namespace naru::launcher
