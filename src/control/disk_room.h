// Room on the data folder's disk. What runs needs some to go on (logs, volumes, the state itself), so what
// brings new bytes is refused while there is little: pushes, builds, pulls, imports.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace naru::control {

// A fiftieth of the disk, 512 MiB at most.
std::uint64_t disk_floor(std::uint64_t total_bytes);

// disk_full when less than the floor is free; `what` for the message: "a push". Where the disk cannot be
// asked, nothing is refused.
Result<void> check_room(const std::filesystem::path& folder, std::string_view what);
Result<void> check_room(std::uint64_t free_bytes, std::uint64_t total_bytes, std::string_view what);

// The five largest of at least a megabyte, as a person reads them; "" when there is none.
std::string largest(std::vector<std::pair<std::string, std::uint64_t>> sizes);

}  // namespace naru::control
