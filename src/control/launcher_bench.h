// The builder's Workbench over the launcher's build operations.
#pragma once

#include "build/workbench.h"
#include "ipc/launcher_client.h"

namespace naru::control {

class LauncherBench final : public build::Workbench {
 public:
  explicit LauncherBench(ipc::LauncherClient& launcher) : launcher_(launcher) {}

  Result<void> unpack(const build::LayerRef& layer) override {
    return launcher_.unpack_layer(layer.blob, layer.diff_id, layer.media_type);
  }
  Result<void> begin(const build::BeginRequest& request) override { return launcher_.build_begin(request); }
  Result<build::RunResult> run(const build::RunRequest& request, const build::OutputCallback& output,
                               std::stop_token stop) override {
    const Json result = TRY(launcher_.build_run(request, output, stop));
    if (stop.stop_requested()) return fail(Code::build_cancelled, "the build was cancelled");
    return result.get<build::RunResult>();
  }
  Result<void> copy(const build::CopyRequest& request, std::stop_token) override {
    return launcher_.build_copy(request);
  }
  Result<build::CommitResult> commit(const std::string& build) override {
    return TRY(launcher_.build_commit(build)).get<build::CommitResult>();
  }
  void discard(const std::string& build) noexcept override {
    // What is left is cleaned at the launcher's next start.
    (void)launcher_.build_discard(build);
  }

 private:
  ipc::LauncherClient& launcher_;
};

}  // namespace naru::control
