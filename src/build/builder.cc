#include "build/builder.h"

#include "build/build_run.h"
#include "build/plan_stage.h"

namespace naru::build {

Result<BuildResult> Builder::build(const BuildRequest& request, const Progress& progress,
                                   std::stop_token stop) const {
  return BuildRun(bench_, images_, cache_, clock_, options_, request, progress).build(stop);
}

std::map<std::string, std::string> host_proxy_variables(const std::vector<std::string>& environment) {
  std::map<std::string, std::string> found;
  for (const std::string& variable : environment) {
    const auto equals = variable.find('=');
    if (equals == std::string::npos || !is_proxy_variable(variable.substr(0, equals))) continue;
    found[variable.substr(0, equals)] = variable.substr(equals + 1);
  }
  return found;
}

}  // namespace naru::build
