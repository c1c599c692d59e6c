// `naru status` and `naru ps`.
#include <signal.h>
#include <unistd.h>

#include "cli/render.h"
#include "cli/target.h"
#include "cli/verbs.h"

namespace naru::cli {

namespace {

// The other screen, which keeps nothing of what was drawn, and no cursor; back to where the person was.
constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l", kLeave = "\x1b[?25h\x1b[?1049l";
// A picture from the upper left of an empty window, shown when it is whole (where the terminal knows that
// mode).
constexpr std::string_view kBegin = "\x1b[?2026h\x1b[H\x1b[J", kEnd = "\x1b[?2026l";

View view_of(const Session& session) {
  return {session.terminal.style, session.columns(), session.now_ms()};
}

void tell_terminal(std::string_view what) {
  if (::write(STDOUT_FILENO, what.data(), what.size()) < 0) ::_exit(1);
}
void leave_cleanly(int) {
  tell_terminal(kLeave);
  ::_exit(0);
}
void pause_cleanly(int) {  // Ctrl-Z; the next picture comes by itself
  tell_terminal(kLeave);
  ::raise(SIGSTOP);
  tell_terminal(kEnter);
}

// Draws each picture over the one before, within the window: nothing scrolls, so nothing is left in its
// history.
class Screen {
 public:
  explicit Screen(Terminal& terminal) : terminal_(terminal) {
    for (std::size_t i = 0; i < std::size(kSignals); ++i) {
      struct sigaction action{};
      action.sa_flags = SA_RESTART;
      action.sa_handler = kSignals[i] == SIGTSTP ? pause_cleanly : leave_cleanly;
      ::sigaction(kSignals[i], &action, &before_[i]);
    }
    terminal_.out(kEnter);
  }
  ~Screen() {
    terminal_.out(kLeave);
    for (std::size_t i = 0; i < std::size(kSignals); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // `command` prints what does not fit.
  void draw(std::string_view picture, std::string_view command) {
    terminal_.out(fmt::format("{}{}{}", kBegin,
                              fit_rows(picture, terminal_.columns, terminal_.rows, terminal_.style, command),
                              kEnd));
  }

 private:
  static constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGTSTP};
  Terminal& terminal_;
  struct sigaction before_[std::size(kSignals)] = {};
};

// Without a terminal: a line whenever something else is said.
std::string plain_line(const Json& status) {
  return fmt::format("{}/{}: {}\n", text(status, "app"), text(status, "env"), text(status, "message"));
}

Done watch(const Session& session, const Target& target) {
  Json status = TRY(session.control().get(
      fmt::format("/v1/apps/{}/status?{}", path_part(target.app), query_part("env", target.env))));
  Json traffic;
  std::string last;
  std::optional<Screen> screen;
  if (session.terminal.interactive && !session.json) screen.emplace(session.terminal);
  const auto show = [&](const std::string& name, const Json& data) {
    if (session.json) return session.json_line({{"event", name}, {"data", data}});
    if (screen) {
      if (session.terminal.measure) session.terminal.measure(session.terminal);
      const std::string table = render_traffic(traffic, view_of(session));
      return screen->draw(render_status(status, view_of(session)) + (table.empty() ? "" : "\n" + table) +
                              session.paint(Tone::dim, "\n  Ctrl-C leaves\n"),
                          "naru status " + target.text());
    }
    if (const std::string line = plain_line(status); line != last) session.say(last = line);
  };
  show("status", status);
  TRY(session.control().events("/v1/live?" + query_part("app", target.app),
                               [&](const std::string& name, const Json& data) -> Result<void> {
                                 if (text(data, "env") != target.env) return {};
                                 (name == "traffic" ? traffic : status) = data;
                                 show(name, data);
                                 return {};
                               }));
  screen.reset();
  return session.ended();
}

Done status_of_all(const Session& session) {
  const ControlClient control = session.control();
  const Json apps = TRY(control.get("/v1/apps"));
  Json all = Json::array();
  for (const Json& app : list(apps, "apps"))
    for (const Json& environment : list(app, "environments"))
      all.push_back(TRY(control.get(fmt::format("/v1/apps/{}/status?{}", path_part(text(app, "name")),
                                                query_part("env", text(environment, "name"))))));
  if (session.json) {
    session.document({{"statuses", all}});
    return 0;
  }
  if (all.empty())
    session.say(
        "Naru runs; there is no application yet. Make one in your repository: naru app create shop\n");
  for (std::size_t i = 0; i < all.size(); ++i)
    session.say((i > 0 ? "\n" : "") + render_status(all[i], view_of(session)));
  return 0;
}

}  // namespace

Done status(const Session& session, const StatusOptions& options) {
  if (options.app.empty() && options.watch)
    return std::unexpected(
        Error{Code::invalid_argument, "--watch needs an application", 0, "name it: naru status APP --watch"});
  if (options.app.empty()) return status_of_all(session);
  const Target target = TRY(parse_app(options.app));
  if (options.watch) return watch(session, target);
  const Json answer = TRY(session.control().get(
      fmt::format("/v1/apps/{}/status?{}", path_part(target.app), query_part("env", target.env))));
  if (session.json)
    session.document(answer);
  else
    session.say(render_status(answer, view_of(session)));
  return 0;
}

Done ps(const Session& session, const AppOptions& options) {
  std::string path = "/v1/ps";
  std::optional<Target> target;
  if (!options.app.empty()) {
    target = TRY(parse_app(options.app));
    path += "?" + query_part("app", target->app);
    if (options.app.find('/') != std::string::npos) path += "&" + query_part("env", target->env);
  }
  const Json answer = TRY(session.control().get(path));
  if (session.json)
    session.document(answer);
  else
    session.say(render_instances(answer, view_of(session), !target));
  return 0;
}

}  // namespace naru::cli
