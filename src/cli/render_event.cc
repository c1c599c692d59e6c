#include "cli/fields.h"
#include "cli/render.h"

namespace naru::cli {

std::string render_event(const Json& event, const View& view) {
  const Json& what = member(event, "event");
  const std::string type = text(what, "type").empty() ? text(what, "event") : text(what, "type");
  return fmt::format("{} {} {} {}\n", view.style.paint(Tone::dim, clock_time(number(event, "at"))), text(event, "app"), type, "");
}

}  // namespace naru::cli
