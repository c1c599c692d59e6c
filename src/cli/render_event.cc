#include "cli/fields.h"
#include "cli/render.h"
#include "model/json_text.h"

namespace naru::cli {

namespace {

// "InstanceReady" -> "instance ready".
std::string words_of(const std::string& name) {
  std::string out;
  for (const char c : name) {
    const bool upper = c >= 'A' && c <= 'Z';
    if (upper && !out.empty()) out += ' ';
    out += upper ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

std::string value_text(const Json& value) {
  if (value.is_string()) return clean(value.get_ref<const std::string&>());
  if (value.is_number() || value.is_boolean()) return json_text(value);
  return {};
}

// The members that say most, in the order in which they are read.
std::string details(const Json& event) {
  std::string out;
  const auto add = [&](std::string_view name, const std::string& value) {
    if (value.empty()) return;
    if (!out.empty()) out += ", ";
    out += name.empty() ? value : fmt::format("{} {}", name, value);
  };
  for (const char* inner : {"app", "release", "rollout", "instance", "pipeline"}) {
    const Json& object = member(event, inner);
    if (!object.is_object()) continue;
    add("", text(object, "id"));
    add("", text(object, "name"));
    if (number(object, "version") > 0) add("", fmt::format("v{}", number(object, "version")));
    if (!text(object, "commit").empty()) add("commit", text(object, "commit").substr(0, 7));
    add("", text(object, "subject"));
  }
  if (const Json& environment = member(event, "environment"); environment.is_object())
    add("", fmt::format("{}/{}", text(environment, "app"), text(environment, "name")));
  for (const char* key :
       {"environment", "service", "instance", "phase", "state", "next", "verdict", "reason", "error"})
    add("", value_text(member(event, key)));
  for (const char* key : {"allowed", "disallowed"})
    for (const Json& grant : list(event, key)) add(key, value_text(grant));
  add("exit", value_text(member(event, "exit_code")));
  const std::string by = value_text(member(event, "by"));
  add("by", by == "local" ? "hand, on this machine" : by);
  if (const Json& weight = member(event, "weight"); weight.is_number())
    add("", percent(weight.get<std::int64_t>()) + " of the users");
  return out;
}

}  // namespace

std::string render_event(const Json& event, const View& view) {
  const Json& what = member(event, "event");
  const std::string app = text(event, "app");
  const std::string line = fmt::format("{}: {}", words_of(text(what, "event")), details(what));
  return fmt::format(
      "{} {}{}\n", view.style.paint(Tone::dim, clock_time(number(event, "at"))),
      app.empty() ? "" : view.style.paint(Tone::bold, app) + " ",
      fit(line.ends_with(": ") ? line.substr(0, line.size() - 2) : line, std::max(60, view.columns - 20)));
}

}  // namespace naru::cli
