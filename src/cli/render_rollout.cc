#include <algorithm>

#include "cli/fields.h"
#include "cli/render.h"

namespace naru::cli {

namespace {

constexpr std::size_t kMaxFailed = 8;
constexpr std::int64_t kManyRequests = 5;  // of one user: more than a page and its pictures

// As people name it: "shop", "shop/staging".
std::string name_of(const Json& holder) {
  const std::string app = text(holder, "app"), env = text(holder, "env");
  return env == "production" || env.empty() ? app : app + "/" + env;
}

std::string title(const Json& rollout, const View& view) {
  const std::string from = member(rollout, "from_version").is_number()
                               ? fmt::format("v{}", number(rollout, "from_version"))
                               : "nothing";
  return fmt::format(
      "{}  {} → {}  {} {}\n",
      view.style.paint(Tone::bold, fmt::format("{}/{}", text(rollout, "app"), text(rollout, "env"))), from,
      view.style.paint(Tone::bold, fmt::format("v{}", number(rollout, "to_version"))),
      view.style.paint(Tone::dim, text(rollout, "commit").substr(0, 7)),
      fit(text(rollout, "subject"), std::max(20, view.columns - 45)));
}

std::string bar_line(const Json& rollout, const View& view) {
  const auto weight = number(rollout, "weight");
  const std::string from =
      member(rollout, "from_version").is_number() ? fmt::format("v{} ", number(rollout, "from_version")) : "";
  return fmt::format(
      "  {}{} {}  {}\n", view.style.paint(Tone::good, from), split_bar(weight, 50, view.style),
      view.style.paint(Tone::accent, fmt::format("v{} {}", number(rollout, "to_version"), percent(weight))),
      painted_phase(rollout, view));
}

std::string requirement(const Json& planned) {
  const auto users = number(planned, "min_users"), duration = number(planned, "min_duration");
  const std::string least = users > 0 ? count_text(users, "user") : "";
  if (duration == 0) return least.empty() ? "" : "at least " + least;
  return fmt::format("{}{} unless it is surely good sooner", least.empty() ? "" : least + " and ",
                     duration_text(duration));
}

std::string steps_table(const Json& rollout, const View& view) {
  const Json& planned = list(rollout, "planned");
  const Json& steps = list(rollout, "steps");
  const std::string phase = text(rollout, "phase");
  const bool stepping = phase == "stepping";
  const Tone fault = flag(rollout, "superseded") ? Tone::dim : Tone::bad;
  // A person's "go on" ends a step without a verdict: what it carried went out all the same.
  const bool went_out = phase == "completing" || phase == "done";
  const std::size_t rows = stepping || phase == "preparing" ? std::max(planned.size(), steps.size())
                                                            : steps.size();  // no others will be taken
  const auto until = number(rollout, "ended") > 0 ? number(rollout, "ended") : view.now_ms;
  Table table({"", "STEP", "USERS", "DURATION", "VERDICT"});
  for (std::size_t i = 0; i < rows; ++i) {
    const Json want = i < planned.size() ? planned[i] : Json();
    const auto weight = i < steps.size() ? number(steps[i], "weight") : number(want, "weight");
    const std::string name = fmt::format("{}", i + 1);
    if (i >= steps.size()) {
      table.row({" ", name, percent(weight), "-", view.style.paint(Tone::dim, requirement(want))});
      continue;
    }
    const auto started = number(steps[i], "started"), passed = number(steps[i], "passed");
    const bool current = i + 1 == steps.size() && passed == 0;
    std::string verdict = text(steps[i], "verdict");
    if (verdict.empty() && current) verdict = text(rollout, "reason");
    const std::string mark = passed > 0 || (current && went_out) ? view.style.paint(Tone::good, "✓")
                             : current && stepping               ? view.style.paint(Tone::accent, "▶")
                                                                 : view.style.paint(fault, "✗");
    table.row({mark, name, percent(weight), between(started, passed > 0 ? passed : until),
               fit(verdict, std::max(40, view.columns - 34))});
  }
  return table.empty() ? "" : table.text(view.style, "  ");
}

std::string compact(double value) {
  if (value >= 1e6 || (value > 0 && value < 0.001)) return fmt::format("{:.1e}", value);
  return value >= 100 ? fmt::format("{:.0f}", value) : fmt::format("{:.3g}", value);
}

std::string evidence_table(const Json& verdict, const View& view) {
  Table table({"EVIDENCE", "STABLE BAD", "CANARY BAD", "ODDS RATIO (95%)", "M", "ROLLS BACK AT"});
  for (const Json& evidence : list(verdict, "evidence")) {
    const std::string metric = text(evidence, "metric");
    const bool crashes = metric == "crashes";
    const auto side = [&](const char* bad, const char* counts) {
      const auto count = number(evidence, bad);
      return crashes ? fmt::format("{}", count)
                     : fmt::format("{} of {}", count,
                                   count_text(number(member(evidence, counts), "users_seen"), "user"));
    };
    const double high = real(evidence, "odds_high"), m = real(evidence, "m"),
                 threshold = real(evidence, "threshold");
    const std::string odds =
        crashes ? "-"
                : fmt::format("{} ({} to {})", compact(real(evidence, "odds_ratio")),
                              compact(real(evidence, "odds_low")), high > 0 ? compact(high) : "∞");
    table.row({metric, side("bad_stable", "stable"), side("bad_canary", "canary"), odds,
               view.style.paint(threshold > 0 && m >= threshold ? Tone::bad : Tone::plain, compact(m)),
               threshold > 0 ? compact(threshold) : "-"});
  }
  return table.empty() ? "" : table.text(view.style, "  ");
}

std::string slow_line(const Json& rollout, const View& view) {
  if (!rollout.contains("slow_us")) return "";
  const auto slow_us = number(rollout, "slow_us");
  return view.style.paint(
      Tone::dim, slow_us > 0 ? fmt::format("  latency: an answer after more than {:.1f} ms is slow\n",
                                           static_cast<double>(slow_us) / 1000)
                             : "  latency is not judged: users had made fewer than 200 requests before the "
                               "rollout; who gives up "
                               "waiting counts as slow\n");
}

std::string failed_table(const Json& rollout, const View& view) {
  Table table({"FAILED REQUEST", "SIDE", "SERVICE", "ANSWER", "TOOK", "TRACE"});
  const Json& failed = list(rollout, "failed_requests");
  for (std::size_t i = 0; i < std::min(failed.size(), kMaxFailed); ++i) {
    const Json& request = failed[i];
    const auto status = number(request, "status");
    table.row({fit(fmt::format("{} {}", text(request, "method"), text(request, "path")), 48),
               text(request, "side"), text(request, "service"),
               status > 0 ? fmt::format("{}", status) : text(request, "outcome"),
               fmt::format("{:.1f} ms", static_cast<double>(number(request, "duration_us")) / 1000),
               view.style.paint(Tone::dim, text(request, "trace_id"))});
  }
  if (table.empty()) return "";
  const bool tried_again = std::ranges::any_of(failed, [](const Json& request) {
    return text(request, "side") == "canary" && text(request, "method") == "GET" &&
           text(request, "outcome") != "client gave up";
  });
  return table.text(view.style, "  ") +
         (failed.size() > kMaxFailed
              ? fmt::format("  and {} more: --json shows them\n", failed.size() - kMaxFailed)
              : "") +
         (tried_again
              ? view.style.paint(Tone::dim,
                                 "  a GET that fails on the canary is asked again of the old release, "
                                 "and counted against the new one\n")
              : "");
}

}  // namespace

std::string painted_phase(const Json& rollout, const View& view) {
  const std::string phase = text(rollout, "phase");
  return view.style.paint(flag(rollout, "superseded") ? Tone::dim : tone_of_phase(phase), phase);
}

std::string waiting_lines(const Json& rollout, const View& view) {
  const std::string phase = text(rollout, "phase");
  std::string out;
  const auto line = [&](const std::string& text) { out += "  " + view.style.paint(Tone::warn, text) + "\n"; };
  const auto since = number(rollout, "waiting_since"), deadline = number(rollout, "ready_deadline");
  if (phase == "preparing" && since > 0 && deadline > 0)
    line(fmt::format("it has waited {}; it is taken back when it is not ready after {}",
                     between(since, view.now_ms), duration_text(deadline)));
  if (phase != "stepping") return out;
  for (const Json& evidence : list(member(rollout, "verdict"), "evidence")) {
    const std::string metric = text(evidence, "metric");
    const Json& canary = member(evidence, "canary");
    const auto users = number(canary, "users_seen"), requests = number(canary, "requests");
    if (metric == "errors" && requests >= kManyRequests * std::max<std::int64_t>(1, users) &&
        text(rollout, "reason").starts_with("holding"))
      line(fmt::format("{} of {} so far: clients that keep no cookies count as one user by their address",
                       count_text(requests, "request"), count_text(users, "user")));
    if (const auto crashes = number(evidence, "bad_canary"); metric == "crashes" && crashes > 0)
      line(fmt::format("v{} has crashed {}, v{} {}; see naru logs {}", number(rollout, "to_version"),
                       count_text(crashes, "time"), number(rollout, "from_version"),
                       count_text(number(evidence, "bad_stable"), "time"), name_of(rollout)));
  }
  return out;
}

std::string render_rollout(const Json& rollout, const View& view) {
  std::string out = title(rollout, view) + bar_line(rollout, view);
  const auto ended = number(rollout, "ended");
  out += view.style.paint(Tone::dim,
                          fmt::format("  began {}, {} {}\n", ago(number(rollout, "created"), view.now_ms),
                                      ended > 0 ? "took" : "has taken",
                                      between(number(rollout, "created"), ended > 0 ? ended : view.now_ms)));
  std::vector<std::string> changed;
  for (const Json& name : list(rollout, "changed"))
    if (name.is_string()) changed.push_back(clean(name.get<std::string>()));
  if (!changed.empty())
    out += view.style.paint(
        Tone::dim, fmt::format("  changes {}\n", fit(fmt::format("{}", fmt::join(changed, ", ")), 80)));
  if (const std::string steps = steps_table(rollout, view); !steps.empty()) out += "\n" + steps;
  const Json& verdict = member(rollout, "verdict");
  const std::string reason =
      text(rollout, "reason").empty() ? text(verdict, "reason") : text(rollout, "reason");
  const std::string phase = text(rollout, "phase");
  if (!reason.empty() && phase != "stepping") {  // else it stands at its step
    const char* back = phase == "rolled-back" ? "rolled back" : phase == "rolling-back" ? "rolling back" : "";
    if (flag(rollout, "superseded"))  // no fault of its own
      out += fmt::format("\n  {}\n", view.style.paint(Tone::dim, reason));
    else
      out += fmt::format("\n  {}{}{}\n", view.style.paint(Tone::bad, back), *back != 0 ? ": " : "", reason);
  }
  if (const std::string waiting = waiting_lines(rollout, view); !waiting.empty()) out += "\n" + waiting;
  if (const std::string evidence = evidence_table(verdict, view); !evidence.empty())
    out += "\n" + evidence + slow_line(rollout, view);
  if (const std::string failed = failed_table(rollout, view); !failed.empty()) out += "\n" + failed;
  return out;
}

std::string render_pipeline(const Json& pipeline, const View& view) {
  const std::string state = text(pipeline, "state");
  std::string out =
      fmt::format("pipeline {} of {}  {} {}  {}\n", number(pipeline, "id"),
                  view.style.paint(Tone::bold, text(pipeline, "app")), text(pipeline, "commit").substr(0, 7),
                  fit(text(pipeline, "subject"), std::max(20, view.columns - 40)),
                  view.style.paint(tone_of_phase(state), state));
  const auto finished = number(pipeline, "finished");
  out += view.style.paint(
      Tone::dim, fmt::format("  pushed {} by {}, {} {}\n", ago(number(pipeline, "pushed"), view.now_ms),
                             text(pipeline, "author"), finished > 0 ? "took" : "has taken",
                             between(number(pipeline, "pushed"), finished > 0 ? finished : view.now_ms)));
  Table table({"BUILD", "STATE", "TOOK", ""});
  for (const Json& build : list(pipeline, "builds")) {
    const std::string at = text(build, "state");
    table.row({text(build, "service"), view.style.paint(tone_of_phase(at), at),
               between(number(build, "started"), number(build, "finished")),
               text(build, "error").empty() ? (flag(build, "cached") ? "cached" : "")
                                            : fit(text(build, "error"), std::max(40, view.columns - 40))});
  }
  if (!table.empty()) out += "\n" + table.text(view.style, "  ");
  for (const Json& warning : list(pipeline, "warnings"))
    if (warning.is_string())
      out += fmt::format("  {} {}\n", view.style.paint(Tone::warn, "warning:"),
                         clean(warning.get<std::string>()));
  if (const std::string error = text(pipeline, "error"); !error.empty())
    out += fmt::format("  {} {}\n", view.style.paint(Tone::bad, "error:"), error);
  if (const std::string hint = text(pipeline, "hint"); !hint.empty())
    out += fmt::format("  {} {}\n", view.style.paint(Tone::accent, "hint:"), hint);
  if (const auto version = number(pipeline, "release_version"); version > 0)
    out += fmt::format("  release: v{}\n", version);
  return out;
}

std::string render_releases(const Json& releases, const View& view) {
  Table table({"", "RELEASE", "COMMIT", "SUBJECT", "AUTHOR", "MADE", "CHANGED", ""});
  for (const Json& release : list(releases, "releases")) {
    std::vector<std::string> changed;
    bool known = true;
    for (const Json& service : list(release, "services")) {
      known = known && !member(service, "changed").is_null();
      if (flag(service, "changed")) changed.push_back(text(service, "name"));
    }
    const auto all = list(release, "services").size();
    table.row({flag(release, "current") ? view.style.paint(Tone::good, "●") : " ",
               fmt::format("v{}", number(release, "version")), text(release, "commit").substr(0, 7),
               fit(text(release, "subject"), 50), fit(text(release, "author"), 24),
               ago(number(release, "created"), view.now_ms),
               !known                  ? "-"
               : changed.size() == all ? "all"
               : changed.empty()       ? "nothing"
                                       : fit(fmt::format("{}", fmt::join(changed, ", ")), 40),
               flag(release, "superseded")
                   ? view.style.paint(Tone::dim, "superseded")
                   : view.style.paint(Tone::bad, flag(release, "taken_back") ? "taken back" : "")});
  }
  return table.empty() ? "There is no release yet; push a commit.\n" : table.text(view.style);
}

}  // namespace naru::cli
