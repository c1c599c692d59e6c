// JSON as text: the one way to write it.
#pragma once

#include <string>

#include "model/json.h"

namespace naru {

// On one line, or on lines with that many blanks for each level. A byte that is not UTF-8 (of a commit's
// author, a check's output, what a program said) becomes U+FFFD; nothing is thrown.
std::string json_text(const Json& json, int indent = -1);

}  // namespace naru
