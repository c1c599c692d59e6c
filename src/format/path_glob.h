// Patterns over slash-separated paths: `*` and `?` stay within a name, `[a-z]` and `[^a]` are classes, `\`
// protects, and where allowed `**` crosses directories. As Go's filepath.Match (COPY) and moby/patternmatcher
// (.dockerignore). Matching takes time proportional to pattern times path, whatever the pattern: it is a set
// of states, not backtracking.
#pragma once

#include <bitset>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace naru::format {

class PathGlob {
 public:
  static constexpr std::size_t kMaxBytes = 4096;
  struct Options {
    bool double_star = false;
  };
  // malformed: a class without its end, a trailing escape; too_large.
  static Result<PathGlob> parse(std::string_view pattern, Options options);
  bool matches(std::string_view path) const;
  static bool has_wildcard(std::string_view pattern) {
    return pattern.find_first_of("*?[\\") != pattern.npos;
  }

 private:
  enum class Kind { literal, any, one_of, star, tree, tree_slash };
  struct Token {
    Kind kind = Kind::literal;
    char byte = 0;
    std::size_t set = 0;  // one_of: index into sets_
  };
  std::vector<Token> tokens_;
  std::vector<std::bitset<256>> sets_;
};

}  // namespace naru::format
