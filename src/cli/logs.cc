// `naru logs` and `naru events`.
#include "cli/render.h"
#include "cli/target.h"
#include "cli/verbs.h"

namespace naru::cli {

namespace {

Tone tone_of_name(std::string_view name) {
  static constexpr Tone kTones[] = {Tone::accent, Tone::good, Tone::warn, Tone::bold};
  std::size_t sum = 0;
  for (const char c : name) sum += static_cast<unsigned char>(c);
  return kTones[sum % std::size(kTones)];
}

// "14:03:05 web-17 | text".
void print_line(const Session& session, const Json& line) {
  const std::string instance =
      text(line, "instance").empty() ? text(line, "service") : text(line, "instance");
  const Json& written = member(line, "text");
  std::string out = written.is_string() ? written.get<std::string>() : "";
  while (out.ends_with('\n')) out.pop_back();
  const bool error = text(line, "stream") == "stderr";
  const Json& time = member(line, "time");
  const std::string at = time.is_string() ? clean(time.get<std::string>()) : clock_time(number(line, "time"));
  session.print("{} {} {} {}\n", session.paint(Tone::dim, at),
                session.paint(tone_of_name(instance), instance),
                session.paint(error ? Tone::bad : Tone::dim, "|"), session.written(out));
}

}  // namespace

Done logs(const Session& session, const LogsOptions& options) {
  const Target target = TRY(parse_service(options.target));
  std::string path = fmt::format("/v1/apps/{}/logs?{}&tail={}", path_part(target.app),
                                 query_part("env", target.env), options.lines);
  if (!target.service.empty()) path += "&" + query_part("service", target.service);
  if (options.follow) path += "&follow=1";
  TRY(session.control().events(path, [&](const std::string& name, const Json& data) -> Result<void> {
    if (name != "line") return {};
    if (session.json)
      session.json_line(data);
    else
      print_line(session, data);
    return {};
  }));
  return options.follow ? session.ended() : 0;
}

Done events(const Session& session, const EventsOptions& options) {
  std::string path = fmt::format("/v1/events?limit={}", options.limit);
  if (!options.app.empty()) path += "&" + query_part("app", TRY(parse_app(options.app)).app);
  const View view{session.terminal.style, session.columns(), session.now_ms()};
  const auto show = [&](const Json& event) {
    if (session.json)
      session.json_line(event);
    else
      session.say(render_event(event, view));
  };
  if (options.follow) {
    TRY(session.control().events(path + "&follow=1",
                                 [&](const std::string& name, const Json& data) -> Result<void> {
                                   if (name == "event") show(data);
                                   return {};
                                 }));
    return session.ended();
  }
  const Json answer = TRY(session.control().get(path));
  if (session.json)
    session.document(answer);
  else
    for (const Json& event : list(answer, "events")) show(event);
  return 0;
}

}  // namespace naru::cli
