// `naru status` and `naru ps`.
#include <signal.h>
#include <unistd.h>

#include "cli/render.h"
#include "cli/target.h"
#include "cli/verbs.h"

namespace naru::cli {

namespace {

constexpr std::string_view kHideCursor = "\x1b[?25l", kShowCursor = "\x1b[?25h";

View view_of(const Session& session) {
  return {session.terminal.style, session.columns(), session.now_ms()};
}

void leave_cleanly(int) {
  constexpr std::string_view kEnd = "\x1b[?25h\n";
  if (::write(STDOUT_FILENO, kEnd.data(), kEnd.size()) < 0) ::_exit(1);
  ::_exit(0);
}

// Redraws in place: up by as many lines as were drawn, each line cleared to its end.
class Screen {
 public:
  explicit Screen(const Terminal& terminal) : terminal_(terminal) {
    struct sigaction action{};
    action.sa_handler = leave_cleanly;
    ::sigaction(SIGINT, &action, &before_);
    terminal_.out(kHideCursor);
  }
  ~Screen() {
    terminal_.out(kShowCursor);
    ::sigaction(SIGINT, &before_, nullptr);
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  void draw(const std::string& picture) {
    std::string out = lines_ > 0 ? fmt::format("\x1b[{}A\r", lines_) : "";
    lines_ = 0;
    std::string_view rest = picture;
    while (!rest.empty()) {
      const auto end = std::min(rest.find('\n'), rest.size());
      out += rest.substr(0, end);
      out += "\x1b[K\n";
      // A line wider than the terminal takes several rows of it.
      lines_ += 1 + std::max(0, display_width(rest.substr(0, end)) - 1) / std::max(1, terminal_.columns);
      rest.remove_prefix(std::min(rest.size(), end + 1));
    }
    terminal_.out(out + "\x1b[J");
  }

 private:
  const Terminal& terminal_;
  struct sigaction before_{};
  int lines_ = 0;
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
      const std::string table = render_traffic(traffic, view_of(session));
      return screen->draw(render_status(status, view_of(session)) + (table.empty() ? "" : "\n" + table) +
                          session.paint(Tone::dim, "\n  Ctrl-C leaves\n"));
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
