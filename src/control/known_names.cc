#include "control/known_names.h"

#include <algorithm>
#include <set>

#include "base/spelling.h"

namespace naru::control {

namespace {
constexpr std::size_t kMostNamed = 8, kLongestShown = 64;
}

std::unexpected<Error> no_such(std::string_view kind, std::string_view name,
                               const std::vector<std::string_view>& known, std::string_view list_command) {
  Error error{
      Code::not_found, fmt::format("there is no {} '{}'", kind, name.substr(0, kLongestShown)), 0, {}};
  if (const std::string_view meant = nearest(name, known); !meant.empty())
    error.remedy = fmt::format("did you mean {}? See `{}`", meant, list_command);
  else if (known.empty())
    error.remedy = fmt::format("there is none at all yet; see `{}`", list_command);
  else
    error.remedy = fmt::format(
        "there is: {}{}; see `{}`",
        fmt::join(known.begin(),
                  known.begin() + static_cast<std::ptrdiff_t>(std::min(known.size(), kMostNamed)), ", "),
        known.size() > kMostNamed ? " and more" : "", list_command);
  return std::unexpected(std::move(error));
}

Result<void> check_app(const State& state, std::string_view app) {
  std::vector<std::string_view> names;
  for (const auto& [name, row] : state.apps) {
    if (name == app) return {};
    names.push_back(name);
  }
  return no_such("application", app, names, "naru app ls");
}

Result<void> check_environment(const State& state, const std::string& app, const std::string& environment) {
  TRY(check_app(state, app));
  if (state.environments.contains(env_key(app, environment))) return {};
  std::vector<std::string_view> names;
  for (const auto& [key, row] : state.environments)
    if (row.app == app) names.push_back(row.name);
  return no_such(fmt::format("environment of {}", app), environment, names, "naru app ls");
}

Result<void> check_service(const State& state, const std::string& app, const std::string& environment,
                           std::string_view service) {
  if (service.empty()) return {};
  std::set<std::string_view> names;
  for (const auto& [id, release] : state.releases)
    if (release.app == app && release.environment == environment)
      for (const ReleaseService& one : release.services) names.insert(one.spec.name);
  for (const auto& [id, instance] : state.instances)
    if (instance.app == app && instance.environment == environment) names.insert(instance.service);
  if (names.contains(service)) return {};
  return no_such(fmt::format("service of {}", app), service, {names.begin(), names.end()},
                 "naru status " + target_of(app, environment));
}

}  // namespace naru::control
