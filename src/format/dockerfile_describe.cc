// The graph of a Dockerfile as text.
#include "format/dockerfile.h"
#include "model/json_text.h"

namespace naru::format {

namespace {

std::string literal(std::string_view text) {
  return json_text(text);
}

std::string literal(const std::vector<std::string>& words) {
  std::vector<std::string> parts;
  for (const std::string& word : words) parts.push_back(literal(word));
  return fmt::format("[{}]", fmt::join(parts, ", "));
}

std::string literal(const DockerCommand& command) {
  return command.shell ? "shell " + literal(command.words.front()) : "exec " + literal(command.words);
}

std::string literal(const std::vector<Assignment>& assignments) {
  std::vector<std::string> parts;
  for (const Assignment& a : assignments)
    parts.push_back(fmt::format("{}={}", literal(a.name), literal(a.value)));
  return fmt::format("{}", fmt::join(parts, " "));
}

std::string literal(const std::vector<ArgInstruction::Declaration>& declarations) {
  std::vector<std::string> parts;
  for (const auto& d : declarations)
    parts.push_back(d.value ? fmt::format("{}={}", d.name, literal(*d.value)) : d.name);
  return fmt::format("{}", fmt::join(parts, " "));
}

struct Describe {
  const Dockerfile& file;

  std::string origin(const std::string& from) const {
    if (from.empty()) return "the context";
    if (const auto stage = file.find_stage(from)) return fmt::format("stage {}", *stage);
    return "image " + literal(from);
  }
  std::string operator()(const RunInstruction& i) const { return literal(i.command); }
  std::string operator()(const CopyInstruction& i) const {
    std::string text = fmt::format("{} of {} to {}", literal(i.sources), origin(i.from), literal(i.dest));
    if (!i.chown.empty()) text += " chown " + literal(i.chown);
    if (!i.chmod.empty()) text += " chmod " + literal(i.chmod);
    return text;
  }
  std::string operator()(const EnvInstruction& i) const { return literal(i.assignments); }
  std::string operator()(const ArgInstruction& i) const { return literal(i.declarations); }
  std::string operator()(const WorkdirInstruction& i) const { return literal(i.path); }
  std::string operator()(const UserInstruction& i) const { return literal(i.user); }
  std::string operator()(const ExposeInstruction& i) const { return literal(i.ports); }
  std::string operator()(const EntrypointInstruction& i) const { return literal(i.command); }
  std::string operator()(const CmdInstruction& i) const { return literal(i.command); }
  std::string operator()(const LabelInstruction& i) const { return literal(i.assignments); }
  std::string operator()(const VolumeInstruction& i) const { return literal(i.paths); }
  std::string operator()(const HealthcheckInstruction& i) const {
    if (!i.command) return "none";
    return fmt::format("{} interval {}ms timeout {}ms start-period {}ms start-interval {}ms retries {}",
                       literal(*i.command), i.interval.count(), i.timeout.count(), i.start_period.count(),
                       i.start_interval.count(), i.retries);
  }
  std::string operator()(const ShellInstruction& i) const { return literal(i.words); }
  std::string operator()(const StopsignalInstruction& i) const { return literal(i.signal); }
};

}  // namespace

std::string describe(const Dockerfile& file) {
  std::string text;
  if (!file.global_args.empty()) text += fmt::format("args {}\n", literal(file.global_args));
  for (std::size_t i = 0; i < file.stages.size(); ++i) {
    const Stage& stage = file.stages[i];
    const auto parent = file.find_stage(stage.base);
    const bool on_stage = parent && *parent < i && file.stages[*parent].name == stage.base;
    text += fmt::format("stage {}{} on {}{}\n", i, stage.name.empty() ? "" : " " + stage.name,
                        on_stage ? fmt::format("stage {}", *parent) : "image " + literal(stage.base),
                        stage.platform.empty() ? "" : " platform " + literal(stage.platform));
    for (const Instruction& instruction : stage.instructions)
      text += fmt::format("  {} {} {}\n", instruction.line, instruction.keyword,
                          std::visit(Describe{file}, instruction.body));
  }
  for (const std::string& warning : file.warnings) text += "warning " + warning + "\n";
  return text;
}

}  // namespace naru::format
