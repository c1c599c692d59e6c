// `naru env`: an environment's variables, which are secrets.
#include <unistd.h>

#include <fstream>
#include <iostream>
#include <iterator>

#include "cli/target.h"
#include "cli/verbs.h"
#include "format/dotenv.h"

namespace naru::cli {

namespace {

std::vector<std::string> names_of(const Json& answer, const char* key) {
  std::vector<std::string> names;
  for (const Json& name : list(answer, key))
    if (name.is_string()) names.push_back(clean(name.get<std::string>()));
  return names;
}

// A variable reaches only what names it: said when nothing does.
void tell_use(const Session& session, const Json& used_by) {
  if (!used_by.is_object()) return;
  for (const auto& [name, services] : used_by.items()) {
    std::vector<std::string> seen;
    for (const Json& service : services)
      if (service.is_string()) seen.push_back(clean(service.get<std::string>()));
    if (!seen.empty())
      session.print("  {}: seen by {}\n", clean(name), fmt::join(seen, ", "));
    else
      session.notice(
          fmt::format("{0}: no service sees it, for the compose file of the newest commit does not name it. "
                      "Write it under "
                      "`environment:` of a service, as `- {0}` or as ${{{0}}}, and push",
                      clean(name)));
  }
}

Done change(const Session& session, const Target& target, const Json& set, const Json& unset) {
  const Json answer = TRY(session.control().post(fmt::format("/v1/apps/{}/env", path_part(target.app)),
                                                 {{"env", target.env}, {"set", set}, {"unset", unset}}));
  if (session.json) {
    session.document(answer);
    return 0;
  }
  const std::vector<std::string> unchanged = names_of(answer, "unchanged"),
                                 not_set = names_of(answer, "not_set");
  const auto count = set.size() + unset.size() - unchanged.size() - not_set.size();
  session.print("{}: {} variable{} {}\n", target.text(), count, count == 1 ? "" : "s",
                unset.empty() ? "set" : "removed");
  for (const std::string& name : not_set) session.notice(name + " was not set");
  for (const std::string& name : unchanged) session.notice(name + " has that value already");
  tell_use(session, member(answer, "used_by"));
  if (const auto pipeline = number(answer, "pipeline"); pipeline > 0)
    session.print("The current commit is delivered again with them: naru pipeline {} {} --log\n", target.app,
                  pipeline);
  else if (answer.contains("unchanged"))
    session.say("Nothing changes for what runs: no commit is delivered again.\n");
  if (const std::string hint = text(answer, "hint"); !hint.empty()) session.notice(hint);
  return 0;
}

Result<std::string> read_file(const std::string& name, const std::string& app) {
  std::string content;
  if (name == "-") {
    content.assign(std::istreambuf_iterator<char>(std::cin), {});
    return content;
  }
  std::ifstream file(name, std::ios::binary);
  if (!file)
    return std::unexpected(Error{Code::not_found, fmt::format("{}: open", name), errno,
                                 fmt::format("write NAME=VALUE lines into it, or name another file: naru env "
                                             "import {} FILE (- for standard input)",
                                             app)});
  content.resize(format::kMaxDotenvBytes + 1);
  file.read(content.data(), static_cast<std::streamsize>(content.size()));
  content.resize(static_cast<std::size_t>(file.gcount()));
  return content;
}

}  // namespace

Done variables_set(const Session& session, const VariableOptions& options) {
  const Target target = TRY(parse_app(options.app));
  Json set = Json::object();
  for (const std::string& word : options.words) {
    const auto equals = word.find('=');
    if (equals == 0 || equals == std::string::npos)
      return std::unexpected(Error{Code::invalid_argument,
                                   fmt::format("'{}' is not NAME=VALUE", clean(word.substr(0, 80))), 0,
                                   fmt::format("as: naru env set {} API_KEY=secret", target.text())});
    set[word.substr(0, equals)] = word.substr(equals + 1);
  }
  return change(session, target, set, Json::array());
}

Done variables_unset(const Session& session, const VariableOptions& options) {
  return change(session, TRY(parse_app(options.app)), Json::object(), options.words);
}

Done variables_list(const Session& session, const VariableOptions& options) {
  const Target target = TRY(parse_app(options.app));
  const Json answer = TRY(
      session.control().get(fmt::format("/v1/apps/{}/env?{}{}", path_part(target.app),
                                        query_part("env", target.env), options.reveal ? "&reveal=1" : "")));
  if (session.json) {
    session.document(answer);
    return 0;
  }
  for (const Json& variable : list(answer, "variables"))
    session.print("{}={}\n", text(variable, "name"), text(variable, "value"));
  if (list(answer, "variables").empty())
    session.print("{} has no variables; set one: naru env set {} NAME=VALUE\n", target.text(), target.text());
  return 0;
}

Done variables_import(const Session& session, const VariableOptions& options) {
  const Target target = TRY(parse_app(options.app));
  const std::string content = TRY(read_file(options.file, target.text()));
  const auto lookup = [&](std::string_view name) { return session.variable(std::string(name).c_str()); };
  Json set = Json::object();
  for (const format::DotenvEntry& entry : TRY(format::parse_dotenv(content, options.file, lookup))) {
    const auto value = entry.value ? entry.value : session.variable(entry.key.c_str());
    if (!value)
      return std::unexpected(
          Error{Code::invalid_argument,
                fmt::format("{}:{}: {} has no value, and none in the environment of this command",
                            options.file, entry.line, entry.key),
                0, fmt::format("write {}=VALUE there", entry.key)});
    set[entry.key] = *value;
  }
  if (set.empty())
    return std::unexpected(Error{Code::invalid_argument, fmt::format("{} sets no variables", options.file), 0,
                                 "write NAME=VALUE lines into it"});
  return change(session, target, set, Json::array());
}

}  // namespace naru::cli
