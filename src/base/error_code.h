// Every code stands once in error_catalogue.def, with its HTTP status, meaning and remedy.
#pragma once

#include <optional>
#include <string_view>

namespace naru {

enum class Code : unsigned char {
#define NARU_ERROR(name, http_status, meaning, remedy) name,
#include "base/error_catalogue.def"
#undef NARU_ERROR
};

struct CodeInfo {
  Code code;
  std::string_view name;
  int http_status;
  std::string_view meaning;
  std::string_view remedy;
};

const CodeInfo& code_info(Code code);
std::optional<Code> code_from_name(std::string_view name);

}  // namespace naru
