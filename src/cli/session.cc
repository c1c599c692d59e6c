#include "cli/session.h"

#include <filesystem>

namespace naru::cli {

ControlPlace Session::place() const {
  ControlPlace place;
  const auto given = [this](const char* name) {
    const auto value = variable(name);
    return value && !value->empty() ? value : std::nullopt;
  };
  if (data.empty()) {
    if (const auto url = given("NARU_URL")) {
      place.url = *url;
      place.token = given("NARU_TOKEN").value_or("");
      return place;
    }
    place.data = given("NARU_DATA").value_or(place.data);
  } else {
    place.data = data;
  }
  std::error_code error;
  const auto absolute = std::filesystem::absolute(place.data, error).lexically_normal();
  if (!error) place.data = absolute.has_filename() ? absolute.string() : absolute.parent_path().string();
  return place;
}

void Session::notice(std::string_view text) const {
  terminal.err(fmt::format("note: {}\n", text));
}

void Session::document(const Json& json) const {
  terminal.out(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

void Session::json_line(const Json& json) const {
  terminal.out(json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace naru::cli
