#include "cli/cli.h"

#include <thread>

#include "base/environment.h"
#include "cli/command_line.h"

namespace naru::cli {

int run(int argc, char** argv, const Processes& processes) {
  const SystemClock clock;
  Terminal terminal = Terminal::system();
  const GetVariable variable = environment_variable;
  return run_words({argv + std::min(argc, 1), argv + argc}, processes, terminal, variable, clock,
                   [](milliseconds time) { std::this_thread::sleep_for(time); });
}

}  // namespace naru::cli
