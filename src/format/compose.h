// Reads a compose file into what the platform runs. Pure: files are met only through ComposeFiles.
//
// Source: the Compose Specification (compose-spec.io) over YAML 1.2, with Naru's keys under `x-naru` (at the
// root and in services.*). What the file asks for and Naru does not do is an error with its place, never
// ignored; an unknown key is a warning; other `x-*` keys are the user's own and never read.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/grant.h"

namespace naru::format {

inline constexpr std::size_t kMaxComposeBytes = 1 << 20;
inline constexpr std::size_t kMaxComposeErrors = 20;  // what comes after is counted, not kept
inline constexpr std::size_t kMaxComposeWarnings = 100;
inline constexpr std::size_t kMaxServices = 200;
// Of all services, ranges expanded.
inline constexpr std::size_t kMaxPorts = 1000;
inline constexpr std::size_t kMaxHostPorts = 256;
inline constexpr std::size_t kMaxUdpPorts = 256;
inline constexpr std::size_t kMaxNetworks = 32;

// The checkout, read-only. Paths are relative to the compose file's folder, normalised and never escape it.
// Either may be empty: then env files and `.env` are absent and existence is not checked.
struct ComposeFiles {
  // not_found when there is no such file.
  std::function<Result<std::string>(const std::string& path)> read_file{};
  // True for files and folders.
  std::function<bool(const std::string& path)> exists{};
  // True when a part of the path is a symbolic link.
  std::function<bool(const std::string& path)> passes_link{};
};

struct ComposeInput {
  std::string file_name = "compose.yaml";          // as shown in messages
  std::string app = "APP";                         // as shown in remedies: "naru env set APP VAR=..."
  std::map<std::string, std::string> variables{};  // of the environment; they win over the `.env` file
  ComposeFiles files{};
  std::vector<Grant> grants{};  // what the operator allows the application
};

// One remark on the file, with its place.
struct ComposeDiagnostic {
  Code code = Code::compose_invalid;
  std::string file;
  std::uint32_t line = 0, column = 0;  // from 1; 0 = the file as a whole
  std::string path;                    // "services.web.ports[0]"; "" = the root
  std::string message;                 // what was found, what was expected
  std::string excerpt;                 // the line of the file; "" = none
  std::string hint;                    // what to do; may be empty

  // "compose.yaml:7:5: services.web.ports[0]: ...", the line, a caret, "hint: ...". Without a trailing
  // newline.
  std::string text() const;
};

struct ComposeFile {
  ApplicationSpec spec;
  std::vector<ComposeDiagnostic> warnings;
  // Where what is checked later stands, without a message: "services.web" (what gives it its image) and
  // "services.web.ports:8077" (by host port).
  std::map<std::string, ComposeDiagnostic> places;
};

// Every fault of the file is in the one error (up to kMaxComposeErrors), each as ComposeDiagnostic::text(),
// separated by newlines. compose_invalid; forbidden when the first would reach beyond its container and is
// not granted; unsupported when it is something Naru does not do yet; too_large beyond kMaxComposeBytes.
Result<ComposeFile> parse_compose(std::string_view text, const ComposeInput& input);

// The names that a compose file may have, in the order in which they are looked for.
inline constexpr std::string_view kComposeFileNames[] = {"compose.yaml", "compose.yml", "docker-compose.yaml",
                                                         "docker-compose.yml"};

}  // namespace naru::format
