// Continuous integration, decided: a push becomes a pipeline, its builds, and a release. Pure.
#pragma once

#include "model/changes.h"
#include "model/command.h"

namespace naru::pipeline {

// not_found for an unknown application. A push of the commit that is already being integrated changes
// nothing.
Result<void> decide(Changes& changes, const command::Push& push);
// The commit of a pipeline that failed, once more as a new pipeline. not_found; conflict when it did not
// fail, or when something newer was delivered or is on its way: that must not be taken back by the way.
Result<void> decide(Changes& changes, const command::RetryPipeline& retry);
void decide(Changes& changes, const command::PlanFinished& result);
void decide(Changes& changes, const command::BuildFinished& result);
// Ends what of the application has not ended.
void cancel(Changes& changes, const std::string& app, const std::string& reason);
// What `rerun` runs again; null before the first push.
const Pipeline* to_rerun(const State& state, const EnvKey& environment);
// What is being integrated, on its way to users or runs, again with other variables of `environment`: never
// an older commit than a newer one that did not come back.
void rerun(Changes& changes, const EnvKey& environment, const std::string& subject);

// Environments that the application has (from an earlier push, or made by variables) and the file does not
// declare: they run on.
std::vector<std::string> undeclared_environments(const State& state, const std::string& app,
                                                 const ApplicationSpec& spec);
// too_large when they are too many together with what the file declares.
Result<void> check_environments(const State& state, const std::string& app, const ApplicationSpec& spec);

// The newest release of `environment` that waits for the environment before it (Release::after), or nothing.
const Release* waiting_release(const State& state, const Environment& environment);
// Offers what the environment before it serves: the newest, or one that it served while a newer one was on
// its way there. Level-triggered: call after every decision.
void hand_on(Changes& changes, const EnvKey& environment);

// What the image calls a volume and no mount of the service covers: it is a folder of the container like any
// other, gone with it.
std::vector<std::string> volume_warnings(const ServiceSpec& spec, const ImageInfo& image);

// Equal revisions are the same thing: neither rebuilt nor redeployed. What only says how an image is made is
// left out. That it shares what it writes with another service of the release belongs to it: it is started
// otherwise.
Digest revision_of(const Release& release, const ReleaseService& service);

}  // namespace naru::pipeline
