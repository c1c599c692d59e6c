#include "control/git_repository.h"

#include <mutex>

#include "base/rng.h"
#include "control/checkout.h"
#include "os/file.h"

namespace naru::control {

Result<void> create_repository(const ipc::DataFolder& data, const std::string& app) {
  const std::filesystem::path path = data.repository(app);
  std::error_code error;
  if (!std::filesystem::exists(path / "HEAD", error)) {
    // Whole or not at all, whoever else makes it at the same time.
    const std::filesystem::path fresh = data.git() / (".new-" + secure_random_hex(8));
    auto made = run_program(
        {"git", "init", "--quiet", "--bare", "--template=", "--initial-branch=main", fresh.string()});
    if (made) std::filesystem::rename(fresh, path, error);
    std::error_code ignored;
    const bool there = std::filesystem::exists(path / "HEAD", ignored);
    (void)os::remove_tree(fresh);
    if (!made) return std::unexpected(made.error());
    if (!there)
      return std::unexpected(
          Error{Code::system, fmt::format("{}: rename", path.string()), error.value(), {}});
  }
  TRY(os::make_dirs(path / "hooks", 0700));
  static std::mutex writing;  // two first pushes at once
  const std::lock_guard lock(writing);
  // The program's place comes with each push: it may have moved since.
  for (const char* hook : {"pre-receive", "post-receive"}) {
    const std::string script = fmt::format(
        "#!/bin/sh\nexec \"${{NARU_EXECUTABLE:?pushes come over HTTP: see naru app}}\" git-hook {}\n", hook);
    TRY(os::write_file_atomically(path / "hooks" / hook, script, {.mode = 0700}));
  }
  return {};
}

}  // namespace naru::control
