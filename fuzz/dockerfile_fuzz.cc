// Any bytes: the Dockerfile reader answers with stages or with an error that names its place; so does the
// reader of .dockerignore.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "format/dockerfile.h"
#include "format/dockerignore.h"

namespace format = naru::format;

namespace {

void require(bool ok) {
  if (!ok) std::abort();
}

std::optional<std::string> lookup(std::string_view name) {
  if (name == "A") return "a";
  if (name == "EMPTY") return "";
  return std::nullopt;
}

void expand(const format::Dockerfile& file, std::string_view word) {
  const auto expanded = format::expand_word(word, lookup, file.escape);
  require(!expanded || expanded->size() <= format::kMaxExpandedWordBytes);
}

void check(const format::Dockerfile& file) {
  require(!file.stages.empty() && file.stages.size() <= format::kMaxDockerfileStages);
  (void)format::describe(file);
  for (const format::Stage& stage : file.stages) {
    require(stage.name.empty() || file.find_stage(stage.name).has_value());
    expand(file, stage.base);
    for (const format::Instruction& instruction : stage.instructions) {
      require(instruction.line > 0);
      if (const auto* env = std::get_if<format::EnvInstruction>(&instruction.body))
        for (const auto& [name, value] : env->assignments) {
          expand(file, name);
          expand(file, value);
        }
      if (const auto* copy = std::get_if<format::CopyInstruction>(&instruction.body))
        expand(file, copy->dest);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto file = format::parse_dockerfile(bytes, "web/Dockerfile");
  if (file)
    check(*file);
  else
    require(file.error().context.starts_with("web/Dockerfile"));
  if (const auto ignore = format::Dockerignore::parse(bytes)) {
    (void)ignore->ignores("src/main.c");
    (void)ignore->ignores("node_modules/a/b/c.js");
  }
  return 0;
}
