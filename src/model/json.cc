#include "model/json.h"

#include "model/json_text.h"

namespace naru {

Result<Json> parse_json(std::string_view bytes, std::string_view what) {
  bool too_deep = false;
  Json parsed = Json::parse(
      bytes,
      [&](int depth, Json::parse_event_t, Json&) {
        too_deep = too_deep || depth > kMaxJsonDepth;
        return !too_deep;
      },
      false);
  if (too_deep) return fail(Code::malformed, "{}: nested deeper than {}", what, kMaxJsonDepth);
  if (parsed.is_discarded()) return fail(Code::malformed, "{}: not valid JSON", what);
  return parsed;
}

std::string json_text(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace naru
