// Builds' writable overlays: builds/<id>/{upper,work} on unpacked layers, from build.begin to commit or
// discard. A bench does not outlive its launcher, nor the connection that began it: control builds again,
// from its cache, on benches of other names. Thread-safe; a bench that is in use by one operation answers
// conflict to another.
//
// A bench goes by one rename to builds/.gone-<random>, before its id is free again: what begins begins with
// nothing, however long the deletion takes.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "build/workbench.h"
#include "container/engine.h"
#include "launcher/layers.h"
#include "launcher/worker.h"
#include "network/networks.h"

namespace naru::launcher {

// A step that runs: the caller watches `pidfd` and then calls finish_step.
struct StartedStep {
  std::string container;
  Fd pidfd;
  Fd output;  // our reading end
};

class Benches {
 public:
  // Empties builds/, as far as that goes: call after the steps of an earlier launcher were ended.
  static Result<std::unique_ptr<Benches>> open(container::Engine& engine, network::Networks& networks,
                                               Nursery& nursery, Layers& layers);

  Result<void> unpack(const build::LayerRef& layer);
  // `owner`: the connection that asked. May take as long as the deletion of what others abandoned.
  Result<void> begin(const build::BeginRequest& request, std::uint64_t owner);
  // Nobody asks for the benches of this connection any more. True: there are some; discard_abandoned() ends
  // those that nothing uses, so ask again when something that used or began one has ended.
  bool abandon(std::uint64_t owner);
  void discard_abandoned();
  Result<StartedStep> run(const build::RunRequest& request);
  Result<void> kill_step(const std::string& build);
  // After the step's process ended: its status; its container, address and mount points are gone. `timed_out`
  // as given.
  Result<build::RunResult> finish_step(const std::string& build, bool timed_out);
  Result<void> copy(const build::CopyRequest& request);
  Result<build::CommitResult> commit(const std::string& build);
  // One that is in use answers conflict; its step is killed, and it goes when somebody begins another.
  Result<void> discard(const std::string& build);
  std::set<Digest> layers_in_use() const;

 private:
  struct Bench {
    std::vector<Digest> layers;
    bool busy = false;
    std::uint64_t owner = 0;
    bool abandoned = false;
    std::string container;  // of the running step
  };
  // Holds a bench for one operation.
  class Use {
   public:
    Use(Benches& benches, std::string id, Bench bench)
        : benches_(&benches), id_(std::move(id)), bench(std::move(bench)) {}
    Use(Use&& other) noexcept
        : benches_(std::exchange(other.benches_, nullptr)),
          id_(std::move(other.id_)),
          bench(std::move(other.bench)) {}
    Use& operator=(Use&&) = delete;
    ~Use();
    bool keep_busy(std::string container);  // a step runs on; false: it was given up meanwhile
    void end();                             // the id is free

   private:
    Benches* benches_;
    std::string id_;

   public:
    Bench bench;  // a copy
  };

  Benches(container::Engine& engine, network::Networks& networks, Nursery& nursery, Layers& layers);
  Result<Use> use(const std::string& build);
  Result<void> remove(Use& using_it, const std::string& build);
  Result<std::vector<std::string>> lower_paths(const std::vector<Digest>& layers, bool with_upper) const;
  std::filesystem::path folder(const std::string& build) const { return builds_ / build; }
  Result<container::RunningContainer> start_step(const build::RunRequest& request, ContainerSpec spec,
                                                 int output_fd);

  container::Engine& engine_;
  network::Networks& networks_;
  Nursery& nursery_;
  Layers& layers_;
  std::filesystem::path builds_, empty_;
  mutable std::mutex mutex_;
  std::map<std::string, Bench> benches_;
};

// The first nameserver of a resolv.conf that a container can reach (not on loopback); "" = none.
std::string reachable_nameserver(std::string_view resolv_conf);

}  // namespace naru::launcher
