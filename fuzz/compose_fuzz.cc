// Any bytes: the compose reader answers with a plan or an error.
#include <cstddef>
#include <cstdint>

#include "format/compose.h"
#include "format/dotenv.h"

// fy_token_get_text of libfyaml 0.7.12 loses four kilobytes for every text of many pieces (escapes); its
// iterator over the pieces, the public way around, gives wrong text. Our own leaks have other frames.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libfyaml";
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  naru::format::ComposeInput input;
  input.variables = {{"A", "a"}, {"N", "3"}};
  input.files.exists = [](const std::string&) { return true; };
  // The same bytes as an env file reach the other parser.
  input.files.read_file = [&](const std::string& path) -> naru::Result<std::string> {
    if (path == ".env") return naru::fail(naru::Code::not_found, "none");
    return std::string(text);
  };
  const auto file = naru::format::parse_compose(text, input);
  if (file) (void)naru::Json(file->spec).dump(-1, ' ', false, naru::Json::error_handler_t::replace);
  (void)naru::format::parse_dotenv(text, ".env", {});
  return 0;
}
