#include "container/bundle.h"

#include "container/engine.h"
#include "model/json_text.h"
#include "os/file.h"
#include "os/process.h"

namespace naru::os {
NARU_JSON_FIELDS(CgroupHierarchy, v2, memory, cpu, cpuacct, pids, devices, base)
}  // namespace naru::os

namespace naru::container {

namespace {
constexpr std::size_t kMaxJson = 4 << 20;
}

Result<void> Bundle::write_json(std::string_view name, const Json& json) const {
  return os::write_file_atomically(file(name), json_text(json, 2) + "\n");
}

Result<Json> Bundle::read_json(std::string_view name) const {
  return parse_json(TRY(os::read_file(file(name), kMaxJson)), file(name).native());
}

Paths Paths::under(const std::filesystem::path& data) {
  return {data, data / "layers", data / "containers", data / "volumes", data / "checkouts", data / "logs"};
}

Result<bool> record_exit(const Paths& paths, pid_t pid, std::uint64_t start_time, int wait_status) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(paths.containers, error)) {
    if (!entry.is_directory(error)) continue;
    const Bundle bundle(entry.path());
    const auto state = bundle.read<BundleState>(kStateFile);
    if (!state || state->pid != pid || state->start_time != start_time) continue;
    const auto now = SystemClock().wall();
    TRY(bundle.write(kWaitFile, BundleWait{wait_status, now}));
    return true;
  }
  return false;
}

NARU_JSON_FIELDS(BundleState, pid, start_time, boot_id, started, address, notices, cgroup, overlay, created,
                 logged)
NARU_JSON_FIELDS(BundleWait, wait_status, finished)
NARU_JSON_FIELDS(BundleExit, state, exit_code, out_of_memory, finished)
NARU_JSON_FIELDS(BundleStop, asked)
}  // namespace naru::container
