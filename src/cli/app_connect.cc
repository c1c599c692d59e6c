// `naru app create` and `naru app connect`: an application, and the way of git to it.
#include <set>

#include "cli/git_remote.h"
#include "cli/target.h"
#include "cli/verbs.h"

namespace naru::cli {

namespace {

constexpr int kMostNames = 1000;
constexpr std::size_t kLongestName = 24;

Result<std::string> whole_app(const AppOptions& options, std::string_view verb) {
  return parse_whole_app(options.app, "a repository belongs to the whole application",
                         [&](const std::string& app) {
                           return fmt::format(
                               "naru app {} {}; its environments stand in the compose file, under "
                               "x-naru.environments",
                               verb, app);
                         });
}

Result<std::string> url_of(const ControlClient& control, const std::string& app) {
  const Json version = TRY(control.get("/v1/version"));
  return push_url(control.place(), static_cast<std::uint16_t>(number(version, "api_port")), app);
}

// What the environment says wins over what stands in the repository.
void tell_of_other_trust(const Session& session, const ControlClient& control) {
  if (!control.place().ca.empty() && !session.variable("GIT_SSL_CAINFO").value_or("").empty())
    session.notice("GIT_SSL_CAINFO is set, and git believes it instead of NARU_CA: unset it before a push");
}

// 'My App' -> "my-app".
std::string suggested_name(std::string_view wish) {
  std::string name;
  for (const char c : wish) {
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    const bool letter = lower >= 'a' && lower <= 'z', digit = c >= '0' && c <= '9';
    if (letter || (digit && !name.empty()))
      name += lower;
    else if (!name.empty() && name.back() != '-')
      name += '-';
    if (name.size() == kLongestName) break;
  }
  while (name.ends_with('-')) name.pop_back();
  return name.empty() ? "app" : name;
}

std::string push_line(const GitRemote& remote) {
  const std::string branch = remote.branch();
  return fmt::format("git push {} {}", kRemote, branch == "main" ? branch : clean(branch) + ":main");
}

Error taken(const Error& error, const std::string& app) {
  if (error.code != Code::already_exists) return error;
  return {error.code, error.context, 0,
          fmt::format(
              "if it is yours, connect this repository: naru app connect {}; else choose another name", app)};
}

// Of a clone: APP, APP-2 and so on, so that one can be taken away without the others. Who holds a token for
// this application only can make none, but use his own.
Result<std::string> token_for(const ControlClient& control, const std::string& app) {
  const auto known = control.get("/v1/tokens");
  if (!known && known.error().code == Code::forbidden && !control.place().token.empty())
    return control.place().token;
  if (!known) return std::unexpected(known.error());
  std::set<std::string> names;
  for (const Json& token : list(*known, "tokens")) names.insert(text(token, "name"));
  std::string name = app;
  for (int i = 2; names.contains(name) && i < kMostNames; ++i) name = fmt::format("{}-{}", app, i);
  return text(TRY(control.post("/v1/tokens", {{"name", name}, {"app", app}})), "token");
}

}  // namespace

Done app_create(const Session& session, const AppOptions& options) {
  // What cannot be a name at all; the server says the same of what only it refuses.
  if (!parse_app(options.app))
    return std::unexpected(
        Error{Code::invalid_argument,
              fmt::format("'{}' cannot be an application's name: it takes 1 to 24 of a-z, 0-9 and '-', "
                          "beginning with a letter",
                          clean(options.app.substr(0, 64))),
              0, "as: naru app create " + suggested_name(options.app)});
  const std::string app = TRY(whole_app(options, "create"));
  auto remote = GitRemote::here();
  // Before anything is made: a remote that is in use must not lead elsewhere from now on.
  if (remote) TRY(remote->check_free_for(app));
  const ControlClient control = session.control();
  auto created = control.post("/v1/apps", {{"app", app}});
  if (!created) return std::unexpected(taken(created.error(), app));
  Json& made = *created;
  const std::string token = text(made, "token"), before = remote ? remote->shown_url() : "";
  const std::string url = TRY(url_of(control, app));
  std::optional<Error> unwritten;
  if (remote) {
    auto written = remote->point_to(url, control.place().ca);
    if (written) written = remote->keep_token(token);
    if (!written) unwritten = written.error();
  }
  const bool connected = remote && !unwritten;
  if (session.json) {
    made["remote_url"] = url;
    made["remote_added"] = connected;
    session.document(made);
    return 0;
  }
  session.print("The application {} is made.\n", session.paint(Tone::bold, app));
  if (unwritten) session.notice(unwritten->message());
  if (connected) {
    tell_of_other_trust(session, control);
    session.print("The git remote `{}` of this repository leads to it{}. Next:\n\n  {}\n", kRemote,
                  before.empty() || before == url ? "" : fmt::format(" (before: {})", before),
                  push_line(*remote));
  } else {
    session.print(
        "Next, in its repository:\n\n  naru app connect {0}\n  git push {1} main\n\nor with git alone, which "
        "asks for the password {2}:\n\n  git remote add {1} {3}\n",
        app, kRemote, token,
        url.substr(0, url.find("://") + 3) + fmt::format("{}@", kGitUser) + url.substr(url.find("://") + 3));
  }
  return 0;
}

Done app_connect(const Session& session, const AppOptions& options) {
  const std::string app = TRY(whole_app(options, "connect"));
  const ControlClient control = session.control();
  TRY(control.get(fmt::format("/v1/apps/{}/status", path_part(app))));
  const std::string url = TRY(url_of(control, app));
  auto remote = GitRemote::here();
  if (!remote)
    return std::unexpected(Error{
        Code::invalid_argument, "this folder belongs to no git repository", 0,
        fmt::format("go to the clone that is to be connected; or: git init -b main && naru app connect {}",
                    app)});
  TRY(remote->check_free_for(app));
  const std::string before = remote->shown_url(), old_token = remote->token_in_url();
  TRY(remote->point_to(url, control.place().ca));
  if (!old_token.empty()) TRY(remote->keep_token(old_token));
  const bool well = remote->reached();
  if (!well) TRY(remote->keep_token(TRY(token_for(control, app))));
  if (session.json) {
    session.document({{"app", app}, {"remote_url", url}, {"new_token", !well}});
    return 0;
  }
  tell_of_other_trust(session, control);
  session.print("The git remote `{}` of this repository leads to {} at {}{}{}. Next:\n\n  {}\n", kRemote,
                session.paint(Tone::bold, app), url,
                before.empty() || before == url ? "" : fmt::format(" (before: {})", before),
                well ? "" : ", with a token of its own", push_line(*remote));
  return 0;
}

}  // namespace naru::cli
