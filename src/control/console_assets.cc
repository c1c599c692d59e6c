// The console was not built: this file is replaced by the console's build.
#include "control/console_assets.h"

namespace naru::control {

std::span<const ConsoleAsset> console_assets() { return {}; }

}  // namespace naru::control
