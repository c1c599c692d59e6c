#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

#include "cli/session.h"

namespace naru::cli {

// Prints what the last word may become, one a line: verbs, options, and names of applications and services,
// when control answers. Never fails: a shell asks it while a person types.
void complete(const CLI::App& root, const std::vector<std::string>& words, const Session& session);

}  // namespace naru::cli
