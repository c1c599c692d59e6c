// The plan of a build: a Dockerfile with its arguments, base images and context becomes the steps of the
// stages that the target needs, each with its cache key. Pure: same input, same plan.
//
// A step changes the file system (RUN, COPY, ADD, WORKDIR); all other instructions only shape the
// configuration. Its key is the digest of its parts: the key that it stands on, its instruction after
// substitution, and what it sees: for RUN the environment, arguments, directory and user; for COPY the paths,
// modes and bytes of the files, never their times. Parts have names, so that a miss can say which one
// differs.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "build/context.h"
#include "build/workbench.h"
#include "format/dockerfile.h"
#include "image/store.h"

namespace naru::build {

// What an image or step stands for, in order; a part's value is text or a digest.
struct KeyPart {
  std::string name, value;
  bool operator==(const KeyPart&) const = default;
};
NARU_JSON(KeyPart)
Digest key_of(const std::vector<KeyPart>& parts);

enum class StepKind { run, copy, make_directory };

struct PlanStep {
  StepKind kind = StepKind::run;
  std::size_t line = 0;
  std::string text;  // as written, on one line: "RUN apt-get update"
  Digest key;
  std::vector<KeyPart> parts;
  RunRequest run;    // kind run; `build` is filled in when it runs
  CopyRequest copy;  // kind copy and make_directory; `build` and `from` are filled in when it runs
  std::optional<std::size_t> copy_from;  // index into Plan::stages; none: the context
};

struct PlanStage {
  std::string name;  // "build", or its number; of an image that COPY --from names: its reference
  std::size_t line = 0;
  std::optional<std::size_t> parent;  // index into Plan::stages
  std::string image;                  // canonical reference; "" on a parent or scratch
  std::vector<PlanStep> steps;
  std::vector<std::pair<std::string, std::optional<std::size_t>>>
      history;                 // instruction, and the step that it is
  format::ImageConfig config;  // the result's, without diff ids and history
  Digest key;                  // of the last step, or of what the stage stands on
};

struct Plan {
  std::string dockerfile;  // its path, for messages
  std::vector<PlanStage>
      stages;  // only the needed ones; parents and origins stand before those that need them
  std::size_t target = 0;
  std::vector<std::string> warnings;
};

struct PlanOptions {
  std::string target;                       // a stage's name or number; "" = the last
  std::map<std::string, std::string> args;  // --build-arg
  std::map<std::string, std::string>
      proxy;  // HTTP_PROXY and the like: predefined arguments that no key holds
};

// The images that the target needs (canonical references) and the line that first names each, from global
// arguments alone: resolve them, then plan. Errors: dockerfile_invalid (no such target, a bad reference),
// unsupported (another platform).
Result<std::map<std::string, std::size_t>> images_needed(const format::Dockerfile& file,
                                                         const PlanOptions& options);

// `images`: by canonical reference, all of images_needed().
// Errors, each with file:line: dockerfile_invalid, unsupported, build_source_missing, too_large.
Result<Plan> make_plan(const format::Dockerfile& file, const PlanOptions& options,
                       const ContextListing& context, const std::map<std::string, image::Image>& images);

// Which part of `now` differs from what the same step had before: "src/main.cc changed", "the step before
// changed".
std::string why_missed(const std::vector<KeyPart>& before, const std::vector<KeyPart>& now);

// The plan as text, for golden tests and `--dry-run`.
std::string describe(const Plan& plan);

}  // namespace naru::build
