#include "model/json.h"

namespace naru {

Result<Json> parse_json(std::string_view bytes, std::string_view what) {
  Json parsed = Json::parse(bytes, nullptr, false);
  if (parsed.is_discarded()) return fail(Code::malformed, "{}: not valid JSON", what);
  return parsed;
}

}  // namespace naru
