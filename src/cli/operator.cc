// What an operator looks after: version, volumes, tokens.
#include "base/version.h"
#include "cli/git_remote.h"
#include "cli/target.h"
#include "cli/verbs.h"

namespace naru::cli {

Done version(const Session& session) {
  const auto answer = session.control().get("/v1/version");
  if (session.json) {
    session.document({{"version", kVersion}, {"running", answer ? *answer : Json()}});
    return 0;
  }
  session.print("naru {}\n", kVersion);
  if (answer)
    session.print("running: {} on {}\n", text(*answer, "version"),
                  session.place().local() ? session.place().data : session.place().url);
  return 0;
}

Done volume_list(const Session& session) {
  const Json answer = TRY(session.control().get("/v1/volumes"));
  if (session.json) {
    session.document(answer);
    return 0;
  }
  Table table({"VOLUME", "SIZE", "APP", "MOUNTED BY"});
  for (const Json& volume : list(answer, "volumes")) {
    std::vector<std::string> by;
    for (const Json& name : list(volume, "mounted_by"))
      if (name.is_string()) by.push_back(clean(name.get<std::string>()));
    table.row({text(volume, "name"), bytes_text(real(volume, "bytes")), text(volume, "app"),
               by.empty() ? session.paint(Tone::dim, "nobody") : fmt::format("{}", fmt::join(by, ", "))});
  }
  session.say(table.empty() ? "There are no volumes.\n" : table.text(session.terminal.style));
  return 0;
}

Done volume_remove(const Session& session, const VolumeOptions& options) {
  const std::string name = clean(options.name);
  TRY(session.confirm(options.yes, fmt::format("This removes the volume {} and all that it holds.", name),
                      "naru volume rm " + name));
  const Json answer = TRY(session.control().remove("/v1/volumes?" + query_part("name", options.name)));
  if (session.json)
    session.document(answer);
  else
    session.print("The volume {} and what it held are removed\n", name);
  return 0;
}

Done token_create(const Session& session, const TokenOptions& options) {
  Json body{{"name", options.name}};
  const std::string app = options.app.empty() ? "" : TRY(parse_app(options.app)).app;
  if (!app.empty()) body["app"] = app;
  const ControlClient control = session.control();
  Json answer = TRY(control.post("/v1/tokens", body));
  const Json running = TRY(control.get("/v1/version"));
  const auto port = static_cast<std::uint16_t>(number(running, "api_port"));
  const std::string here = control_url(control.place(), port), elsewhere = text(running, "https");
  const bool by_tls = control.place().local() && !elsewhere.empty();
  answer["url"] = by_tls ? elsewhere : here;
  answer["git_url"] = fmt::format("{}/git/{}.git", text(answer, "url"), app.empty() ? "APP" : app);
  if (session.json) {
    session.document(answer);
    return 0;
  }
  session.print("{}\n", text(answer, "token"));  // alone on its side, for scripts
  session.notice("it is shown only now. Where there is naru, also on another machine:");
  session.terminal.err(fmt::format("  export NARU_URL={} NARU_TOKEN=naru_...\n", text(answer, "url")));
  session.terminal.err(
      fmt::format("  naru app connect {}        # in a clone: its git remote and this token\n",
                  app.empty() ? "APP" : app));
  session.terminal.err(
      fmt::format("With git alone (user {}, the token as password):\n  git remote add {} {}\n", kGitUser,
                  kRemote, text(answer, "git_url")));
  if (by_tls)
    session.terminal.err(
        "Where the certificate's signer is not trusted: NARU_CA=FILE, too, and for git alone "
        "http.sslCAInfo\n");
  else if (control.place().local())
    session.terminal.err(fmt::format(
        "Elsewhere that address needs a way in: ssh -L {}:127.0.0.1:{} SERVER, or `naru up --tls-listen`\n",
        port, port));
  return 0;
}

Done token_list(const Session& session) {
  const Json answer = TRY(session.control().get("/v1/tokens"));
  if (session.json) {
    session.document(answer);
    return 0;
  }
  Table table({"TOKEN", "FOR", "MADE"});
  for (const Json& token : list(answer, "tokens"))
    table.row({text(token, "name"), text(token, "app").empty() ? "everything" : text(token, "app"),
               ago(number(token, "created"), session.now_ms())});
  session.say(table.empty() ? "There are no tokens.\n" : table.text(session.terminal.style));
  return 0;
}

Done token_remove(const Session& session, const TokenOptions& options) {
  // Older Narus made names that are no part of a path.
  const bool odd = options.name.contains('/') || options.name.starts_with('.');
  const Json answer =
      TRY(session.control().remove((odd ? "/v1/tokens?name=" : "/v1/tokens/") + path_part(options.name)));
  if (session.json)
    session.document(answer);
  else
    session.print("The token {} is no longer valid\n", clean(options.name));
  return 0;
}

}  // namespace naru::cli
