// Answers of control as text for people. Pure: the same JSON, style and time give the same text.
#pragma once

#include <string>

#include "cli/terminal.h"
#include "model/json.h"

namespace naru::cli {

struct View {
  Style style;
  int columns = 100;
  std::int64_t now_ms = 0;
};

std::string render_status(const Json& status, const View& view);
// What a rollout waits for that its reason does not say: until when it starts, who counts as a user, crashes.
std::string waiting_lines(const Json& rollout, const View& view);
std::string render_traffic(const Json& traffic, const View& view);
std::string render_instances(const Json& instances, const View& view, bool with_app);
std::string render_rollout(const Json& rollout, const View& view);
std::string render_pipeline(const Json& pipeline, const View& view);
std::string render_releases(const Json& releases, const View& view);
// "stable v3 ████████████████████░░░░░ canary v4 5%"
std::string split_bar(std::int64_t canary_basis_points, int width, const Style& style);
// One line of the event feed.
std::string render_event(const Json& event, const View& view);

Tone tone_of_phase(const std::string& phase);
// A rollout's; one that a newer release took the place of is no fault.
std::string painted_phase(const Json& rollout, const View& view);

}  // namespace naru::cli
