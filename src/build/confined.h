// Paths inside one root folder that may be hostile: every open is openat2(2) beneath the root and through no
// symlink; symlinks are followed only by resolving them here first, as chroot(2) would.
#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace naru::build {

class ConfinedRoot {
 public:
  explicit ConfinedRoot(int root) : root_(root) {}  // borrowed
  int get() const { return root_; }

  // A path without links for one that may have them; its last parts need not exist.
  Result<std::string> resolve(std::string_view path) const;
  // `resolved`: from resolve(); "" is the root. The Fd is invalid, with errno, when it cannot be opened.
  Fd open(const std::string& resolved, int flags) const;
  // O_PATH, never following; with its stat. An invalid Fd: it is not there (any other trouble is an error).
  struct Found {
    Fd fd;
    struct stat info{};
  };
  Result<Found> look(const std::string& resolved) const;

 private:
  int root_;
};

// A directory's names, sorted, without "." and "..". too_large beyond `max`.
Result<std::vector<std::string>> names_of(int directory, std::string_view path, std::size_t max);

// "user", "user:group", ":group", numbers or names of the root's /etc/passwd and /etc/group.
struct Owner {
  uid_t uid = 0;
  gid_t gid = 0;
};
Result<Owner> find_owner(const ConfinedRoot& root, std::string_view chown);

}  // namespace naru::build
