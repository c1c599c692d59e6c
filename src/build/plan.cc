#include "build/plan.h"

#include <set>

#include "build/plan_stage.h"

namespace naru::build {

namespace {

std::unexpected<Error> at(const format::Dockerfile& file, std::size_t line, Error error) {
  error.context = format::at_line(file.path, line, error.context);
  return std::unexpected(std::move(error));
}

// What a stage's FROM stands for, once its words are expanded.
struct Base {
  std::optional<std::size_t> stage;  // in the Dockerfile
  std::string image;                 // canonical reference; "" with a stage or scratch
};

class Outline {
 public:
  Outline(const format::Dockerfile& file, const PlanOptions& options) : file_(file), options_(options) {}

  Result<void> draw() {
    TRY(read_global_args());
    const auto target =
        options_.target.empty() ? std::optional(file_.stages.size() - 1) : file_.find_stage(options_.target);
    if (!target) {
      std::vector<std::string> names;
      for (const format::Stage& stage : file_.stages)
        if (!stage.name.empty()) names.push_back(stage.name);
      return std::unexpected<Error>(Error{
          Code::dockerfile_invalid, fmt::format("{}: there is no stage '{}'", file_.path, options_.target), 0,
          names.empty() ? "name one with FROM ... AS name"
                        : fmt::format("there are: {}", fmt::join(names, ", "))});
    }
    target_ = *target;
    bases_.resize(file_.stages.size());
    return visit(target_);
  }

  const std::set<std::size_t>& stages() const { return needed_; }
  const std::map<std::string, std::size_t>& images() const { return images_; }
  const Base& base(std::size_t stage) const { return bases_[stage]; }
  const std::map<std::string, std::string>& global_args() const { return global_args_; }
  std::size_t target() const { return target_; }
  // Of a --from: an earlier stage, or a canonical reference.
  Result<Base> origin(std::size_t current, const std::string& from) const {
    if (const auto stage = file_.find_stage(from)) {
      if (*stage >= current)
        return fail(Code::dockerfile_invalid, "--from={} names a stage that comes later", from);
      return Base{stage, {}};
    }
    return Base{std::nullopt, TRY(reference(from))};
  }

 private:
  Result<void> read_global_args() {
    const format::Platform platform = format::host_platform();
    const std::string whole = platform.os + "/" + platform.architecture;
    for (const std::string side : {"TARGET", "BUILD"}) {
      global_args_[side + "PLATFORM"] = whole;
      global_args_[side + "OS"] = platform.os;
      global_args_[side + "ARCH"] = platform.architecture;
    }
    for (const auto& declaration : file_.global_args) {
      if (const auto given = options_.args.find(declaration.name); given != options_.args.end())
        global_args_[declaration.name] = given->second;
      else if (declaration.value)
        global_args_[declaration.name] = TRY(expand(*declaration.value));
    }
    return {};
  }

  Result<std::string> expand(std::string_view word) const {
    auto value = format::expand_word(
        word,
        [this](std::string_view name) -> std::optional<std::string> {
          const auto found = global_args_.find(std::string(name));
          return found == global_args_.end() ? std::nullopt : std::optional(found->second);
        },
        file_.escape);
    if (!value) return fail(value.error().code, "{}: {}", file_.path, value.error().context);
    return value;
  }

  static Result<std::string> reference(const std::string& text) {
    auto parsed = format::ImageReference::parse(text);
    if (!parsed) return fail(Code::dockerfile_invalid, "{}", parsed.error().context);
    return parsed->text();
  }

  Result<Base> base_of(std::size_t index) const {
    const format::Stage& stage = file_.stages[index];
    const format::Platform host = format::host_platform();
    const std::string platform = TRY(expand(stage.platform));
    if (!platform.empty() && platform != host.os + "/" + host.architecture)
      return fail(Code::unsupported, "the platform {} is not supported, only {}/{}", platform, host.os,
                  host.architecture);
    const std::string name = TRY(expand(stage.base));
    if (name.empty())
      return std::unexpected<Error>(
          Error{Code::dockerfile_invalid,
                fmt::format("FROM {} names no image: the argument has no value", stage.base), 0,
                "give the ARG before FROM a default"});
    if (name == "scratch") return Base{};
    for (std::size_t i = 0; i < index; ++i)
      if (!file_.stages[i].name.empty() && file_.stages[i].name == name) return Base{i, {}};
    return Base{std::nullopt, TRY(reference(name))};
  }

  Result<void> need(const Base& base, std::size_t line) {
    if (base.stage) return visit(*base.stage);
    if (!base.image.empty()) images_.emplace(base.image, line);
    return {};
  }

  // Recursion is bounded by the number of stages: every edge goes to an earlier one.
  Result<void> visit(std::size_t index) {
    if (!needed_.insert(index).second) return {};
    const format::Stage& stage = file_.stages[index];
    auto base = base_of(index);
    if (!base) return at(file_, stage.line, std::move(base).error());
    bases_[index] = *base;
    TRY(need(*base, stage.line));
    for (const format::Instruction& instruction : stage.instructions) {
      const auto* copy = std::get_if<format::CopyInstruction>(&instruction.body);
      if (copy == nullptr || copy->from.empty()) continue;
      auto from = origin(index, copy->from);
      if (!from) return at(file_, instruction.line, std::move(from).error());
      TRY(need(*from, instruction.line));
    }
    return {};
  }

