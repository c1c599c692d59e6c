#include "control/variable_use.h"

#include <ranges>

#include "control/checkout.h"
#include "control/plan.h"
#include "control/views.h"
#include "pipeline/pipeline.h"

namespace naru::control {

namespace {

// A value that a name does not have: what is read differently with it depends on it.
constexpr const char* kOther = "naru-other-value";

// A commit, and what its compose file is read with.
struct Commit {
  std::string app, id;
  std::map<std::string, std::string> variables;
};

std::vector<std::string> all_of(const ApplicationSpec& spec) {
  std::vector<std::string> names;
  for (const ServiceSpec& service : spec.services) names.push_back(service.name);
  return names;
}

std::vector<std::string> differing(const ApplicationSpec& one, const ApplicationSpec& other) {
  if (one == other) return {};
  std::vector<std::string> names;
  for (const ServiceSpec& service : one.services)
    if (const ServiceSpec* there = other.find(service.name); there == nullptr || *there != service)
      names.push_back(service.name);
  return names.empty() ? all_of(one) : names;  // of x-naru, say
}

}  // namespace

std::map<std::string, std::vector<std::string>> services_that_see(const Core& core,
                                                                  const ipc::DataFolder& data,
                                                                  const EnvKey& environment,
                                                                  const std::vector<std::string>& names) {
  const Commit now = core.read([&](const State& state) {
    const auto found = state.environments.find(environment);
    if (found == state.environments.end()) return Commit{};
    const Pipeline* newest = newest_pipeline(state, found->second.app);
    return Commit{found->second.app, newest == nullptr ? "" : newest->commit, found->second.variables};
  });
  if (now.id.empty()) return {};
  const auto checkout = check_out(data, now.app, now.id);
  if (!checkout) return {};
  const std::vector<Grant> grants = grants_of(core, now.app);
  const auto as_it_is = read_compose(*checkout, now.app, now.variables, grants);
  if (!as_it_is) return {};
  std::map<std::string, std::vector<std::string>> out;
  for (std::size_t i = 0; i < std::min(names.size(), kMostTried); ++i) {
    auto variables = now.variables;
    variables[names[i]] = kOther;
    const auto tried = read_compose(*checkout, now.app, variables, grants);
    // A file that this value breaks (a port, say) uses it somewhere.
    out[names[i]] = tried ? differing(as_it_is->spec, tried->spec) : all_of(as_it_is->spec);
  }
  return out;
}

std::string commit_that_does_not_see(const Core& core, const ipc::DataFolder& data,
                                     const command::SetVariables& change) {
  const Commit now = core.read([&](const State& state) {
    const auto found = state.environments.find(change.environment);
    const Pipeline* again =
        found == state.environments.end() ? nullptr : pipeline::to_rerun(state, change.environment);
    return again == nullptr ? Commit{} : Commit{again->app, again->commit, found->second.variables};
  });
  if (now.id.empty()) return {};
  auto variables = now.variables;
  for (const auto& [name, value] : change.set) variables[name] = value;
  for (const std::string& name : change.unset) variables.erase(name);
  const auto checkout = check_out(data, now.app, now.id);
  if (!checkout) return {};
  const std::vector<Grant> grants = grants_of(core, now.app);
  const auto before = read_compose(*checkout, now.app, now.variables, grants);
  const auto after = read_compose(*checkout, now.app, variables, grants);
  return before && after && before->spec == after->spec ? now.id : std::string();
}

std::string way_to_deliver(const State& state, const EnvKey& key) {
  const auto found = state.environments.find(key);
  if (found == state.environments.end()) return {};
  const Environment& environment = found->second;
  const std::string target = target_of(environment.app, environment.name);
  const Pipeline* pipeline = newest_pipeline(state, environment.app);
  if (pipeline != nullptr && pipeline->state == StageState::failed)
    return fmt::format(
        "pipeline {} failed, so that what runs may not have it yet: `naru pipeline retry {}` delivers its "
        "commit again",
        pipeline->id, environment.app);
  const Release* stable = state.release(environment.stable);
  const Rollout* rollout = state.active_rollout(environment);
  for (const auto& [id, release] : std::views::reverse(state.releases)) {
    if (release.app != environment.app || release.environment != environment.name) continue;
    const bool runs = stable != nullptr && release.version <= stable->version;
    const bool comes = id > environment.offered || (rollout != nullptr && rollout->to == id) ||
                       (environment.pending == id && environment.approved);
    if (runs || comes) return {};
    if (environment.pending == id)
      return fmt::format("v{} waits for a person, and what runs may not have it yet: `naru promote {}`",
                         release.version, target);
    return fmt::format(
        "v{0} did not stay, so that what runs may not have it: `naru promote {1} v{0}` tries it again",
        release.version, target);
  }
  return {};
}

}  // namespace naru::control
