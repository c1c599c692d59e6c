// `naru completion`, and what the shells ask while a person types: `naru __complete WORDS...`, the last one
// unfinished.
#include "cli/completion.h"

#include "cli/target.h"
#include "cli/verbs.h"
#include "model/grant.h"

namespace naru::cli {

namespace {

// Bash cuts words at ':' (and at '=', and '@' with some settings), and replaces only what stands behind it:
// what stood together is put together again, and each answer loses the part that stays.
constexpr std::string_view kBash = R"(_naru() {
  local IFS=$'\n' line=$COMP_LINE part= kept i n=-1
  local -a words=()
  for ((i = 0; i <= COMP_CWORD; i++)); do
    part=${COMP_WORDS[i]}
    if ((n >= 0)) && [[ $line == [![:space:]]* ]]; then
      words[n]+=$part
    else
      words[++n]=$part
    fi
    line=${line#*"$part"}
  done
  kept=${words[n]}
  [[ $part == *[!:=@]* ]] && kept=${kept%"$part"}
  COMPREPLY=($(naru __complete "${words[@]:1}" 2>/dev/null))
  COMPREPLY=("${COMPREPLY[@]#"$kept"}")
}
complete -o default -F _naru naru
)";

constexpr std::string_view kZsh = R"(#compdef naru
_naru() {
  local -a found
  found=("${(@f)$(naru __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  compadd -a found
}
compdef _naru naru
)";

constexpr std::string_view kFish = R"(function __naru_complete
  set -l words (commandline -opc) (commandline -ct)
  naru __complete $words[2..-1] 2>/dev/null
end
complete -c naru -a '(__naru_complete)'
)";

void add_apps(const Session& session, std::vector<std::string>& names) {
  const auto answer = session.control().get("/v1/apps");
  if (!answer) return;
  for (const Json& app : list(*answer, "apps")) {
    names.push_back(text(app, "name"));
    for (const Json& environment : list(app, "environments"))
      if (text(environment, "name") != "production")
        names.push_back(text(app, "name") + "/" + text(environment, "name"));
  }
}

void add_services(const Session& session, const std::string& app, std::vector<std::string>& names) {
  const auto answer = session.control().get(fmt::format("/v1/apps/{}/status", path_part(app)));
  if (!answer) return;
  for (const Json& service : list(*answer, "services"))
    names.push_back(fmt::format("{}/{}", app, text(service, "name")));
}

// "cap:..." and the beginning of a folder; to take back, what the application has.
void add_grants(const Session& session, const std::string& verb, const std::string& app,
                std::vector<std::string>& names) {
  if (verb == "allow") {
    for (const std::string_view name : grantable_capabilities()) names.push_back(fmt::format("cap:{}", name));
    names.emplace_back("bind:/");
    return;
  }
  const auto answer = session.control().get(fmt::format("/v1/apps/{}/grants", path_part(app)));
  if (!answer) return;
  for (const Json& grant : list(*answer, "grants")) names.push_back(text(grant, "grant"));
}

// What `naru promote` and `naru rollback` may be given.
void add_releases(const Session& session, const std::string& named, bool only_served,
                  std::vector<std::string>& names) {
  const auto target = parse_app(named);
  if (!target) return;
  const auto answer = session.control().get(
      fmt::format("/v1/apps/{}/releases?{}", path_part(target->app), query_part("env", target->env)));
  if (!answer) return;
  for (const Json& release : list(*answer, "releases"))
    if (!flag(release, "current") && (!only_served || flag(release, "served")))
      names.push_back(fmt::format("v{}", number(release, "version")));
}

// The member `key` of each row of a list that control has.
void add_named(const Session& session, const char* path, const char* rows, const char* key,
               std::vector<std::string>& names) {
  const auto answer = session.control().get(path);
  if (!answer) return;
  for (const Json& row : list(*answer, rows)) names.push_back(text(row, key));
}

}  // namespace

Done completion(const Session& session, const CompletionOptions& options) {
  const std::string_view script = options.shell == "zsh" ? kZsh : options.shell == "fish" ? kFish : kBash;
  if (session.json)
    session.document({{"shell", options.shell}, {"script", script}});
  else
    session.say(script);
  return 0;
}

void complete(const CLI::App& root, const std::vector<std::string>& words, const Session& session) {
  const std::string prefix = words.empty() ? "" : words.back();
  const CLI::App* at = &root;
  std::size_t given = 0;  // positionals
  std::string first;      // of them
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    if (words[i] == "--data") {
      ++i;
      continue;
    }
    const auto next = at->get_subcommands([&](const CLI::App* sub) { return sub->get_name() == words[i]; });
    if (!next.empty())
      at = next.front();
    else if (!words[i].starts_with('-') && ++given == 1)
      first = words[i];
  }
  std::vector<std::string> names;
  if (prefix.starts_with('-')) {
    for (const CLI::Option* option : at->get_options())
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  } else {
    for (const CLI::App* sub : at->get_subcommands([](const CLI::App*) { return true; }))
      names.push_back(sub->get_name());
  }
  const auto positionals =
      at->get_options([](const CLI::Option* option) { return option->get_positional(); });
  if (!positionals.empty() && positionals.back()->get_expected_max() > 1)
    given = std::min(given, positionals.size() - 1);
  if (names.empty() && given < positionals.size()) {
    const std::string kind = positionals[given]->get_name(true, false);
    const auto slash = prefix.find('/');
    if (kind == "APP" && at->get_name() != "create") add_apps(session, names);
    if (kind.find("SERVICE") != std::string::npos)
      slash == std::string::npos ? add_apps(session, names)
                                 : add_services(session, prefix.substr(0, slash), names);
    if (kind == "RELEASE")
      add_releases(session, words[words.size() - 2], at->get_name() == "rollback", names);
    if (kind == "VOLUME") add_named(session, "/v1/volumes", "volumes", "name", names);
    if (kind == "REFERENCE" && (at->get_name() == "rm" || at->get_name() == "history"))
      add_named(session, "/v1/images", "images", "reference", names);
    if (kind == "GRANT") add_grants(session, at->get_name(), first, names);
    if (kind == "SHELL") names = {"bash", "zsh", "fish"};
  }
  for (const std::string& name : names)
    if (name.starts_with(prefix)) session.print("{}\n", name);
}

}  // namespace naru::cli
