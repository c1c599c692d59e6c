#include "format/dockerignore.h"

namespace naru::format {

namespace {

std::string_view trim(std::string_view text) {
  const auto from = text.find_first_not_of(" \t\r\f\v");
  if (from == text.npos) return {};
  return text.substr(from, text.find_last_not_of(" \t\r\f\v") - from + 1);
}

// As Go's filepath.Clean, and without a leading slash: patterns are relative to the context's root either
// way.
std::string clean(std::string_view pattern) {
  std::vector<std::string_view> parts;
  for (std::size_t at = 0; at <= pattern.size();) {
    const auto slash = std::min(pattern.find('/', at), pattern.size());
    const auto part = pattern.substr(at, slash - at);
    at = slash + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
      continue;
    }
    parts.push_back(part);
  }
  return fmt::format("{}", fmt::join(parts, "/"));
}

}  // namespace

Result<Dockerignore> Dockerignore::parse(std::string_view text, std::string_view file) {
  if (text.size() > kMaxBytes) return fail(Code::too_large, "{}: more than {} bytes", file, kMaxBytes);
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  Dockerignore ignore;
  std::size_t number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto newline = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, newline - at);
    at = newline + 1;
    ++number;
    if (line.starts_with('#')) continue;
    line = trim(line);
    const bool exception = line.starts_with('!');
    if (exception) line = trim(line.substr(1));
    if (line.empty()) {
      if (exception) return fail(Code::malformed, "{}:{}: '!' without a pattern", file, number);
      continue;
    }
    if (line.find('\0') != line.npos) return fail(Code::malformed, "{}:{}: a NUL byte", file, number);
    if (ignore.patterns_.size() == kMaxPatterns)
      return fail(Code::too_large, "{}:{}: more than {} patterns", file, number, kMaxPatterns);
    const std::string cleaned = clean(line);
    if (cleaned.empty()) continue;  // the root itself: moby never leaves it out
    auto glob = PathGlob::parse(cleaned, {.double_star = true});
    if (!glob) return fail(glob.error().code, "{}:{}: {}", file, number, glob.error().context);
    ignore.patterns_.push_back({std::move(*glob), exception});
    ignore.has_exceptions_ |= exception;
  }
  return ignore;
}

bool Dockerignore::ignores(std::string_view path) const {
  bool ignored = false;
  for (const Pattern& pattern : patterns_) {
    // It can only change the answer in the direction that it points to.
    if (pattern.exception != ignored) continue;
    bool hit = pattern.glob.matches(path);
    for (auto slash = path.find('/'); !hit && slash != path.npos; slash = path.find('/', slash + 1))
      hit = pattern.glob.matches(path.substr(0, slash));
    if (hit) ignored = !pattern.exception;
  }
  return ignored;
}

}  // namespace naru::format
