// How much room a folder takes on disk.
#pragma once

#include <cstdint>
#include <filesystem>

namespace naru::os {

// Blocks of files and folders, links not followed, within one file system; of a million entries at most (then
// what was counted until there).
std::uint64_t bytes_below(const std::filesystem::path& folder);

}  // namespace naru::os
