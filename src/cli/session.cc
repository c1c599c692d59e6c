#include "cli/session.h"

#include <filesystem>

#include "base/utf8.h"
#include "model/json_text.h"

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
      place.ca = given("NARU_CA").value_or("");
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

void Session::error(const Error& error) const {
  const std::string message = printable(error.message()), hint = printable(error.hint());
  if (json) {
    const Json body{{"code", code_info(error.code).name}, {"message", message}, {"hint", hint}};
    return terminal.err(json_text(Json{{"error", body}}) + "\n");
  }
  terminal.err(fmt::format("{} {}\n", paint(Tone::bad, "error:"), message));
  if (!hint.empty()) terminal.err(fmt::format("{} {}\n", paint(Tone::accent, "hint:"), hint));
}

Result<void> Session::confirm(bool yes, std::string_view what, std::string_view command) const {
  if (yes) return {};
  if (!terminal.read_line)
    return std::unexpected(
        Error{Code::invalid_argument,
              fmt::format("{} Nothing is done: standard input is no terminal, so nobody can be asked", what),
              0, fmt::format("if it is meant: {} --yes", command)});
  terminal.err(fmt::format("{} Go on? [y/N] ", what));
  const std::string answer = terminal.read_line();
  if (answer == "y" || answer == "Y" || answer == "yes") return {};
  return std::unexpected(
      Error{Code::cancelled, "nothing was removed", 0, "answer y to go on, or give --yes"});
}

std::string Session::written(std::string_view line) const {
  if (!terminal.interactive) return std::string(line);
  return terminal.style.colour ? clean_coloured(line) : clean(line);
}

int Session::ended() const {
  if (json)
    error(Error{Code::closed, "control ended the stream", 0, "it may be restarting; run the command again"});
  else
    notice("control ended the stream; it may be restarting");
  return 1;
}

void Session::document(const Json& json) const {
  terminal.out(json_text(json, 2) + "\n");
}

void Session::json_line(const Json& json) const {
  terminal.out(json_text(json) + "\n");
}

}  // namespace naru::cli
