// A base image without a registry: mmdebstrap makes a minimal Debian from the host's own apt sources, proxy
// and keys, and nothing of them stays inside. Called by the command line as root; the tar is then imported
// through the API as docker.io/library/debian:bookworm-slim (image/import.h).
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace naru::image {

inline constexpr std::string_view kBootstrapReference = "docker.io/library/debian:bookworm-slim";

struct BootstrapOptions {
  std::string suite = "bookworm";
  std::vector<std::string> include{"ca-certificates"};  // package names
  std::filesystem::path apt_etc = "/etc/apt";           // sources.list and sources.list.d/*.{list,sources}
  seconds source_date_epoch{1'735'689'600};  // mtimes are clamped to it: equal packages, equal bytes
  milliseconds timeout{900'000};
  std::function<void(std::string_view line)> progress{};  // mmdebstrap's output, line by line
};

// One apt source file's content with only the entries of `suite` and of its -updates, -security and
// -backports: third parties' have no place in a base image. `deb822`: the .sources style. May be empty.
std::string sources_of_suite(std::string_view content, std::string_view suite, bool deb822);

// The command. `sources`: files made with sources_of_suite; `apt_options`: e.g. `Acquire::http::Proxy
// "http://..."`.
std::vector<std::string> bootstrap_command(const BootstrapOptions& options,
                                           const std::vector<std::filesystem::path>& sources,
                                           const std::vector<std::string>& apt_options,
                                           const std::filesystem::path& out_tar);

// Runs it; `out_tar` appears whole or not at all. bootstrap_failed with the last lines of output; not_found:
// no mmdebstrap, or no apt source for the suite.
Result<> bootstrap(const BootstrapOptions& options, const std::filesystem::path& out_tar);

}  // namespace naru::image
