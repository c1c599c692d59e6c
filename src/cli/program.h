// Another program, run to its end.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace naru::cli {

struct ProgramEnd {
  int status = 0;      // 128 + signal when killed
  std::string output;  // its standard output, at most 64 KiB
};
// Searched in PATH; `input` is what it reads. Under sudo it runs as the person who called sudo, so that files
// in the person's folders stay theirs. command_not_found, system
Result<ProgramEnd> run_program(const std::vector<std::string>& argv, std::string_view input = {});

}  // namespace naru::cli
