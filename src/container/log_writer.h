// The output of all containers, from FIFOs to files, on two threads: a reader that never waits for a disk,
// and a writer that may.
//
// logs/<id>/current.log, lines "<RFC 3339> stdout|stderr <text>"; a line longer than 16 KiB is split. At
// `file_bytes` current.log becomes 1.log, 1.log becomes 2.log; `files` in all. Between the threads stand at
// most 1 MiB a container: when a disk is slow or full, further lines are dropped and counted, and a line says
// how many once there is room. A process killed outright loses what stood between its threads; what it had
// not read stays in the FIFOs. Thread-safe.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"

namespace naru::container {

inline constexpr std::size_t kMaxLogLine = 16384;
inline constexpr std::size_t kMaxLogBacklog = 1 << 20;

struct LogLimits {
  std::uint64_t file_bytes = 10ULL << 20;
  std::uint32_t files = 3;
};

class LogWriter {
 public:
  static Result<std::unique_ptr<LogWriter>> start();
  ~LogWriter();  // what was read is written; what is in the FIFOs stays there

  // Takes the reading ends, non-blocking. An id that is there already is replaced.
  Result<void> add(const std::string& id, Fd out, Fd err, const std::filesystem::path& folder,
                   LogLimits limits);
  // Waits until every writer of the FIFOs has closed them and all is in the file, at most `timeout`. False:
  // not yet.
  bool drain(const std::string& id, milliseconds timeout);
  void remove(const std::string& id);
  std::uint64_t dropped(const std::string& id) const;

 private:
  struct State;
  explicit LogWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace naru::container
