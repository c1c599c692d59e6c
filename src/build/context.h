// A build context: what COPY and ADD can see of a checkout. The checkout is hostile: nothing is opened
// through a symbolic link, and nothing but files, directories and links may be in it.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/result.h"
#include "format/dockerignore.h"

namespace naru::build {

enum class EntryKind { file, directory, symlink };

struct ContextEntry {
  std::string path;  // relative to the context's root: "src/main.cc"
  EntryKind kind = EntryKind::file;
  std::uint32_t mode = 0;  // permission bits
  std::uint64_t size = 0;
  Digest digest;       // of a file's bytes
  std::string target;  // of a symlink
};

struct ContextListing {
  std::vector<ContextEntry> entries;  // sorted by path (bytes), ignored ones left out
  std::string ignore;                 // the text of the .dockerignore that was applied; "" without
  std::vector<std::string> left_out;  // a few ignored paths, for messages

  const ContextEntry* find(std::string_view path) const;
};

struct ContextLimits {
  std::size_t max_entries = 200'000;
  std::uint64_t max_bytes = 4ULL << 30;
  std::size_t max_depth = 128;
};

// Walks the folder `context` of a checkout and digests every file that is not ignored. The ignore file is
// "<dockerfile>.dockerignore" beside the Dockerfile if that exists (BuildKit's rule), else ".dockerignore" in
// the context. `context` and `dockerfile` are relative to the checkout and leave it through nothing. Errors:
// build_context_invalid (not there, a device or socket), malformed (.dockerignore), too_large, system.
Result<ContextListing> scan_context(const std::filesystem::path& checkout, std::string_view context,
                                    std::string_view dockerfile, const ContextLimits& limits = {});

// Follows no links. dockerfile_missing; build_context_invalid; too_large.
Result<std::string> read_dockerfile(const std::filesystem::path& checkout, std::string_view path);

// Cleans a source of COPY: no leading slash, no "." and "..", which stops at the root; "" is the root itself.
std::string clean_relative(std::string_view path);

// The target of the symlink at a path; none: it is no symlink (or is not there).
using ReadLink = std::function<std::optional<std::string>(const std::string& path)>;
// Follows symlinks in every component, within the root as chroot(2) would, at most 40: a path without links.
// build_context_invalid: a loop.
Result<std::string> resolve_in_root(std::string_view path, const ReadLink& read_link);

}  // namespace naru::build
