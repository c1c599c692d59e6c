#include "cli/target.h"

#include <charconv>
#include <vector>

#include "cli/terminal.h"

namespace naru::cli {

namespace {

constexpr std::size_t kMaxName = 63;

bool is_name(std::string_view name) {
  if (name.empty() || name.size() > kMaxName) return false;
  for (const char c : name) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!letter && c != '-' && c != '_' && c != '.') return false;
  }
  return name.front() != '-' && name.front() != '.';
}

Result<std::vector<std::string>> split(std::string_view text, std::size_t most, std::string_view shape) {
  std::vector<std::string> parts;
  std::string_view rest = text;
  while (true) {
    const auto slash = rest.find('/');
    parts.emplace_back(rest.substr(0, slash));
    if (!is_name(parts.back()) || parts.size() > most)
      return std::unexpected(Error{Code::invalid_argument,
                                   fmt::format("'{}' is not {}", clean(text.substr(0, 100)), shape), 0,
                                   "see `naru status` for what there is"});
    if (slash == std::string_view::npos) return parts;
    rest.remove_prefix(slash + 1);
  }
}

}  // namespace

Result<Target> parse_app(std::string_view text) {
  auto parts = TRY(split(text, 2, "an application (APP or APP/ENVIRONMENT, as shop or shop/staging)"));
  Target target;
  target.app = parts[0];
  if (parts.size() == 2) target.env = parts[1];
  return target;
}

Result<std::string> parse_whole_app(std::string_view text, std::string_view why,
                                    const std::function<std::string(const std::string& app)>& instead) {
  const Target target = TRY(parse_app(text));
  if (text.find('/') == std::string_view::npos) return target.app;
  return std::unexpected(Error{Code::invalid_argument,
                               fmt::format("'{}' names an environment; {}", clean(std::string(text)), why), 0,
                               instead(target.app)});
}

Result<Target> parse_service(std::string_view text) {
  auto parts = TRY(split(text, 3, "a service (APP/SERVICE or APP/ENVIRONMENT/SERVICE, as shop/web)"));
  Target target;
  target.app = parts[0];
  if (parts.size() == 3) target.env = parts[1];
  if (parts.size() > 1) target.service = parts.back();
  return target;
}

Result<std::uint64_t> parse_version(std::string_view text) {
  std::string_view digits = text;
  if (digits.starts_with('v')) digits.remove_prefix(1);
  std::uint64_t version = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), version);
  if (error != std::errc() || end != digits.data() + digits.size() || version == 0)
    return std::unexpected(Error{Code::invalid_argument,
                                 fmt::format("'{}' is not a release (as v3)", clean(text.substr(0, 40))), 0,
                                 "see `naru releases APP`"});
  return version;
}

}  // namespace naru::cli
