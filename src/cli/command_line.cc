#include "cli/command_line.h"

#include "cli/completion.h"
#include "cli/grammar.h"

namespace naru::cli {

int run_words(const std::vector<std::string>& words, const Processes& processes, Terminal& terminal,
              const GetVariable& variable, const Clock& clock) {
  Grammar grammar;
  if (!words.empty() && words.front() == "__complete") {
    complete(grammar.root(), {words.begin() + 1, words.end()},
             {terminal, processes, variable, clock, {}, false});
    return 0;
  }
  const auto parsed = grammar.parse(words);
  if (!parsed.verb) {
    (parsed.status == 0 ? terminal.out : terminal.err)(parsed.text);
    return parsed.status;
  }
  const Session session{terminal, processes, variable, clock, parsed.data, parsed.json};
  const Done done = parsed.verb(session);
  if (done) return *done;
  session.error(done.error());
  return 1;
}

}  // namespace naru::cli
