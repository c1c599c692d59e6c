// A Dockerfile, read: stages of instructions with their words still unexpanded (what $x is worth is known
// only while building: see expand_word). Pure; the bytes may be hostile.
//
// Source: the Dockerfile reference of BuildKit (docs.docker.com/reference/dockerfile). Understood: FROM, RUN,
// COPY, ADD, ENV, ARG, WORKDIR, USER, EXPOSE, ENTRYPOINT, CMD, LABEL, VOLUME, HEALTHCHECK, SHELL, STOPSIGNAL
// and the directives `syntax` and `escape`. Anything else is an error with file, line, column, the line and
// what to write instead; nothing is ignored.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "model/service_spec.h"

namespace naru::format {

inline constexpr std::size_t kMaxDockerfileBytes = 1 << 20;
inline constexpr std::size_t kMaxDockerfileStages = 64;
inline constexpr std::size_t kMaxDockerfileInstructions = 2048;
inline constexpr std::size_t kMaxExpandedWordBytes = 64 << 10;

// RUN, CMD and ENTRYPOINT: a shell form has one word, the whole command line.
struct DockerCommand {
  bool shell = false;
  std::vector<std::string> words;
};

struct Assignment {
  std::string name;   // ENV and LABEL: still a word to expand
  std::string value;  // a word to expand
};

struct RunInstruction {
  DockerCommand command;
};
struct CopyInstruction {
  bool add = false;
  std::vector<std::string> sources;
  std::string dest;
  std::string from;  // --from: a stage's name or number, or an image; "" = the context
  std::string chown, chmod;
};
struct EnvInstruction {
  std::vector<Assignment> assignments;
};
struct ArgInstruction {
  struct Declaration {
    std::string name;
    std::optional<std::string> value;  // a word to expand
  };
  std::vector<Declaration> declarations;
};
struct WorkdirInstruction {
  std::string path;
};
struct UserInstruction {
  std::string user;
};
struct ExposeInstruction {
  std::vector<std::string> ports;
};
struct EntrypointInstruction {
  DockerCommand command;
};
struct CmdInstruction {
  DockerCommand command;
};
struct LabelInstruction {
  std::vector<Assignment> assignments;
};
struct VolumeInstruction {
  std::vector<std::string> paths;
};
// `command` none: HEALTHCHECK NONE. A zero duration or retries: not given.
struct HealthcheckInstruction {
  std::optional<DockerCommand> command;
  milliseconds interval{0}, timeout{0}, start_period{0}, start_interval{0};
  std::uint32_t retries = 0;
};
struct ShellInstruction {
  std::vector<std::string> words;
};
struct StopsignalInstruction {
  std::string signal;
};

using InstructionBody =
    std::variant<RunInstruction, CopyInstruction, EnvInstruction, ArgInstruction, WorkdirInstruction,
                 UserInstruction, ExposeInstruction, EntrypointInstruction, CmdInstruction, LabelInstruction,
                 VolumeInstruction, HealthcheckInstruction, ShellInstruction, StopsignalInstruction>;

struct Instruction {
  std::size_t line = 0;  // of its keyword, from 1
  std::string keyword;   // upper case
  std::string text;      // as written, continuations joined: "RUN apt-get update"
  InstructionBody body;
};

struct Stage {
  std::size_t line = 0;
  std::string name;      // AS, lower case; "" without
  std::string base;      // a word to expand: an image, an earlier stage's name, or "scratch"
  std::string platform;  // a word to expand; "" without
  std::string text;      // "FROM debian:bookworm-slim AS build"
  std::vector<Instruction> instructions;
};

struct Dockerfile {
  std::string path;  // as given, for messages
  char escape = '\\';
  std::vector<ArgInstruction::Declaration> global_args;  // ARG before the first FROM
  std::vector<Stage> stages;                             // at least one
  std::vector<std::string> warnings;                     // "catalog/Dockerfile:3:1: ..."

  // The stage that a `target` or `--from` names, by name (any case) or number; none: no such stage.
  std::optional<std::size_t> find_stage(std::string_view name) const;
};

// `path` names the file in errors. Errors: dockerfile_invalid, unsupported, too_large. The context of an
// error is
// "<path>:<line>:<column>: <what>", then the line itself and a marker below it.
Result<Dockerfile> parse_dockerfile(std::string_view bytes, std::string_view path);

// What a variable is worth; none: not set.
using VariableLookup = std::function<std::optional<std::string>(std::string_view name)>;

// One word as the Dockerfile reference's "Environment replacement" says: $x, ${x}, ${x:-y}, ${x-y}, ${x:+y},
// ${x+y},
// ${x:?y}, ${x?y}; quotes are removed, the escape character protects, single quotes stop substitution.
// Errors (without a position: the caller knows the line): dockerfile_invalid, too_large.
Result<std::string> expand_word(std::string_view word, const VariableLookup& lookup, char escape = '\\');

// "<path>:<line>: <what>" as parse_dockerfile's errors, for what is found out later.
std::string at_line(std::string_view path, std::size_t line, std::string_view what);

// The graph in a few lines of text, for golden files and `--dry-run`.
std::string describe(const Dockerfile& file);

}  // namespace naru::format
