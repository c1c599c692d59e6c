// The last word of `naru down --all`: what no decision has stopped is stopped at the launcher itself.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/container.h"

namespace naru::control {

// The two of the launcher's operations that it needs.
struct ContainerStops {
  std::function<Result<std::vector<ContainerStatus>>()> list;
  std::function<Result<void>(const std::string& container)> stop;
};

// Several at once. The containers that run all the same, by name. An error: the launcher does not tell.
Result<std::vector<std::string>> stop_what_is_left(const ContainerStops& launcher);

}  // namespace naru::control
