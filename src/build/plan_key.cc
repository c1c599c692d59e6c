// Keys, and what a miss says.
#include "build/plan.h"

namespace naru::build {

Digest key_of(const std::vector<KeyPart>& parts) {
  // Lengths first, so that no two lists of parts give the same bytes. The number is this format's version.
  Sha256 hash;
  hash.update("naru-build-key-1\n");
  for (const KeyPart& part : parts) {
    hash.update(fmt::format("{} {}\n", part.name.size(), part.value.size()));
    hash.update(part.name);
    hash.update(part.value);
  }
  return hash.finish();
}

std::string why_missed(const std::vector<KeyPart>& before, const std::vector<KeyPart>& now) {
  std::map<std::string, std::string> old;
  for (const KeyPart& part : before) old[part.name] = part.value;
  std::vector<std::string> reasons;
  for (const KeyPart& part : now) {
    const auto at = old.find(part.name);
    if (at == old.end())
      reasons.push_back(part.name + " is new");
    else if (at->second != part.value)
      reasons.push_back(part.name + " changed");
    if (at != old.end()) old.erase(at);
  }
  for (const auto& [name, value] : old) reasons.push_back(name + " is gone");
  if (reasons.empty()) return "its result is no longer in the cache";
  // A change that came from above explains the rest.
  if (reasons.front() == "the step before changed" && reasons.size() == 1) return reasons.front();
  constexpr std::size_t kShown = 3;
  std::string text = fmt::format(
      "{}", fmt::join(reasons.begin(), reasons.begin() + static_cast<long>(std::min(reasons.size(), kShown)),
                      ", "));
  if (reasons.size() > kShown) text += fmt::format(", and {} more", reasons.size() - kShown);
  return text;
}

std::string describe(const Plan& plan) {
  std::string text;
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    const PlanStage& stage = plan.stages[i];
    const std::string on = stage.parent          ? fmt::format("stage {}", plan.stages[*stage.parent].name)
                           : stage.image.empty() ? "scratch"
                                                 : stage.image;
    text += fmt::format("{}stage {} on {}\n", i == plan.target ? "target " : "", stage.name, on);
    for (const PlanStep& step : stage.steps) {
      const char* kind = step.kind == StepKind::run    ? "run"
                         : step.kind == StepKind::copy ? "copy"
                                                       : "directory";
      text += fmt::format("  {} {}: {}\n", step.line, kind, step.text);
      for (std::size_t p = 1; p < step.parts.size(); ++p) {
        const std::string& value = step.parts[p].value;
        if (!value.empty()) text += fmt::format("      {} = {}\n", step.parts[p].name, value);
      }
    }
    const format::ImageConfig& c = stage.config;
    text += fmt::format("  config env [{}] entrypoint [{}] cmd [{}] workdir '{}' user '{}' ports [{}]\n",
                        fmt::join(c.env, ", "), fmt::join(c.entrypoint, ", "), fmt::join(c.cmd, ", "),
                        c.working_dir, c.user, fmt::join(c.exposed_ports, ", "));
  }
  for (const std::string& warning : plan.warnings) text += "warning " + warning + "\n";
  return text;
}

}  // namespace naru::build
