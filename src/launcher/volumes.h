// Named volumes: volumes/<name>, a folder each, made by root and handed to containers as mounts.
// Errors: invalid_argument (a name), conflict (in use), busy, too_large, system.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "container/engine.h"
#include "ipc/launcher_client.h"
#include "launcher/layers.h"

namespace naru::launcher {

Result<void> ensure_volume(const container::Engine& engine, const std::string& name);
// conflict while a container that mounts it exists, also one that has ended: it may be started again. The
// look and a rename happen while no container is started (`layers`), so that none starts on what is being
// deleted.
Result<void> remove_volume(const container::Engine& engine, Layers& layers, const std::string& name);
// What a kill left of removals, to be deleted: nobody else knows of it.
std::vector<std::filesystem::path> half_removed_volumes(const container::Engine& engine);
// What starts on it wait for each other by: its volumes, and "/" for folders of the machine that it writes.
std::set<std::string> volumes_of(const ContainerSpec& spec);
// State is never run twice, whoever asks: conflict while another container writes a volume, or in a folder of
// the machine, that `spec` wants to write alone (ContainerMount::shared). Call with the volumes' locks held
// until it has started.
Result<void> check_writers(const container::Engine& engine, const ContainerSpec& spec);
Result<std::vector<ipc::VolumeInfo>> list_volumes(const container::Engine& engine);

}  // namespace naru::launcher
