// Everything that is counted, as Prometheus reads it (text exposition format 0.0.4).
#pragma once

#include <string>

#include "control/api.h"

namespace naru::control {

std::string metrics_text(const Context& context);

}  // namespace naru::control
