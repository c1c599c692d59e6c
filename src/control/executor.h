// Does what the outbox says: checks out, builds, starts, stops, publishes. Every action is idempotent by what
// it names, and its result is a command. Blocks its worker thread.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <stop_token>

#include "build/builder.h"
#include "build/cache.h"
#include "build/store_images.h"
#include "control/build_queue.h"
#include "control/core.h"
#include "control/image_gate.h"
#include "control/links.h"
#include "control/listening.h"
#include "control/pipeline_log.h"
#include "control/push_reach.h"
#include "image/http_io.h"
#include "ipc/data_folder.h"
#include "ipc/launcher_client.h"
#include "ipc/telemetry.h"

namespace naru::control {

class LauncherBench;

class Executor {
 public:
  struct Parts {  // all borrowed, all outlive the executor
    const ipc::DataFolder& data;
    const Clock& clock;
    Core& core;
    ipc::LauncherClient& launcher;
    GatewayLink& gateway;
    SupervisorLink& supervisor;
    ipc::Telemetry& telemetry;
    const image::Store& images;
    const build::StepCache& cache;
    PipelineLog& log;
    ImageGate& gate;
    std::vector<std::string> allowed_registries{};  // control/push_reach.h
  };
  explicit Executor(Parts parts);
  ~Executor();

  // Nothing: try again later.
  std::optional<Command> execute(const Action& action, std::stop_token stop);

  // The whole route table and listener set again, as after a restart of everything.
  Result<std::uint64_t> publish_routes();
  // Listeners that could not be opened: name -> why. For status and doctor. They are tried again.
  std::map<std::string, std::string> listener_errors() const { return listening_.errors(); }
  // Environments and host ports that the gateway leaves out of the table, and why: for doctor.
  std::vector<std::string> left_out() const;
  // To a launcher that is new, or that we are new to: it may know older ones.
  void set_udp_routes_again();
  void keep_listening() { listening_.again(); }

 private:
  std::optional<Command> plan(const Action& action);
  std::optional<Command> build(const Action& action, std::stop_token stop);
  std::optional<Command> ensure_network(const Action& action);
  std::optional<Command> remove_network(const Action& action);
  std::optional<Command> set_udp_routes(const Action& action);
  std::optional<Command> start(const Action& action);
  std::optional<Command> stop(const Action& action);
  std::optional<Command> remove(const Action& action);

  Result<std::string> send_udp_routes(const EnvKey& environment);  // their digest
  Result<ImageInfo> build_image(const Pipeline& pipeline, const ServiceSpec& service, std::stop_token stop,
                                bool& cached);
  Result<ImageInfo> unpacked(const image::Image& image);
  Result<ContainerSpec> container_spec(const Instance& instance, const Release& release);
  MonoTime deadline_of(PipelineId pipeline);
  void keep_log(const std::string& container);
  void note_left_out(const std::vector<std::string>& left_out);

  Parts parts_;
  std::unique_ptr<LauncherBench> bench_;
  const PushReach reach_;
  image::IoHttp http_;  // of pulls that pushes ask for
  build::StoreImages store_images_;
  std::mutex deadlines_mutex_;
  BuildDeadlines deadlines_;
  std::mutex publish_mutex_, udp_mutex_;
  Listening listening_;
  mutable std::mutex left_out_mutex_;
  std::vector<std::string> left_out_;
};

// The launcher does not answer now: worth another try, unlike every other error.
bool is_transient(const Error& error);

// The retry, for an error of a pipeline whose cause lies outside of the commit (a base image, a registry, the
// network, the disk); "" for others.
std::string retry_of(const Error& error, const std::string& app);
// What to do about a pipeline's error, with the retry.
std::string retry_hint(const Error& error, const std::string& app);

}  // namespace naru::control
