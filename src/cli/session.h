// What every verb is given: where control is, where to write, and how the process was called.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/control_client.h"
#include "cli/fields.h"
#include "cli/terminal.h"

namespace naru::cli {

using GetVariable = std::function<std::optional<std::string>(const char* name)>;

// Until something is asked again; tests do not wait.
using Pause = std::function<void(milliseconds)>;

struct Session {
  static constexpr int kNoEdge = 100'000;
  Terminal& terminal;
  const Processes& processes;
  GetVariable variable;
  const Clock& clock;
  Pause pause;
  std::string data;  // --data, "" when not given
  bool json = false;

  // NARU_URL, NARU_TOKEN and NARU_CA, unless --data names a folder here; else NARU_DATA; else /var/lib/naru.
  ControlPlace place() const;
  ControlClient control() const { return ControlClient(place()); }

  void say(std::string_view text) const { terminal.out(text); }
  template <class... Args>
  void print(fmt::format_string<Args...> format, Args&&... args) const {
    terminal.out(fmt::format(format, std::forward<Args>(args)...));
  }
  void notice(std::string_view text) const;  // on the error side: "note: ..."
  // "error: ..." and "hint: ..."; with --json as the API gives errors, so that a script reads one shape.
  void error(const Error& error) const;
  // Before what cannot be undone. `yes` (--yes) answers for the person; where nobody can be asked it is
  // needed. cancelled; invalid_argument, with `command` --yes as the hint.
  Result<void> confirm(bool yes, std::string_view what, std::string_view command) const;
  void document(const Json& json) const;   // one JSON document
  void json_line(const Json& json) const;  // one of a stream
  // A line that a program wrote. In a pipe as it is; on a terminal it may be coloured, and steers nothing.
  std::string written(std::string_view line) const;
  // A stream that was to go on has ended: said, and the exit status.
  int ended() const;
  // Where text is cut: a pipe has no edge, and what reads it wants all.
  int columns() const { return terminal.interactive ? terminal.columns : kNoEdge; }
  std::string paint(Tone tone, std::string_view text) const { return terminal.style.paint(tone, text); }
  std::int64_t now_ms() const { return to_epoch_ms(clock.wall()); }
};

}  // namespace naru::cli
