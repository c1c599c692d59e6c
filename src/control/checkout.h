// A commit's files on disk: checkouts/<app>/<commit>. Made by the `git` program as user naru, whole or not at
// all.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/clock.h"
#include "format/compose.h"
#include "ipc/data_folder.h"

namespace naru::control {

struct CommitInfo {
  std::string commit;  // full id
  std::string subject, author;
  seconds time{0};
};

// git's environment while a push is in quarantine (GIT_OBJECT_DIRECTORY=..., githooks(5)); else empty.
using GitEnvironment = std::vector<std::string>;

inline constexpr std::uint64_t kMaxCheckoutBytes = 1ULL << 30;
inline constexpr std::size_t kMaxCheckoutFiles = 100'000;

// A full commit id, 40 or 64 lower-case hex digits.
bool is_commit_id(std::string_view text);

Result<CommitInfo> commit_info(const ipc::DataFolder& data, const std::string& app, const std::string& commit,
                               const GitEnvironment& environment = {});
// Idempotent. Errors: too_large, push_refused, system.
Result<std::filesystem::path> check_out(const ipc::DataFolder& data, const std::string& app,
                                        const std::string& commit, const GitEnvironment& environment = {});
// Reads the checkout's compose file. Errors: compose_missing, and parse_compose's.
Result<format::ComposeFile> read_compose(const std::filesystem::path& checkout, const std::string& app,
                                         const std::map<std::string, std::string>& variables,
                                         std::vector<Grant> grants);
// All refs of the repository: name and commit.
Result<std::vector<std::pair<std::string, std::string>>> refs_of(const ipc::DataFolder& data,
                                                                 const std::string& app);

// Runs a program to its end and gives its standard output; a non-zero status is an error with the last of its
// standard error.
Result<std::string> run_program(const std::vector<std::string>& argv,
                                const std::vector<std::string>& environment = {},
                                std::size_t max_output = 16U << 20,
                                milliseconds timeout = milliseconds(120'000));

}  // namespace naru::control
