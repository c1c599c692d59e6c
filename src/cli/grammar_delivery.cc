// The verbs of delivery.
#include "cli/grammar.h"

namespace naru::cli {

void add_delivery_verbs(Grammar& grammar) {
  grammar.verb(&grammar.root(), "open", "Print a link to the console, valid once", {"naru open", "xdg-open \"$(naru open)\""}, [](const Session& session) { return open_console(session); });
}

}  // namespace naru::cli
