#include "control/git_repository.h"

#include <sys/stat.h>

#include "base/log.h"
#include "control/checkout.h"
#include "os/file.h"

namespace naru::control {

Result<void> create_repository(const ipc::DataFolder& data, const std::string& app) {
  const std::string path = data.repository(app).string();
  std::error_code error;
  if (!std::filesystem::exists(path + "/HEAD", error))
    TRY(run_program({"git", "init", "--quiet", "--bare", "--template=", "--initial-branch=main", path}));
  TRY(os::make_dirs(path + "/hooks", 0700));
  // The program's place comes with each push: it may have moved since.
  for (const char* hook : {"pre-receive", "post-receive"}) {
    const std::string script = fmt::format("#!/bin/sh\nexec \"${{NARU_EXECUTABLE:?pushes come over HTTP: see naru app}}\" git-hook {}\n", hook);
    TRY(os::write_file_atomically(fmt::format("{}/hooks/{}", path, hook), script, 0700));
  }
  return {};
}

void remove_repository(const ipc::DataFolder& data, const std::string& app) {
  for (const auto& path : {data.repository(app), data.checkouts() / app})
    if (auto removed = os::remove_tree(path); !removed) log_event(Level::warn, "control.remove_repository", {{"error", removed.error().message()}});
}

}  // namespace naru::control
