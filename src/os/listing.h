// The names in a folder.
#pragma once

#include <dirent.h>

#include <memory>
#include <optional>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace naru::os {

struct Listed {
  std::string name;
  bool folder = false;  // as far as the file system says so without being asked for more
};

class Listing {
 public:
  // Takes over a folder that is open for reading. `what` names it in errors. system
  static Result<Listing> of(Fd folder, std::string_view what);
  // Of a folder that stays the caller's, O_PATH or not: opens it once more.
  static Result<Listing> open(int folder, std::string_view what);

  // The next one, in no order, without . and ..; nothing at the end. What is created or removed meanwhile may
  // or may not be among them. A folder that cannot be read to its end is an error, not a short folder. system
  Result<std::optional<Listed>> next();
  int fd() const { return ::dirfd(stream_.get()); }

 private:
  struct Close {
    void operator()(DIR* stream) const { ::closedir(stream); }
  };
  Listing(DIR* stream, std::string_view what) : stream_(stream), what_(what) {}
  std::unique_ptr<DIR, Close> stream_;
  std::string what_;
};

}  // namespace naru::os
