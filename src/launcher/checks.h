// What a request may name. The launcher is root and its callers are not: everything that becomes a path, a
// size or a time is checked here, before anything else looks at it. Errors: invalid_argument, forbidden,
// malformed, too_large.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "build/workbench.h"
#include "model/container.h"
#include "model/container_bounds.h"

namespace naru::launcher {

inline constexpr std::string_view kBuildPrefix = "naru-build-";  // ids of build containers; nobody else's
inline constexpr std::string_view kBuildNetwork = "naru-builds";
inline constexpr milliseconds kMaxProbe{300'000}, kMaxExec{24 * 3'600'000}, kMaxBuildStep{2 * 3'600'000};
inline constexpr std::size_t kMaxSegments = 32;
inline constexpr std::size_t kMaxArguments = 4096, kMaxArgumentBytes = 1U << 20;

// A field of a request as T; malformed when it is missing or of another type.
template <class T>
Result<T> field(const Json& request, const char* name) {
  const auto found = request.find(name);
  if (found == request.end()) return fail(Code::malformed, "the request has no '{}'", name);
  try {
    return found->get<T>();
  } catch (const Json::exception& problem) {
    return fail(Code::malformed, "'{}' of the request: {}", name, problem.what());
  }
}
template <class T>
Result<T> field_or(const Json& request, const char* name, T otherwise) {
  if (!request.contains(name) || request[name].is_null()) return otherwise;
  return field<T>(request, name);
}
// The whole request as a struct of the model.
template <class T>
Result<T> whole(const Json& request, std::string_view what) {
  try {
    return request.get<T>();
  } catch (const Json::exception& problem) {
    return fail(Code::malformed, "{}: {}", what, problem.what());
  }
}

Result<void> check_id(std::string_view id, std::string_view what);       // [a-z0-9][a-z0-9.-]{0,62}
Result<void> check_segment(std::string_view name);                       // [a-zA-Z0-9._-]{1,63}
Result<void> check_volume_name(std::string_view name);                   // [a-z0-9][a-z0-9._-]{0,126}
Result<void> check_digest(const Digest& digest, std::string_view what);  // sha256 and 64 hex digits
Result<void> check_layers(const std::vector<Digest>& layers, bool may_be_empty);
Result<void> check_duration(milliseconds value, milliseconds most, std::string_view what);
Result<void> check_argv(const std::vector<std::string>& argv, const std::vector<std::string>& env);
// "shop/4f2a/catalog": relative, no empty, "." or ".." parts, no NUL, at most 1,024 bytes.
Result<void> check_relative_path(std::string_view path, std::string_view what);
// Ids, layers, mounts, bounds of a spec; `checkouts` is where bind sources lie. What reaches beyond the
// container (needs_of) is the grants' to check, and the rest the engine's: without a grant it refuses, too.
Result<void> check_spec(const ContainerSpec& spec, const std::string& checkouts);
Result<void> check_copy(const build::CopyRequest& request);

}  // namespace naru::launcher
