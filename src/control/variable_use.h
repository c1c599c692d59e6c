// Which services see a variable. Naru hands no service variables that its compose file does not name: one
// that nobody names changes nothing, and whoever sets it must hear so.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/core.h"
#include "ipc/data_folder.h"

namespace naru::control {

// name -> services of the newest commit whose configuration depends on it, as the environment's variables are
// now. By trial: the compose file is read once more with another value of each. At most kMostTried names;
// none when nothing was pushed yet or the file cannot be read. Blocks: git and files.
inline constexpr std::size_t kMostTried = 20;
std::map<std::string, std::vector<std::string>> services_that_see(const Core& core,
                                                                  const ipc::DataFolder& data,
                                                                  const EnvKey& environment,
                                                                  const std::vector<std::string>& names);

// The commit that this change of variables would deliver again (pipeline::to_rerun), when its compose file
// says the same with and without it; "" when it does not, or cannot be read. Blocks: git and files.
std::string commit_that_does_not_see(const Core& core, const ipc::DataFolder& data,
                                     const command::SetVariables& change);

// Of a change that delivered nothing, for nothing was other than it is: what may keep the variables from what
// runs all the same, and the command that brings them there. "" = nothing does.
std::string way_to_deliver(const State& state, const EnvKey& environment);

}  // namespace naru::control
