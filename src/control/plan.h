// What a commit asks for, in every environment: its compose file, read with the variables of each.
#pragma once

#include <filesystem>

#include "control/core.h"
#include "format/compose.h"

namespace naru::control {

// What the operator allows the application.
std::vector<Grant> grants_of(const Core& core, const std::string& app);

struct Plan {
  ApplicationSpec spec;                              // production's
  std::map<std::string, ApplicationSpec> elsewhere;  // the other environments', by name
  std::vector<std::string> warnings;
  std::map<std::string, format::ComposeDiagnostic> places;  // of production's file, as ComposeFile has them

  // An error at one of the places; without a place when there is none.
  std::unexpected<Error> error_at(const std::string& place, Code code, std::string message,
                                  std::string hint) const;
};

// Errors: read_compose's; compose_invalid when two environments would write one folder of the machine, and
// when variables make an image differ between environments, since the same images go through all of them.
Result<Plan> read_plan(const Core& core, const std::filesystem::path& checkout, const std::string& app);

}  // namespace naru::control
