// `naru app allow` and `naru app disallow`. Control is asked what is; only the launcher gives and takes, and
// it asks the kernel whether this is root (docs/decisions/0011).
#include <unistd.h>

#include <filesystem>
#include <set>
#include <thread>

#include "cli/target.h"
#include "cli/verbs.h"
#include "ipc/data_folder.h"
#include "ipc/launcher_client.h"

namespace naru::cli {

namespace {

namespace fs = std::filesystem;

constexpr milliseconds kPatience{10'000}, kPause{50};
constexpr milliseconds kBeside{5'000};      // for control, where the launcher has done it already
constexpr std::size_t kMostLooked = 2'000;  // entries of a folder that is given
constexpr int kDeepest = 3;                 // folders

Result<std::string> whole_app(const GrantOptions& options, std::string_view verb) {
  return parse_whole_app(options.app, "what is allowed counts in every environment",
                         [&](const std::string& app) {
                           return fmt::format("naru app {} {} {}", verb, app,
                                              clean(fmt::format("{}", fmt::join(options.grants, " "))));
                         });
}

Result<Json> grants_of(const ControlClient& control, const std::string& app) {
  return control.get(fmt::format("/v1/apps/{}/grants", path_part(app)));
}

std::string users_text(const Json& grant) {
  std::vector<std::string> users;
  for (const Json& user : list(grant, "used_by"))
    if (user.is_string()) users.push_back(clean(user.get<std::string>()));
  return fmt::format("{}", fmt::join(users, ", "));
}

Done show(const Session& session, const std::string& app) {
  const Json answer = TRY(grants_of(session.control(), app));
  if (session.json) {
    session.document(answer);
    return 0;
  }
  Table table({"ALLOWED", "SINCE", "BY", "USED BY"});
  for (const Json& grant : list(answer, "grants")) {
    const std::string users = users_text(grant);
    table.row({text(grant, "grant"), ago(number(grant, "at"), session.now_ms()), text(grant, "by"),
               users.empty() ? session.paint(Tone::dim, "nobody") : users});
  }
  session.say(table.empty() ? fmt::format("{} is allowed nothing beyond its containers.\n", app)
                            : table.text(session.terminal.style));
  return 0;
}

// Root, here: a token is control's to check, and control must not be able to give anything.
Result<std::unique_ptr<ipc::LauncherClient>> launcher_of(const Session& session, const std::string& command) {
  const ControlPlace place = session.place();
  if (!place.local())
    return std::unexpected(Error{Code::forbidden,
                                 "what an application is allowed is decided on the machine itself, as root",
                                 0, fmt::format("there: sudo {}", command)});
  if (::geteuid() != 0)
    return std::unexpected(
        Error{Code::forbidden, "only root decides what an application is allowed", 0, "sudo " + command});
  return ipc::LauncherClient::open(
      {ipc::DataFolder{place.data}.launcher_socket().string(), [](const Json&) {}});
}

std::string operator_of(const Session& session) {
  const auto name = session.variable("SUDO_USER");
  return name && !name->empty() ? *name : "root";
}

std::set<std::string> names_in(const Json& answer) {
  std::set<std::string> names;
  for (const Json& grant : list(answer, "grants")) names.insert(grant.value("grant", ""));
  return names;
}

// The launcher tells control; what is said here is true of the next push. `settled`: of the names that
// control knows; others may be giving and taking at the same time.
template <class Settled>
Result<Json> known_to_control(const ControlClient& control, const std::string& app, Settled settled) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    Json answer = TRY(grants_of(control, app));
    if (settled(names_in(answer))) return answer;
    if (std::chrono::steady_clock::now() > deadline)
      return std::unexpected(Error{Code::timeout,
                                   "the launcher keeps it, but control has not heard of it yet", 0,
                                   fmt::format("see `naru app allow {}` in a moment", app)});
    std::this_thread::sleep_for(kPause);
  }
}

// A socket or FIFO in it: that a folder is mounted to be read keeps nobody from speaking there. Near the top,
// and of what is there now; "" = none was seen.
std::string spoken_at(const fs::path& folder) {
  std::error_code ignored;
  fs::recursive_directory_iterator at(folder, fs::directory_options::skip_permission_denied, ignored);
  for (std::size_t left = kMostLooked; left > 0 && at != fs::recursive_directory_iterator(); --left) {
    if (at->is_socket(ignored) || at->is_fifo(ignored)) return at->path().string();
    if (at.depth() + 1 >= kDeepest) at.disable_recursion_pending();
    at.increment(ignored);
  }
  return "";
}

void warn_of_sockets(const Session& session, const std::string& app, const Grant& grant) {
  if (grant.kind != GrantKind::bind) return;
  if (const std::string found = spoken_at(grant.name); !found.empty())
    session.notice(fmt::format(
        "{} lies in it: {} can speak there, as the machine's root. Unless that is meant, take the grant back "
        "(naru app disallow {} {}) and give a folder without sockets",
        clean(found), app, app, clean(grant.text())));
}

}  // namespace

Done app_allow(const Session& session, const GrantOptions& options) {
  const std::string app = TRY(whole_app(options, "allow"));
  if (options.grants.empty()) return show(session, app);
  std::vector<Grant> wanted;
  for (const std::string& grant : options.grants) wanted.push_back(TRY(parse_grant(grant)));
  const auto launcher =
      TRY(launcher_of(session, fmt::format("naru app allow {} {}", app, fmt::join(options.grants, " "))));
  TRY(grants_of(session.control(), app));  // there is such an application
  TRY(launcher->allow(app, options.grants, operator_of(session)));
  const Json answer = TRY(known_to_control(session.control(), app, [&](const std::set<std::string>& names) {
    return std::ranges::all_of(wanted, [&](const Grant& grant) { return names.contains(grant.text()); });
  }));
  for (const Grant& grant : wanted) warn_of_sockets(session, app, grant);
  if (session.json) {
    session.document(answer);
    return 0;
  }
  for (const Grant& grant : wanted)
    session.print("{} is allowed {}, in all its environments. {}.\n", app, clean(grant.text()),
                  reach_of(grant));
  session.say("A push that was refused for it comes in now.\n");
  return 0;
}

// Control is asked last, and only for what is said beside: it must not be able to keep a grant.
Done app_disallow(const Session& session, const GrantOptions& options) {
  const std::string app = TRY(whole_app(options, "disallow"));
  const auto launcher =
      TRY(launcher_of(session, fmt::format("naru app disallow {} {}", app, fmt::join(options.grants, " "))));
  AppGrants before;
  for (AppGrants& its : TRY(launcher->list_grants()))
    if (its.app == app) before = std::move(its);
  const AppGrants left = TRY(launcher->disallow(app, options.grants, operator_of(session)));
  std::set<std::string> gone;
  for (const GrantRecord& record : before.grants)
    if (std::ranges::find(left.grants, record.grant, &GrantRecord::grant) == left.grants.end())
      gone.insert(record.grant);

  const ControlClient control(session.place(), kBeside);
  std::optional<Error> silent;
  Json taken = Json::array();
  for (const GrantRecord& record : before.grants) {
    if (!gone.contains(record.grant)) continue;
    Json row = record;
    const auto users = silent ? Result<Json>(std::unexpected(*silent))
                              : control.get(fmt::format("/v1/apps/{}/grants?{}", path_part(app),
                                                        query_part("of", record.grant)));
    if (users) row["used_by"] = list(*users, "used_by");
    if (!users) silent = users.error();
    taken.push_back(std::move(row));
  }
  Json answer{{"app", app}, {"grants", left.grants}};
  if (!silent) {
    auto known = known_to_control(control, app, [&](const std::set<std::string>& names) {
      return std::ranges::none_of(gone, [&](const std::string& name) { return names.contains(name); });
    });
    if (known) answer = std::move(*known);
    if (!known) silent = known.error();
  }
  if (silent)
    session.notice(fmt::format(
        "it is taken back: no start gets it any more. Control has not said who uses it, and a push may be "
        "taken in before it hears of it: {}",
        clean(silent->message())));
  if (session.json) {
    answer["disallowed"] = taken;
    session.document(answer);
    return 0;
  }
  for (const Json& grant : taken) {
    session.print("{} is no longer allowed {}.\n", app, text(grant, "grant"));
    if (const std::string users = users_text(grant); !users.empty())
      session.print(
          "  In use by {}: what runs goes on with it until it ends; its next start is refused, also after a "
          "crash or a restart of the machine.\n",
          users);
  }
  return 0;
}

}  // namespace naru::cli
