// The kinds of confined work; each runs in a worker (worker.h) and sees only the folders that its maker
// names.
#pragma once

#include <filesystem>

#include "build/workbench.h"
#include "launcher/worker.h"

namespace naru::launcher {

JobTable worker_jobs();

// Makers: what the launcher hands to Nursery::run. `blob`: borrowed, open for reading.
Job unpack_job(const std::filesystem::path& layers, int blob, const build::LayerRef& layer);
// `bench` and, with origin layers, `origin`: the overlays; see benches.h.
Job copy_job(const build::CopyRequest& request, WorkerFolder bench, std::optional<WorkerFolder> source);
// `lower`: what the bench stands on; folders of the upper that change nothing of it are left out.
Job commit_job(const std::filesystem::path& upper, WorkerFolder lower, const std::filesystem::path& data);
struct Committed {
  build::CommitResult result;
  std::uint64_t left_out = 0;  // sockets and devices of the upper that are not in the layer
};
NARU_JSON(Committed)

}  // namespace naru::launcher
