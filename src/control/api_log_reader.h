// Lines of containers' logs, live and kept, merged by time; values of the application's variables are masked
// (those that it has now: the files hold what was printed). logs/<container>/current.log and its
// rotated 1.log, 2.log ... (container/log_writer.h), and control/logs/<container>.log of those that are gone.
// Blocks: a worker's thread, one at a time.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "control/core.h"
#include "ipc/data_folder.h"

namespace naru::control {

struct LogLine {
  WallTime time{};
  std::string service, instance, stream, text;
};

// "2026-01-31T12:34:56.789Z" to a time; none when it is something else.
std::optional<WallTime> parse_rfc3339(std::string_view text);
// "<rfc3339> stdout|stderr <text>"
std::optional<LogLine> parse_log_line(std::string_view line);

class LogReader {
 public:
  static constexpr std::size_t kMaxTail = 10'000;           // lines
  static constexpr std::uint64_t kMaxTailBytes = 4U << 20;  // of one container
  static constexpr std::size_t kMaxContainers = 500;
  static constexpr std::size_t kMaxRead = 1U << 20;  // of one container, each time

  struct Selection {
    std::string app, environment, service, instance;  // service and instance "" = all
    std::size_t tail = 100;
    WallTime since{};
  };
  LogReader(const Core& core, const ipc::DataFolder& data, Selection selection)
      : core_(core), data_(data), selection_(std::move(selection)) {}

  // The newest lines of everything, oldest first.
  std::vector<LogLine> tail();
  // What has been written since tail() or the last call; containers that have come meanwhile from their
  // beginning.
  std::vector<LogLine> fresh();

 private:
  struct Container {
    std::string service, instance;
    std::uint64_t inode = 0, offset = 0;  // in current.log
    std::string partial;
  };
  struct Named {
    std::string container, service, instance;
  };
  std::vector<Named> live() const;
  std::vector<Named> gone() const;
  void mask_secrets(std::vector<LogLine>& lines) const;
  void read_tail(const Named& named, std::vector<LogLine>& lines);
  void read_fresh(const std::string& name, Container& container, std::vector<LogLine>& lines);
  void take(std::string_view bytes, Container& container, std::vector<LogLine>& lines) const;

  const Core& core_;
  const ipc::DataFolder& data_;
  Selection selection_;
  std::map<std::string, Container> containers_;
};

}  // namespace naru::control
