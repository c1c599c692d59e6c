#include "format/path_glob.h"

namespace naru::format {

namespace {

// One class of "[a-z]" starting behind '['; `at` ends behind ']'.
Result<std::bitset<256>> parse_class(std::string_view pattern, std::size_t& at) {
  std::bitset<256> set;
  const auto byte = [&]() -> std::optional<unsigned char> {
    if (at < pattern.size() && pattern[at] == '\\') ++at;
    if (at >= pattern.size()) return std::nullopt;
    return static_cast<unsigned char>(pattern[at++]);
  };
  const bool negated = at < pattern.size() && pattern[at] == '^';
  if (negated) ++at;
  bool first = true;
  while (at < pattern.size() && (pattern[at] != ']' || first)) {
    first = false;
    const auto low = byte();
    auto high = low;
    if (at + 1 < pattern.size() && pattern[at] == '-' && pattern[at + 1] != ']') {
      ++at;
      high = byte();
    }
    if (!low || !high || *high < *low)
      return fail(Code::malformed, "pattern '{}': a class with a wrong range", pattern);
    for (unsigned c = *low; c <= *high; ++c) set.set(c);
  }
  if (at >= pattern.size()) return fail(Code::malformed, "pattern '{}': '[' without its ']'", pattern);
  ++at;
  if (negated) set.flip();
  set.reset('/');
  return set;
}

}  // namespace

Result<PathGlob> PathGlob::parse(std::string_view pattern, Options options) {
  if (pattern.size() > kMaxBytes)
    return fail(Code::too_large, "pattern '{}...': more than {} bytes", pattern.substr(0, 60), kMaxBytes);
  PathGlob glob;
  for (std::size_t at = 0; at < pattern.size();) {
    const char c = pattern[at++];
    if (c == '*' && options.double_star && at < pattern.size() && pattern[at] == '*') {
      while (at < pattern.size() && pattern[at] == '*') ++at;
      const bool slash = at < pattern.size() && pattern[at] == '/';
      if (slash) ++at;
      glob.tokens_.push_back({slash ? Kind::tree_slash : Kind::tree, 0, 0});
    } else if (c == '*') {
      glob.tokens_.push_back({Kind::star, 0, 0});
    } else if (c == '?') {
      glob.tokens_.push_back({Kind::any, 0, 0});
    } else if (c == '[') {
      glob.sets_.push_back(TRY(parse_class(pattern, at)));
      glob.tokens_.push_back({Kind::one_of, 0, glob.sets_.size() - 1});
    } else if (c == '\\') {
      if (at >= pattern.size())
        return fail(Code::malformed, "pattern '{}': nothing behind its last '\\'", pattern);
      glob.tokens_.push_back({Kind::literal, pattern[at++], 0});
    } else {
      glob.tokens_.push_back({Kind::literal, c, 0});
    }
  }
  return glob;
}

bool PathGlob::matches(std::string_view path) const {
  const std::size_t end = tokens_.size();
  std::vector<char> now(end + 1), next(end + 1);
  // Entering a repeating token also enters what stands behind it, since it may repeat zero times.
  const auto enter = [&](std::vector<char>& states, std::size_t state) {
    for (;; ++state) {
      states[state] = 1;
      if (state == end) return;
      const Kind kind = tokens_[state].kind;
      if (kind != Kind::star && kind != Kind::tree && kind != Kind::tree_slash) return;
    }
  };
  enter(now, 0);
  for (const char c : path) {
    std::ranges::fill(next, 0);
    bool alive = false;
    for (std::size_t i = 0; i < end; ++i) {
      if (!now[i]) continue;
      const Token& token = tokens_[i];
      switch (token.kind) {
        case Kind::literal:
          if (c != token.byte) continue;
          enter(next, i + 1);
          break;
        case Kind::any:
          if (c == '/') continue;
          enter(next, i + 1);
          break;
        case Kind::one_of:
          if (!sets_[token.set].test(static_cast<unsigned char>(c))) continue;
          enter(next, i + 1);
          break;
        case Kind::star:
          if (c == '/') continue;
          enter(next, i);
          break;
        case Kind::tree:
          enter(next, i);
          break;
        case Kind::tree_slash:
          next[i] = 1;  // inside "(.*/)": only a slash leaves it
          if (c == '/') enter(next, i + 1);
          break;
      }
      alive = true;
    }
    if (!alive) return false;
    now.swap(next);
  }
  return now[end];
}

}  // namespace naru::format
