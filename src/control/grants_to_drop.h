// Applications that were removed and whose grants the launcher has not dropped yet: kept in a file of
// control's, so that neither a crash nor a launcher that is away leaves them to the next one of that name.
// Only what was removed is dropped: a control that has lost its state takes nothing away from anybody.
// Thread-safe.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "base/result.h"

namespace naru::control {

class GrantsToDrop {
 public:
  using Drop = std::function<Result<void>(const std::string& app)>;
  using Exists = std::function<bool(const std::string& app)>;

  // A file that cannot be read names nobody, which is logged. `exists` is asked here alone.
  GrantsToDrop(std::filesystem::path file, const Exists& exists, Drop drop);

  // Around the command: what was begun and did not happen is forgotten.
  Result<void> begin(const std::string& app);
  void end(const std::string& app, bool removed);
  // Drops those of all that are gone. What cannot be dropped stays for the next time.
  Result<void> settle();
  // Before one of that name is made: it inherits nothing, and nothing that it is given is dropped.
  // unavailable while the launcher has not dropped what its predecessor had.
  Result<void> make_room(const std::string& app);

 private:
  Result<void> keep(std::map<std::string, bool> apps);
  Result<void> settle_locked();

  const std::filesystem::path file_;
  const Drop drop_;
  std::mutex mutex_;
  std::map<std::string, bool> apps_;  // true: it is gone, false: its removal has begun
};

}  // namespace naru::control
