// .dockerignore: which paths of a build context are left out. Semantics of moby/patternmatcher (what docker
// build and BuildKit use): the last pattern that matches a path or one of its parent directories decides; `!`
// brings back.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "format/path_glob.h"

namespace naru::format {

class Dockerignore {
 public:
  static constexpr std::size_t kMaxBytes = 1 << 20;
  static constexpr std::size_t kMaxPatterns = 4096;

  Dockerignore() = default;  // leaves nothing out
  // `file` names it in errors. Errors: malformed with file:line, too_large.
  static Result<Dockerignore> parse(std::string_view text, std::string_view file = ".dockerignore");

  // `path`: relative to the context, slashes, no leading "./".
  bool ignores(std::string_view path) const;
  // An ignored directory need not be entered, since no pattern could bring anything below it back.
  bool has_exceptions() const { return has_exceptions_; }
  bool empty() const { return patterns_.empty(); }

 private:
  struct Pattern {
    PathGlob glob;
    bool exception = false;
  };
  std::vector<Pattern> patterns_;
  bool has_exceptions_ = false;
};

}  // namespace naru::format
