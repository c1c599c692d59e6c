// `naru app`.
#include <unistd.h>

#include "cli/program.h"
#include "cli/target.h"
#include "cli/verbs.h"

namespace naru::cli {

namespace {

// "http://localhost:7433/git/shop.git" -> "http://naru:<token>@127.0.0.1:7433/git/shop.git". A number instead
// of the name: git would try ::1 first, where nobody listens.
std::string remote_url(std::string url, const std::string& token) {
  const auto scheme = url.find("://");
  if (scheme == std::string::npos) return url;
  std::string rest = url.substr(scheme + 3);
  if (rest.starts_with("localhost:")) rest = "127.0.0.1:" + rest.substr(10);
  return fmt::format("{}://naru:{}@{}", url.substr(0, scheme), token, rest);
}

bool is_loopback(const std::string& url) {
  return url.find("@127.0.0.1") != std::string::npos || url.find("@localhost") != std::string::npos;
}

struct GitRemote {
  bool added = false, updated = false;
  std::string notice;
};

GitRemote add_remote(const std::string& url) {
  GitRemote remote;
  const auto inside = run_program({"git", "rev-parse", "--is-inside-work-tree"});
  if (!inside || inside->status != 0 || !inside->output.starts_with("true")) return remote;
  const auto known = run_program({"git", "remote", "get-url", "naru"});
  const bool exists = known && known->status == 0;
  const auto set = run_program(exists ? std::vector<std::string>{"git", "remote", "set-url", "naru", url}
                                      : std::vector<std::string>{"git", "remote", "add", "naru", url});
  if (!set || set->status != 0) {
    remote.notice = "git could not write the remote `naru` into this repository";
    return remote;
  }
  // A proxy that the environment names for everything must not get the token: empty means none for this
  // remote.
  if (is_loopback(url)) (void)run_program({"git", "config", "remote.naru.proxy", ""});
  (exists ? remote.updated : remote.added) = true;
  return remote;
}

std::string current_branch() {
  const auto branch = run_program({"git", "branch", "--show-current"});
  if (!branch || branch->status != 0) return "main";
  const std::string name = clean(branch->output.substr(0, branch->output.find('\n')));
  return name.empty() ? "main" : name;
}

void tell_volumes(const Session& session, const Json& answer) {
  if (list(answer, "volumes").empty()) return;
  session.say("Its volumes are kept. To remove them, too:\n");
  for (const Json& volume : list(answer, "volumes"))
    if (volume.is_string()) session.print("  naru volume rm {}\n", clean(volume.get<std::string>()));
}

// Scripts are not asked: they have no terminal.
bool confirmed(const Session& session, const std::string& question) {
  if (::isatty(STDIN_FILENO) != 1) return true;
  session.print("{} [y/N] ", question);
  char answer[16];
  const ssize_t n = ::read(STDIN_FILENO, answer, sizeof answer);
  return n > 0 && (answer[0] == 'y' || answer[0] == 'Y');
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

Done app_create(const Session& session, const AppOptions& options) {
  const Target target = TRY(parse_app(options.app));
  if (options.app.find('/') != std::string::npos)
    return std::unexpected(Error{
        Code::invalid_argument,
        fmt::format("'{}' names an environment; an application is made without one", clean(options.app)), 0,
        fmt::format("naru app create {}; its environments stand in the compose file, under "
                    "x-naru.environments",
                    target.app)});
  Json made = TRY(session.control().post("/v1/apps", {{"app", target.app}}));
  const std::string url = remote_url(text(made, "git_url"), text(made, "token"));
  const GitRemote remote = add_remote(url);
  if (session.json) {
    made["remote_url"] = url;
    made["remote_added"] = remote.added || remote.updated;
    session.document(made);
    return 0;
  }
  session.print("The application {} is made.\n", session.paint(Tone::bold, target.app));
  if (!remote.notice.empty()) session.notice(remote.notice);
  if (remote.added || remote.updated) {
    const std::string branch = current_branch();
    session.print("The git remote `naru` is {} in this repository. Next:\n\n  git push naru {}\n",
                  remote.added ? "added" : "updated", branch == "main" ? branch : branch + ":main");
  } else {
    session.print("Next, in its repository:\n\n  git remote add naru {}\n  git push naru main\n", url);
  }
  return 0;
}

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
  if (!yes && session.terminal.interactive &&
      !confirmed(session, fmt::format("This stops {} and removes its containers, releases and variables "
                                      "(volumes stay; the other environments of {} run on). Go on?",
                                      name, target.app)))
    return fail(Code::cancelled, "nothing was removed");
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
  if (!options.yes && session.terminal.interactive &&
      !confirmed(session, fmt::format("This stops {} and removes its containers, releases, variables, "
                                      "repository and logs (volumes stay). "
                                      "Go on?",
                                      target.app)))
    return fail(Code::cancelled, "nothing was removed");
  const Json answer = TRY(session.control().remove("/v1/apps/" + path_part(target.app)));
  if (session.json) {
    session.document(answer);
    return 0;
  }
  session.print("{} is removed, with its containers, network, repository, releases and logs.\n", target.app);
  tell_volumes(session, answer);
  return 0;
}

Done app_stop(const Session& session, const AppOptions& options) {
  const Target target = TRY(parse_app(options.app));
  return after_command(session,
                       TRY(session.control().post(fmt::format("/v1/apps/{}/stop", path_part(target.app)),
                                                  {{"env", target.env}})));
}

Done app_start(const Session& session, const AppOptions& options) {
  const Target target = TRY(parse_app(options.app));
  return after_command(session,
                       TRY(session.control().post(fmt::format("/v1/apps/{}/start", path_part(target.app)),
                                                  {{"env", target.env}})));
}

}  // namespace naru::cli
