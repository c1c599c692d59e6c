// The bare repository of an application: control/git/<app>.git, with hooks that run the naru program.
#pragma once

#include <string>

#include "base/result.h"
#include "ipc/data_folder.h"

namespace naru::control {

// Idempotent: makes what is missing and writes the hooks again.
Result<void> create_repository(const ipc::DataFolder& data, const std::string& app);

}  // namespace naru::control
