// Splits a command line as a POSIX shell would, without expansions (compose's `command: "..."`; python's
// shlex). Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace naru::format {

// malformed for a quote that does not end or a backslash at the end.
Result<std::vector<std::string>> split_shell_words(std::string_view text);

}  // namespace naru::format
