// Builds an image from a checkout: plans, takes from the cache what is there, lets the Workbench do the rest,
// and writes configuration and manifest into the store. Stages that do not need each other run side by side.
//
// Deterministic: same Dockerfile, arguments, context and base images give the same manifest digest, whatever
// commit they come from (the configuration's time is fixed), as long as the steps' records are in the cache
// or the steps themselves are reproducible.
//
// build() may be called on several threads at once; it blocks until the end. Nothing is left behind on any
// error: benches are discarded, a later build goes on from the steps that were done.
#pragma once

#include <functional>
#include <stop_token>

#include "base/clock.h"
#include "build/cache.h"
#include "build/plan.h"
#include "build/ports.h"
#include "build/workbench.h"

namespace naru::build {

struct BuildRequest {
  std::string id;                  // for people who look at the benches, whose ids begin with it
  std::string name;                // the service, in progress lines: "catalog"
  std::filesystem::path checkout;  // absolute; checkouts/<...>
  std::string checkout_path;  // the same relative to checkouts/, as the launcher wants it: "<app>/<commit>"
  std::string context = ".";  // relative to the checkout
  std::string dockerfile = "Dockerfile";  // relative to the context
  std::string target;
  std::map<std::string, std::string> args;
  std::map<std::string, std::string> proxy;  // the host's proxy variables, see host_proxy_variables()
  bool missing_target_is_fine = false;  // a `test` stage that is not there: BuildResult without a manifest
  milliseconds step_timeout = kDefaultStepTimeout;
};

struct StepReport {
  std::string stage;
  std::size_t line = 0;
  std::string instruction;
  bool cached = false;
  std::string why;  // of a step that ran: what differs from last time
  milliseconds duration{0};
};

struct BuildResult {
  Digest manifest;     // empty: the target is not in the Dockerfile
  bool cached = true;  // no step had to run
  image::Image image;
  std::vector<StepReport> steps;
  std::vector<std::string> warnings;
  milliseconds duration{0};
};

struct BuilderOptions {
  std::size_t parallel_stages = 2;  // of one build
};

class Builder {
 public:
  // Lines for people: "[catalog build 2/5] RUN make", then its output. On any thread, one at a time.
  using Progress = std::function<void(std::string_view line)>;

  // All are borrowed and outlive the builder.
  Builder(Workbench& bench, Images& images, const StepCache& cache, const Clock& clock,
          BuilderOptions options = {})
      : bench_(bench), images_(images), cache_(cache), clock_(clock), options_(options) {}

  // Errors: those of parse_dockerfile, scan_context, make_plan; base_image_missing; build_step_failed
  // (file:line, the instruction, exit code, last 20 lines of output); build_cancelled; timeout; those of the
  // ports.
  Result<BuildResult> build(const BuildRequest& request, const Progress& progress,
                            std::stop_token stop = {}) const;

 private:
  Workbench& bench_;
  Images& images_;
  const StepCache& cache_;
  const Clock& clock_;
  BuilderOptions options_;
};

// HTTP_PROXY, https_proxy, NO_PROXY ... as they stand in `environment` ("K=V", e.g. environ).
std::map<std::string, std::string> host_proxy_variables(const std::vector<std::string>& environment);

}  // namespace naru::build
