// Named volumes: volumes/<name>, a folder each, made by root and handed to containers as mounts.
// Errors: invalid_argument (a name), conflict (in use), too_large, system.
#pragma once

#include <string>
#include <vector>

#include "container/engine.h"
#include "ipc/launcher_client.h"

namespace naru::launcher {

Result<void> ensure_volume(const container::Engine& engine, const std::string& name);
// conflict while a container that mounts it exists and is not ended.
Result<void> remove_volume(const container::Engine& engine, const std::string& name);
Result<std::vector<ipc::VolumeInfo>> list_volumes(const container::Engine& engine);

}  // namespace naru::launcher
