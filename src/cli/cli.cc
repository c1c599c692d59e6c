#include "cli/cli.h"

#include "cli/command_line.h"

namespace naru::cli {

int run(int argc, char** argv, const Processes& processes) {
  const SystemClock clock;
  Terminal terminal = Terminal::system();
  const GetVariable variable = [](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
  return run_words({argv + std::min(argc, 1), argv + argc}, processes, terminal, variable, clock);
}

}  // namespace naru::cli
