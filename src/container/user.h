// Who a container's program runs as: numbers from the request, names from the image's own /etc/passwd and
// /etc/group, which are hostile input: bounded, and malformed lines are skipped.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace naru::container {

inline constexpr std::size_t kMaxAccountsBytes = 1 << 20;
inline constexpr std::size_t kMaxGroups = 1024;

struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // supplementary, with gid first
  std::string home = "/";
  bool operator==(const Identity&) const = default;
};

// `user`: "", "uid", "uid:gid", "name", "name:group" (OCI image configuration, User). A number need not be
// listed. Errors: not_found (a name that is not listed), invalid_argument (garbage).
Result<Identity> resolve_user(std::string_view user, std::string_view passwd, std::string_view group);

// The same with the files read inside a container's root (an O_PATH descriptor).
Result<Identity> resolve_user_in(std::string_view user, int root);

}  // namespace naru::container