  const format::Dockerfile& file_;
  const PlanOptions& options_;
  std::map<std::string, std::string> global_args_;
  std::set<std::size_t> needed_;
  std::map<std::string, std::size_t> images_;  // and where each is first named
  std::vector<Base> bases_;
  std::size_t target_ = 0;
};

PlanStage on_image(std::string name, const std::string& reference,
                   const std::map<std::string, image::Image>& images) {
  PlanStage stage;
  stage.name = std::move(name);
  std::vector<KeyPart> parts{{"the base image", "scratch"}};
  if (!reference.empty()) {
    const image::Image& image = images.at(reference);
    stage.image = reference;
    stage.config = image.config;
    stage.config.diff_ids.clear();
    stage.config.history.clear();
    parts[0].value.clear();
    for (const image::Layer& layer : image.layers) parts[0].value += layer.diff_id.text() + "\n";
  }
  stage.key = key_of(parts);
  return stage;
}

// Turns an outline into a plan, stage by stage.
class Planner {
 public:
  Planner(const format::Dockerfile& file, const PlanOptions& options, const ContextListing& context,
          const std::map<std::string, image::Image>& images, const Outline& outline)
      : file_(file),
        images_(images),
        outline_(outline),
        scope_{file, options, context, outline.global_args(), {}} {}

  Result<Plan> plan() {
    plan_.dockerfile = file_.path;
    plan_.warnings = file_.warnings;
    for (const std::size_t index : outline_.stages()) TRY(add(index));
    plan_.target = planned_.at(outline_.target());
    warn_of_unused_args();
    return std::move(plan_);
  }

 private:
  std::size_t index_of_image(const std::string& reference) {
    for (std::size_t i = 0; i < plan_.stages.size(); ++i)
      if (plan_.stages[i].name == reference) return i;
    plan_.stages.push_back(on_image(reference, reference, images_));
    return plan_.stages.size() - 1;
  }

  Result<void> add(std::size_t index) {
    const format::Stage& source = file_.stages[index];
    scope_.origins.clear();
    for (const format::Instruction& instruction : source.instructions) {
      const auto* copy = std::get_if<format::CopyInstruction>(&instruction.body);
      if (copy == nullptr || copy->from.empty()) continue;
      const Base from = TRY(outline_.origin(index, copy->from));
      const std::size_t planned = from.stage ? planned_.at(*from.stage) : index_of_image(from.image);
      scope_.origins[copy->from] = {planned, plan_.stages[planned].key};
    }
    const std::string name = source.name.empty() ? std::to_string(index) : source.name;
    const Base& base = outline_.base(index);
    PlanStage stage;
    ArgValues args;
    if (base.stage) {
      const std::size_t parent = planned_.at(*base.stage);
      stage.name = name;
      stage.parent = parent;
      stage.config = plan_.stages[parent].config;
      stage.key = plan_.stages[parent].key;
      args = args_.at(parent);
    } else {
      stage = on_image(name, base.image, images_);
    }
    stage.line = source.line;
    StagePlanner planner(scope_, stage, args);
    for (const format::Instruction& instruction : source.instructions) TRY(planner.apply(instruction));
    plan_.stages.push_back(std::move(stage));
    planned_[index] = plan_.stages.size() - 1;
    args_[plan_.stages.size() - 1] = std::move(args);
    return {};
  }

  void warn_of_unused_args() {
    std::set<std::string> declared;
    for (const auto& declaration : file_.global_args) declared.insert(declaration.name);
    for (const format::Stage& stage : file_.stages)
      for (const format::Instruction& instruction : stage.instructions)
        if (const auto* arg = std::get_if<format::ArgInstruction>(&instruction.body))
          for (const auto& declaration : arg->declarations) declared.insert(declaration.name);
    for (const auto& [name, value] : scope_.options.args)
      if (!declared.contains(name) && !is_proxy_variable(name))
        plan_.warnings.push_back(
            fmt::format("{}: the build argument {} is given but no ARG declares it", file_.path, name));
  }

  const format::Dockerfile& file_;
  const std::map<std::string, image::Image>& images_;
  const Outline& outline_;
  StageScope scope_;
  Plan plan_;
  std::map<std::size_t, std::size_t> planned_;  // stage of the Dockerfile to stage of the plan
  std::map<std::size_t, ArgValues> args_;       // by stage of the plan
};

}  // namespace

Result<std::map<std::string, std::size_t>> images_needed(const format::Dockerfile& file,
                                                         const PlanOptions& options) {
  Outline outline(file, options);
  TRY(outline.draw());
  return outline.images();
}

Result<Plan> make_plan(const format::Dockerfile& file, const PlanOptions& options,
                       const ContextListing& context, const std::map<std::string, image::Image>& images) {
  Outline outline(file, options);
  TRY(outline.draw());
  return Planner(file, options, context, images, outline).plan();
}

NARU_JSON_FIELDS(KeyPart, name, value)
}  // namespace naru::build
