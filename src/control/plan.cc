#include "control/plan.h"

#include "control/checkout.h"
#include "control/pipeline_log.h"
#include "pipeline/pipeline.h"

namespace naru::control {

std::vector<Grant> grants_of(const Core& core, const std::string& app) {
  return core.read([&](const State& state) {
    const auto found = state.apps.find(app);
    return found == state.apps.end() ? std::vector<Grant>() : grants_in(found->second.grants);
  });
}

namespace {

std::map<std::string, std::string> variables_of(const Core& core, const std::string& app,
                                                std::string_view environment) {
  return core.read([&](const State& state) {
    const auto found = state.environments.find(env_key(app, environment));
    return found == state.environments.end() ? std::map<std::string, std::string>() : found->second.variables;
  });
}

// Volumes are an environment's own; a folder of the machine is the same one for all of them.
Result<void> check_one_writer(const ApplicationSpec& one, std::string_view name, const ApplicationSpec& other,
                              std::string_view other_name, const std::string& app) {
  for (const ServiceSpec& service : one.services)
    for (const MountSpec& mount : service.mounts) {
      if (!mount.of_machine() || mount.read_only) continue;
      for (const ServiceSpec& there : other.services)
        if (there.writes(mount) && !(service.shared && there.shared))
          return std::unexpected(
              Error{Code::compose_invalid,
                    fmt::format("services.{}: {} and {} would both write {}; state is never run twice",
                                service.name, name, other_name, mount.source),
                    0,
                    fmt::format(
                        "give each environment a folder of its own: write ${{FOLDER}} in its place, and naru "
                        "env set {}/{} FOLDER=...; or say x-naru.shared: true when the program shares it",
                        app, other_name)});
    }
  return {};
}

void add_warnings(Plan& plan, const std::vector<format::ComposeDiagnostic>& warnings) {
  for (const format::ComposeDiagnostic& warning : warnings)
    if (std::string text = warning.text(); std::ranges::find(plan.warnings, text) == plan.warnings.end())
      plan.warnings.push_back(std::move(text));
}

Result<void> check_images(const Plan& plan, const ApplicationSpec& other, std::string_view name,
                          const std::string& app) {
  for (const ServiceSpec& service : plan.spec.services) {
    const ServiceSpec* there = other.find(service.name);
    if (there != nullptr && there->build == service.build && there->image == service.image) continue;
    return plan.error_at(
        "services." + service.name, Code::compose_invalid,
        fmt::format("variables give it another image in {} than in production; the same images go through "
                    "every environment",
                    name),
        fmt::format(
            "let variables change `environment` only, or give {0}/{1} the same values: naru env ls {0}/{1}",
            app, name));
  }
  return {};
}

Result<Plan> read_unmasked(const Core& core, const std::filesystem::path& checkout, const std::string& app) {
  Plan plan;
  const std::vector<Grant> grants = grants_of(core, app);
  auto production = TRY(read_compose(checkout, app, variables_of(core, app, kProduction), grants));
  plan.spec = std::move(production.spec);
  plan.places = std::move(production.places);
  add_warnings(plan, production.warnings);
  for (const EnvironmentSpec& environment : plan.spec.every_environment()) {
    if (environment.name == kProduction) continue;
    const std::string shown = app + "/" + environment.name;
    auto other = TRY(read_compose(checkout, shown, variables_of(core, app, environment.name), grants));
    TRY(check_images(plan, other.spec, environment.name, app));
    TRY(check_one_writer(plan.spec, kProduction, other.spec, environment.name, app));
    for (const auto& [name, spec] : plan.elsewhere)
      TRY(check_one_writer(spec, name, other.spec, environment.name, app));
    add_warnings(plan, other.warnings);
    plan.elsewhere.emplace(environment.name, std::move(other.spec));
  }
  for (const std::string& name : core.read(
           [&](const State& state) { return pipeline::undeclared_environments(state, app, plan.spec); }))
    plan.warnings.push_back(fmt::format(
        "x-naru.environments does not declare {0}, which {1} has: it stays as it is. Remove it with "
        "`naru app rm {1}/{0}`",
        name, app));
  return plan;
}

}  // namespace

std::unexpected<Error> Plan::error_at(const std::string& place, Code code, std::string message,
                                      std::string hint) const {
  format::ComposeDiagnostic found;
  if (const auto at = places.find(place); at != places.end()) found = at->second;
  if (found.file.empty()) return std::unexpected(Error{code, std::move(message), 0, std::move(hint)});
  found.message = std::move(message);
  found.hint = hint;
  return std::unexpected(Error{code, found.text(), 0, std::move(hint)});
}

// A fault or a warning quotes the file as it reads with the variables in it.
Result<Plan> read_plan(const Core& core, const std::filesystem::path& checkout, const std::string& app) {
  const std::vector<std::string> secrets = secrets_of(core, app);
  auto plan = read_unmasked(core, checkout, app);
  if (!plan) {
    Error& error = plan.error();
    error.context = mask(std::move(error.context), secrets);
    error.remedy = mask(std::move(error.remedy), secrets);
    return plan;
  }
  for (std::string& warning : plan->warnings) warning = mask(std::move(warning), secrets);
  return plan;
}

}  // namespace naru::control
