// Errors (not_found) for names that there are not. A slip of a letter must not look like an application that
// prints nothing; so each names what was perhaps meant, or what there is.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/state.h"

namespace naru::control {

// `kind`: "application". `list_command` shows them all.
std::unexpected<Error> no_such(std::string_view kind, std::string_view name,
                               const std::vector<std::string_view>& known, std::string_view list_command);

Result<void> check_app(const State& state, std::string_view app);
Result<void> check_environment(const State& state, const std::string& app, const std::string& environment);
// A service of any release that is kept, or of a container that runs. "" is every service.
Result<void> check_service(const State& state, const std::string& app, const std::string& environment,
                           std::string_view service);

}  // namespace naru::control
