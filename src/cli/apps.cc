// `naru app ls|rm|stop|start`.
#include <chrono>
#include <thread>

#include "cli/target.h"
#include "cli/verbs.h"

namespace naru::cli {

namespace {

constexpr milliseconds kStopPatience{90'000}, kPause{200};

void tell_volumes(const Session& session, const Json& answer) {
  if (list(answer, "volumes").empty()) return;
  session.say("Its volumes are kept. To remove them, too:\n");
  for (const Json& volume : list(answer, "volumes"))
    if (volume.is_string()) session.print("  naru volume rm {}\n", clean(volume.get<std::string>()));
}

Tone tone_of_health(const std::string& health) {
  if (health == "ok") return Tone::good;
  if (health == "down") return Tone::bad;
  return health == "degraded" ? Tone::warn : Tone::dim;
}

std::string rollout_cell(const Json& rollout) {
  if (!rollout.is_object()) return "";
  return fmt::format("v{} {} {}", number(rollout, "to"), text(rollout, "phase"),
                     percent(number(rollout, "weight")));
}

Done after_command(const Session& session, const Json& status) {
  if (session.json)
    session.document(status);
  else
    session.print("{}: {}\n", text(status, "app"), text(status, "message"));
  return 0;
}

}  // namespace

Done app_list(const Session& session) {
  const Json answer = TRY(session.control().get("/v1/apps"));
  if (session.json) {
    session.document(answer);
    return 0;
  }
  Table table({"APP", "ENVIRONMENT", "HEALTH", "RELEASE", "ROLLOUT", "ADDRESS"});
  for (const Json& app : list(answer, "apps"))
    for (const Json& environment : list(app, "environments")) {
      const Json& stable = member(environment, "stable");
      const Json& addresses = list(environment, "addresses");
      const std::string health = text(environment, "health");
      table.row({text(app, "name"), text(environment, "name"), session.paint(tone_of_health(health), health),
                 stable.is_object()
                     ? fmt::format("v{} {}", number(stable, "version"), text(stable, "commit").substr(0, 7))
                     : "-",
                 rollout_cell(member(environment, "rollout")),
                 addresses.empty() || !addresses.front().is_string()
                     ? ""
                     : clean(addresses.front().get<std::string>())});
    }
  if (table.empty())
    session.say("There is no application yet. Make one in your repository: naru app create shop\n");
  else
    session.say(table.text(session.terminal.style));
  return 0;
}

namespace {

Done environment_remove(const Session& session, const Target& target, bool yes) {
  if (target.env == "production")
    return std::unexpected(
        Error{Code::conflict, fmt::format("production of {} is not removed alone", target.app), 0,
              fmt::format("`naru app stop {0}` stops it; `naru app rm {0}` removes the whole application",
                          target.app)});
  const std::string name = target.text();
  TRY(session.confirm(yes,
                      fmt::format("This stops {} and removes its containers, releases and variables "
                                  "(volumes stay; the other environments of {} run on).",
                                  name, target.app),
                      "naru app rm " + name));
  const Json answer = TRY(session.control().remove(
      fmt::format("/v1/apps/{}/environments/{}", path_part(target.app), path_part(target.env))));
  if (session.json) {
    session.document(answer);
    return 0;
  }
  session.print("{} is removed, with its containers, network, releases and variables.\n", name);
  session.print("A push whose compose file declares it makes it again.\n");
  tell_volumes(session, answer);
  return 0;
}

}  // namespace

Done app_remove(const Session& session, const AppOptions& options) {
  const Target target = TRY(parse_app(options.app));
  if (options.app.find('/') != std::string::npos) return environment_remove(session, target, options.yes);
  TRY(session.confirm(options.yes,
                      fmt::format("This stops {} and removes its containers, releases, variables, repository "
                                  "and logs (volumes stay).",
                                  target.app),
                      "naru app rm " + target.app));
  const Json answer = TRY(session.control().remove("/v1/apps/" + path_part(target.app)));
  if (session.json) {
    session.document(answer);
    return 0;
  }
  session.print("{} is removed, with its containers, network, repository, releases and logs.\n", target.app);
  tell_volumes(session, answer);
  return 0;
}

namespace {

// Until what ran has finished its requests and is gone: then its volumes are free.
Result<void> wait_until_gone(const Session& session, const ControlClient& control, const Target& target) {
  const std::string path =
      fmt::format("/v1/ps?{}&{}", query_part("app", target.app), query_part("env", target.env));
  const auto deadline = std::chrono::steady_clock::now() + kStopPatience;
  for (std::size_t told = 0;;) {
    const Json answer = TRY(control.get(path));
    const Json& left = list(answer, "instances");
    if (left.empty()) return {};
    if (std::chrono::steady_clock::now() > deadline) {
      std::vector<std::string> names;
      for (const Json& instance : left) names.push_back(text(instance, "id"));
      return std::unexpected(
          Error{Code::timeout,
                fmt::format("{}: {} not stopped within {}", target.text(), fmt::join(names, ", "),
                            humanize(kStopPatience)),
                0,
                fmt::format("it is tried again; naru ps {} shows what is left, naru logs {} "
                            "what it says",
                            target.text(), target.text())});
    }
    if (left.size() != told && !session.json)
      session.notice(fmt::format("{} finish{} requests and stop{}", count_text(left.size(), "container"),
                                 left.size() == 1 ? "es its" : " their", left.size() == 1 ? "s" : ""));
    told = left.size();
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace

Done app_stop(const Session& session, const AppOptions& options) {
  const Target target = TRY(parse_app(options.app));
  const ControlClient control = session.control();
  const Json status =
      TRY(control.post(fmt::format("/v1/apps/{}/stop", path_part(target.app)), {{"env", target.env}}));
  TRY(wait_until_gone(session, control, target));
  return after_command(session, status);
}

Done app_start(const Session& session, const AppOptions& options) {
  const Target target = TRY(parse_app(options.app));
  return after_command(session,
                       TRY(session.control().post(fmt::format("/v1/apps/{}/start", path_part(target.app)),
                                                  {{"env", target.env}})));
}

}  // namespace naru::cli
