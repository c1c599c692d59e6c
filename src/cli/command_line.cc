#include "cli/command_line.h"

#include "cli/completion.h"
#include "cli/grammar.h"

namespace naru::cli {

int run_words(const std::vector<std::string>& words, const Processes& processes, Terminal& terminal,
              const GetVariable& variable, const Clock& clock, const Pause& pause) {
  Grammar grammar;
  if (!words.empty() && words.front() == "__complete") {
    const auto data = std::ranges::find(words, "--data");
    const bool given = words.end() - data > 2;  // not the word that is being typed
    complete(grammar.root(), {words.begin() + 1, words.end()},
             {terminal, processes, variable, clock, pause, given ? *(data + 1) : "", false});
    return 0;
  }
  const auto parsed = grammar.parse(words);
  const Session session{terminal, processes, variable, clock, pause, parsed.data, parsed.json};
  if (parsed.wrong) {
    session.error(*parsed.wrong);
    return 2;
  }
  if (!parsed.verb) {
    session.say(parsed.text);
    return 0;
  }
  const Done done = parsed.verb(session);
  if (done) return *done;
  session.error(done.error());
  return 1;
}

}  // namespace naru::cli
