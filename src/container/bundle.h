// What a container leaves on disk, so that it is found again by whoever comes later.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "model/container.h"
#include "os/cgroup.h"

namespace naru::os {
NARU_JSON(CgroupHierarchy)
}

namespace naru::container {

// state.json, written once the program runs.
struct BundleState {
  std::int32_t pid = 0;
  std::uint64_t start_time = 0;  // clock ticks since boot; with pid and boot id it names one process for ever
  std::string boot_id;
  WallTime started{};
  std::string address;
  std::vector<std::string> notices;
  std::vector<os::CgroupHierarchy> cgroup;
  std::string overlay;  // StartOptions::overlay
  std::vector<std::string>
      created;          // mount points that had to be made in the root; taken away from `overlay` at the end
  bool logged = false;  // output goes to the FIFOs
};
NARU_JSON(BundleState)

// wait.json: the wait status, from whoever was the parent.
struct BundleWait {
  std::int32_t wait_status = 0;
  WallTime finished{};
};
NARU_JSON(BundleWait)

// exit.json: the final word.
struct BundleExit {
  ContainerState state = ContainerState::exited;
  std::optional<std::int32_t> exit_code;
  bool out_of_memory = false;
  WallTime finished{};
};
NARU_JSON(BundleExit)

// stop.json: somebody asked it to stop before it ended.
struct BundleStop {
  WallTime asked{};
};
NARU_JSON(BundleStop)

class Bundle {
 public:
  explicit Bundle(std::filesystem::path folder) : folder_(std::move(folder)) {}
  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path file(std::string_view name) const { return folder_ / name; }

  template <class T>
  Result<void> write(std::string_view name, const T& value) const {
    return write_json(name, Json(value));
  }
  // not_found, malformed.
  template <class T>
  Result<T> read(std::string_view name) const {
    const Json json = TRY(read_json(name));
    try {
      return json.get<T>();
    } catch (const Json::exception& error) {
      return fail(Code::malformed, "{}: {}", file(name).native(), error.what());
    }
  }

 private:
  Result<void> write_json(std::string_view name, const Json& json) const;
  Result<Json> read_json(std::string_view name) const;
  std::filesystem::path folder_;
};

inline constexpr std::string_view kSpecFile = "spec.json", kVariablesFile = "env.sealed",
                                  kStateFile = "state.json", kWaitFile = "wait.json", kStopFile = "stop.json",
                                  kExitFile = "exit.json";

}  // namespace naru::container
