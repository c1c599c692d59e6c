// `naru app ls|rm|stop|start`.
#include "cli/target.h"
#include "cli/verbs.h"

namespace naru::cli {

namespace {

// For requests under way, for a control that restarts, and for the launcher's own work; what a container is
// given to stop comes on top.
constexpr milliseconds kStopPatience{80'000}, kPause{200};

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

// What follows a stop that control has taken.
class Stopping {
 public:
  Stopping(const Session& session, const Target& target)
      : session_(session), control_(session.control()), target_(target), begun_(session.clock.mono()) {}

  // Until what ran has finished its requests and is gone: then its volumes are free. The Status of then.
  Result<Json> finish() {
    const std::string app = path_part(target_.app), env = query_part("env", target_.env);
    const std::string path = fmt::format("/v1/ps?{}&{}", query_part("app", target_.app), env);
    for (std::size_t told = 0;;) {
      const Json answer = TRY(get(path));
      const Json& left = list(answer, "instances");
      if (left.empty()) break;
      for (const Json& instance : left)
        grace_ = std::max(grace_, milliseconds(number(instance, "stop_grace")));
      if (over()) return std::unexpected(goes_on(left));
      if (left.size() != told && !session_.json)
        session_.notice(fmt::format("{} finish{} requests and stop{}", count_text(left.size(), "container"),
                                    left.size() == 1 ? "es its" : " their", left.size() == 1 ? "s" : ""));
      told = left.size();
      session_.pause(kPause);
    }
    return get(fmt::format("/v1/apps/{}/status?{}", app, env));
  }

 private:
  milliseconds patience() const { return kStopPatience + grace_; }
  bool over() const { return session_.clock.mono() - begun_ > patience(); }

  // A control that restarts goes on with the stop.
  Result<Json> get(const std::string& path) {
    while (true) {
      auto answer = control_.get(path);
      if (answer || answer.error().code != Code::unavailable || over()) return answer;
      if (!session_.json && !std::exchange(told_of_silence_, true))
        session_.notice(
            fmt::format("{}; the stop was taken, and control is asked again", answer.error().message()));
      session_.pause(kPause);
    }
  }

  Error goes_on(const Json& left) const {
    std::vector<std::string> names;
    for (const Json& instance : left) names.push_back(text(instance, "id"));
    return {Code::timeout,
            fmt::format("{}: {} not stopped within {}", target_.text(), fmt::join(names, ", "),
                        humanize(patience())),
            0,
            fmt::format("the stop goes on without this command; naru ps {} shows what is left, naru logs {} "
                        "what it says",
                        target_.text(), target_.text())};
  }

  const Session& session_;
  const ControlClient control_;
  const Target& target_;
  const MonoTime begun_;
  milliseconds grace_{0};  // the longest of what is left
  bool told_of_silence_ = false;
};

}  // namespace

Done app_stop(const Session& session, const AppOptions& options) {
  const Target target = TRY(parse_app(options.app));
  TRY(session.control().post(fmt::format("/v1/apps/{}/stop", path_part(target.app)), {{"env", target.env}}));
  return after_command(session, TRY(Stopping(session, target).finish()));
}

Done app_start(const Session& session, const AppOptions& options) {
  const Target target = TRY(parse_app(options.app));
  return after_command(session,
                       TRY(session.control().post(fmt::format("/v1/apps/{}/start", path_part(target.app)),
                                                  {{"env", target.env}})));
}

}  // namespace naru::cli
