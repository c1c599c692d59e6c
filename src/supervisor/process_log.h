// The platform's own logs, DATA/log/<process>.log: each is kept below a bound while its process runs.
#pragma once

#include <filesystem>

#include "base/result.h"

namespace naru::supervisor {

inline constexpr std::uint64_t kMaxProcessLog = 10U << 20;  // bytes; as much again in <process>.log.1

// A log beyond `max_bytes` is copied to <path>.1 and emptied. Copied, not renamed: its process goes on
// writing to the file that it has open, in append mode and so from the new end. A line written between the
// copy and the emptying is lost. No log is no error.
Result<void> bound_log(const std::filesystem::path& path, std::uint64_t max_bytes = kMaxProcessLog);

}  // namespace naru::supervisor
