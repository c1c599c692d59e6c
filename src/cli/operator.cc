// What an operator looks after: version, volumes, tokens.
#include "base/version.h"
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
  const Json answer = TRY(session.control().remove("/v1/volumes?" + query_part("name", options.name)));
  if (session.json)
    session.document(answer);
  else
    session.print("The volume {} and what it held are removed\n", clean(options.name));
  return 0;
}

Done token_create(const Session& session, const TokenOptions& options) {
  Json body{{"name", options.name}};
  if (!options.app.empty()) body["app"] = TRY(parse_app(options.app)).app;
  const Json answer = TRY(session.control().post("/v1/tokens", body));
  if (session.json) {
    session.document(answer);
    return 0;
  }
  session.print("{}\n", text(answer, "token"));
  session.notice("it is shown only now; use it as NARU_TOKEN or as git's password");
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
