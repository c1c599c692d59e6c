// One of the supervisor's processes: its program is this one, its sockets are inherited, and it ends with the
// supervisor.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"

namespace naru::supervisor {

struct User {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
};

struct ChildSpec {
  std::string name;                    // "gateway"
  std::vector<std::string> arguments;  // after `naru <name>`
  std::vector<int> fds;                // kept open over exec, under the same numbers
  std::vector<int> held_signals;       // wait for the process until it takes them, however early they come
  std::optional<User> user;            // none: root
  int program_fd = -1;                 // what it executes; -1: the supervisor's own file
  std::string log_path;                // standard output and error
};

// A started child's pid.
Result<pid_t> start_child(const ChildSpec& spec);

// How long to wait before the next start: none after a calm life, doubling to 5 s while it dies at once.
class Restart {
 public:
  void started(MonoTime now) { started_ = now; }
  milliseconds next_delay(MonoTime now) {
    if (now - started_ > 10s) failures_ = 0;
    const milliseconds delay =
        failures_ == 0 ? 0ms : std::min(milliseconds(50LL << std::min(failures_, 7)), milliseconds(5000));
    ++failures_;
    return delay;
  }

 private:
  MonoTime started_{};
  int failures_ = 0;
};

}  // namespace naru::supervisor
