// The whole command line, with what it meets handed in.
#pragma once

#include "cli/session.h"

namespace naru::cli {

// `words` without the program's name. The exit status.
int run_words(const std::vector<std::string>& words, const Processes& processes, Terminal& terminal,
              const GetVariable& variable, const Clock& clock, const Pause& pause);

}  // namespace naru::cli
