// One stage of the plan: its instructions, in order, over a state of configuration, arguments and key.
#pragma once

#include "build/plan.h"

namespace naru::build {

using ArgValues = std::map<std::string, std::optional<std::string>>;

// What is known before a stage begins.
struct StageScope {
  const format::Dockerfile& file;
  const PlanOptions& options;
  const ContextListing& context;
  std::map<std::string, std::string> global_args;  // with the platform's
  // Where COPY --from finds its stage: its text to an index into Plan::stages and that stage's key.
  std::map<std::string, std::pair<std::size_t, Digest>> origins;
};

class StagePlanner {
 public:
  // `stage` has name, parent, image, config and key of what it stands on; `args`: inherited from a parent
  // stage.
  StagePlanner(const StageScope& scope, PlanStage& stage, ArgValues& args)
      : scope_(scope), stage_(stage), args_(args) {}

  Result<void> apply(const format::Instruction& instruction);

  // Each changes the state; errors have no position yet.
  Result<void> operator()(const format::RunInstruction& i);
  Result<void> operator()(const format::CopyInstruction& i);
  Result<void> operator()(const format::EnvInstruction& i);
  Result<void> operator()(const format::ArgInstruction& i);
  Result<void> operator()(const format::WorkdirInstruction& i);
  Result<void> operator()(const format::UserInstruction& i);
  Result<void> operator()(const format::ExposeInstruction& i);
  Result<void> operator()(const format::EntrypointInstruction& i);
  Result<void> operator()(const format::CmdInstruction& i);
  Result<void> operator()(const format::LabelInstruction& i);
  Result<void> operator()(const format::VolumeInstruction& i);
  Result<void> operator()(const format::HealthcheckInstruction& i);
  Result<void> operator()(const format::ShellInstruction& i);
  Result<void> operator()(const format::StopsignalInstruction& i);

 private:
  std::optional<std::string> variable(std::string_view name) const;
  Result<std::string> expand(std::string_view word) const;
  std::vector<std::string> argv(const format::DockerCommand& command) const;
  std::string absolute(std::string_view path) const;  // against the working directory; keeps a trailing slash
  void add_step(PlanStep step);
  Result<void> add_context_files(const std::vector<std::string>& sources, std::vector<KeyPart>& parts) const;
  Result<std::vector<const ContextEntry*>> match(const std::string& source) const;

  const StageScope& scope_;
  PlanStage& stage_;
  ArgValues& args_;
  const format::Instruction* current_ = nullptr;
  bool cmd_set_ = false;
};

bool is_proxy_variable(std::string_view name);
std::string one_line(std::string_view text);

}  // namespace naru::build
