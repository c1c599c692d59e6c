// The engine's insides, shared by engine.cc (start, adopt), lifecycle.cc (settle, stop, remove) and exec.cc.
#pragma once

#include <map>
#include <mutex>

#include "container/bundle.h"
#include "container/engine.h"
#include "container/log_writer.h"
#include "os/cgroup.h"
#include "os/seccomp.h"
#include "store/cipher.h"

namespace naru::container {

struct Container {
  std::mutex mutex;  // held while it is started, settled or removed, which may take long
  std::string id;
  ContainerSpec spec;  // fixed before anybody else knows of the container: read without the lock
  BundleState state;
  ContainerStatus status;  // state `created` while it is being started
  Fd pidfd;                // valid while running

  // What the others are told meanwhile: the last status, for those who list all and wait for none.
  void show() {
    const std::lock_guard guard(shown_mutex_);
    shown_ = status;
  }
  ContainerStatus shown() const {
    const std::lock_guard guard(shown_mutex_);
    return shown_;
  }

 private:
  mutable std::mutex shown_mutex_;
  ContainerStatus shown_;
};

struct Exec {
  std::mutex mutex;
  std::string container;
  Fd pidfd;
  std::optional<int> exit_code;
};

struct Engine::State {
  Paths paths;
  EngineOptions options;
  Fd lock;
  std::string boot_id;
  os::MemoryShares shares;
  os::Cgroups cgroups;
  os::SeccompProgram seccomp;
  std::optional<store::Cipher> cipher;  // of variables at rest
  std::vector<std::string> notices;
  std::unique_ptr<LogWriter> logs;
  SystemClock clock;

  mutable std::mutex mutex;  // the maps; never held while waiting
  std::map<std::string, std::shared_ptr<Container>> containers;
  std::map<std::string, std::shared_ptr<Exec>> execs;

  Bundle bundle(const std::string& id) const { return Bundle(paths.containers / id); }
  Result<std::shared_ptr<Container>> find(const std::string& id) const;
  std::vector<std::shared_ptr<Container>> all() const;
  Result<void> watch_logs(const Container& container);
  // spec.json without the variables, which may be secrets: they are sealed beside it.
  Result<void> write_spec(const ContainerSpec& spec) const;
  Result<ContainerSpec> read_spec(const std::string& id) const;
  // With container.mutex held:
  Result<RunningContainer> launch(Container& container, const StartOptions& options);
  void discard(const Container& container);
  Result<ContainerStatus> settle(Container& container, bool give_up);
  std::optional<int> wait_status(const Container& container) const;
  Result<void> finish(Container& container, std::optional<int> wait_status);
  // Ended execs keep their container's first process from ending (pid_namespaces(7)): somebody must reap
  // them.
  void reap_execs(const std::string& container);
  void note_stop(Container& container);
  Result<std::unique_ptr<RunningContainer>> adopt_one(const std::string& id);
};

RunningContainer running(const Container& container);

}  // namespace naru::container
