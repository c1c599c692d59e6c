#include <algorithm>

#include "cli/fields.h"
#include "cli/render.h"

namespace naru::cli {

namespace {

constexpr std::size_t kToldOfError = 200;  // bytes by which an error is known again

std::string commit_of(const Json& holder) {
  return text(holder, "commit").substr(0, 7);
}

std::string release_line(const Json& status, const View& view) {
  const Json& stable = member(status, "stable");
  if (!stable.is_object()) return view.style.paint(Tone::dim, "no release yet");
  return fmt::format("{} {} {}", view.style.paint(Tone::bold, fmt::format("v{}", number(stable, "version"))),
                     view.style.paint(Tone::dim, commit_of(stable)),
                     fit(text(stable, "subject"), std::max(20, view.columns - 40)));
}

std::string services_table(const Json& status, const View& view) {
  Table table({"SERVICE", "READY", "REVISION", "", "ADDRESS"});
  for (const Json& service : list(status, "services")) {
    const auto ready = number(service, "ready"), wanted = number(service, "wanted");
    const bool oneshot = flag(service, "oneshot");
    const Tone tone = oneshot           ? Tone::dim
                      : ready >= wanted ? Tone::good
                      : ready == 0      ? Tone::bad
                                        : Tone::warn;
    std::string marks = flag(service, "stateful") ? "stateful" : oneshot ? "one-shot" : "";
    if (flag(service, "changed_in_rollout")) marks += marks.empty() ? "changing" : ", changing";
    const Json& addresses = list(service, "addresses");
    const auto address = [&](std::size_t i) {
      return addresses[i].is_string() ? view.style.paint(Tone::accent, clean(addresses[i].get<std::string>()))
                                      : std::string();
    };
    table.row({text(service, "name"),
               view.style.paint(tone, oneshot ? "-" : fmt::format("{}/{}", ready, wanted)),
               view.style.paint(Tone::dim, text(service, "revision").substr(0, 8)),
               view.style.paint(Tone::dim, marks), addresses.empty() ? "" : address(0)});
    for (std::size_t i = 1; i < addresses.size(); ++i) table.row({"", "", "", "", address(i)});
  }
  return table.empty() ? "" : table.text(view.style, "  ");
}

// `said`: the message above it, which may tell the same error.
std::string pipeline_line(const Json& pipeline, std::string_view said, const View& view) {
  if (!pipeline.is_object()) return "";
  const std::string state = text(pipeline, "state");
  if (state == "succeeded") return "";
  std::string error = text(pipeline, "error");
  if (said.contains(error.substr(0, kToldOfError))) error.clear();
  return fmt::format("  {} {} of {}{}\n", view.style.paint(Tone::dim, "pipeline"),
                     view.style.paint(tone_of_phase(state), state), commit_of(pipeline),
                     error.empty() ? "" : ": " + fit(error, std::max(30, view.columns - 40)));
}

std::string troubled_instances(const Json& status, const View& view) {
  std::string out;
  for (const Json& instance : list(status, "instances")) {
    const std::string error = text(instance, "error"), phase = text(instance, "phase");
    if (error.empty() || phase == "ready" || phase == "completed") continue;
    out += fmt::format("  {} {} {}: {}\n", view.style.paint(Tone::warn, "!"), text(instance, "id"), phase,
                       fit(error, std::max(30, view.columns - 30)));
  }
  return out;
}

std::string rollout_lines(const Json& rollout, const View& view) {
  const std::string phase = text(rollout, "phase");
  if (!rollout.is_object() || phase == "done" || phase == "rolled-back") return "";
  const auto weight = number(rollout, "weight");
  return fmt::format("  {} {} {} {}\n",
                     view.style.paint(Tone::dim, fmt::format("v{}", number(rollout, "from_version"))),
                     split_bar(weight, 40, view.style),
                     view.style.paint(Tone::accent,
                                      fmt::format("v{} {}", number(rollout, "to_version"), percent(weight))),
                     painted_phase(rollout, view)) +
         waiting_lines(rollout, view);
}

}  // namespace

Tone tone_of_phase(const std::string& phase) {
  if (phase == "ready" || phase == "done" || phase == "succeeded" || phase == "promote" ||
      phase == "completed")
    return Tone::good;
  if (phase == "failed" || phase == "rolled-back" || phase == "rolling-back" || phase == "roll-back")
    return Tone::bad;
  if (phase == "waiting" || phase == "inconclusive" || phase == "cancelled") return Tone::warn;
  if (phase == "retiring" || phase == "stopping") return Tone::dim;
  return Tone::accent;
}

std::string split_bar(std::int64_t canary_basis_points, int width, const Style& style) {
  const auto share = std::clamp<std::int64_t>(canary_basis_points, 0, 10000);
  auto canary = static_cast<int>((share * width + 5000) / 10000);
  if (share > 0 && canary == 0) canary = 1;  // a share that exists is seen
  if (share < 10000 && canary == width) canary = width - 1;
  const auto repeat = [](std::string_view what, int times) {
    std::string out;
    for (int i = 0; i < times; ++i) out += what;
    return out;
  };
  return style.paint(Tone::good, repeat("█", width - canary)) +
         style.paint(Tone::accent, repeat("▒", canary));
}

std::string render_status(const Json& status, const View& view) {
  const std::string env = text(status, "env");
  std::string out =
      fmt::format("{}  {}\n", view.style.paint(Tone::bold, fmt::format("{}/{}", text(status, "app"), env)),
                  release_line(status, view));
  const std::string message = text(status, "message");
  if (!message.empty()) out += fmt::format("  {}\n", message);
  out += rollout_lines(member(status, "rollout"), view);
  out += pipeline_line(member(status, "pipeline"), message, view);
  const Json& pending = member(status, "pending");
  if (pending.is_object())
    out += fmt::format("  next: v{}{}\n", number(pending, "version"),
                       flag(pending, "approved") ? "" : " (waits for `naru promote`)");
  std::vector<std::string> grants;
  for (const Json& grant : list(status, "grants"))
    if (grant.is_string()) grants.push_back(clean(grant.get<std::string>()));
  if (!grants.empty())
    out += fmt::format("  {} {}\n", view.style.paint(Tone::dim, "allowed"), fmt::join(grants, ", "));
  if (const std::string services = services_table(status, view); !services.empty()) out += "\n" + services;
  if (const std::string trouble = troubled_instances(status, view); !trouble.empty()) out += "\n" + trouble;
  return out;
}

std::string render_traffic(const Json& traffic, const View& view) {
  Table table({"SERVICE", "SIDE", "RELEASE", "REQ/S", "FAILED/S", "P50", "P99", "ACTIVE"});
  const auto latency = [](std::int64_t us) {
    return us <= 0     ? std::string("-")
           : us < 1000 ? fmt::format("{} us", us)
                       : fmt::format("{:.1f} ms", static_cast<double>(us) / 1000);
  };
  for (const Json& service : list(traffic, "services")) {
    const double failures = real(service, "failures_per_second");
    table.row({text(service, "name"), text(service, "side"),
               number(service, "version") > 0 ? fmt::format("v{}", number(service, "version")) : "-",
               fmt::format("{:.1f}", real(service, "requests_per_second")),
               view.style.paint(failures > 0 ? Tone::bad : Tone::dim, fmt::format("{:.1f}", failures)),
               latency(number(service, "p50_us")), latency(number(service, "p99_us")),
               fmt::format("{}", number(service, "active"))});
  }
  if (table.empty()) return "";
  std::string out = table.text(view.style, "  ");
  const Json& canary = member(member(traffic, "users"), "canary");
  const Json& stable = member(member(traffic, "users"), "stable");
  if (number(canary, "seen") > 0)
    out += fmt::format("  users in this step: stable {} ({} met errors), canary {} ({} met errors)\n",
                       number(stable, "seen"), number(stable, "bad"), number(canary, "seen"),
                       number(canary, "bad"));
  return out;
}

std::string render_instances(const Json& instances, const View& view, bool with_app) {
  std::vector<std::string> heading{"INSTANCE", "SERVICE", "RELEASE",  "SIDE",   "PHASE", "ADDRESS",
                                   "PID",      "UP",      "RESTARTS", "MEMORY", "NOTE"};
  if (with_app) heading.insert(heading.begin(), "APP");
  Table table(heading);
  for (const Json& instance : list(instances, "instances")) {
    const std::string phase = text(instance, "phase");
    const Json& exit_code = member(instance, "exit_code");
    std::string note = text(instance, "error");
    if (note.empty() && exit_code.is_number_integer() && phase != "ready" && phase != "running")
      note = fmt::format("exit {}", exit_code.get<std::int64_t>());
    std::vector<std::string> cells{
        text(instance, "id"),
        text(instance, "service"),
        fmt::format("v{}", number(instance, "release_version")),
        text(instance, "side"),
        view.style.paint(tone_of_phase(phase), phase),
        text(instance, "address"),
        number(instance, "pid") > 0 ? fmt::format("{}", number(instance, "pid")) : "-",
        phase == "ready" || phase == "running" ? between(number(instance, "started"), view.now_ms) : "-",
        fmt::format("{}", number(instance, "restarts")),
        member(instance, "memory_bytes").is_number() ? bytes_text(real(instance, "memory_bytes")) : "-",
        fit(note, 60)};
    if (with_app)
      cells.insert(cells.begin(), fmt::format("{}/{}", text(instance, "app"), text(instance, "env")));
    table.row(std::move(cells));
  }
  return table.empty() ? "Nothing runs.\n" : table.text(view.style);
}

}  // namespace naru::cli
