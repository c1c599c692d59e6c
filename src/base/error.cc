#include <array>
#include <cstring>

#include "base/result.h"

namespace naru {

namespace {
constexpr std::array kCatalogue{
#define NARU_ERROR(name, http_status, meaning, remedy) \
  CodeInfo{Code::name, #name, http_status, meaning, remedy},
#include "base/error_catalogue.def"
#undef NARU_ERROR
};
}  // namespace

const CodeInfo& code_info(Code code) {
  return kCatalogue.at(static_cast<std::size_t>(code));
}

std::optional<Code> code_from_name(std::string_view name) {
  for (const CodeInfo& info : kCatalogue)
    if (info.name == name) return info.code;
  return std::nullopt;
}

std::string Error::message() const {
  std::string text = context.empty() ? std::string(code_info(code).meaning) : context;
  if (sys_errno != 0) {
    text += ": ";
    // In glibc each thread has its own text.
    text += std::strerror(sys_errno);  // NOLINT(concurrency-mt-unsafe)
  }
  return text;
}

std::string_view Error::hint() const {
  return remedy.empty() ? code_info(code).remedy : std::string_view(remedy);
}

}  // namespace naru
