// naru-replay FOLDER: replays the event log in a copy of a platform's state (state.db, state.key) and
// compares what comes out with the rows. Ends with 1 and the differences when they are not the same.
#include <fmt/format.h>

#include "store/store.h"

namespace {

int compare(const std::string& folder) {
  using naru::Json;
  auto store = naru::store::Store::open(folder);
  if (!store) {
    fmt::print(stderr, "error: {}\n", store.error().message());
    return 2;
  }
  auto rows = store->load();
  auto replayed = store->replay();
  if (!rows || !replayed) {
    fmt::print(stderr, "error: {}\n", (!rows ? rows.error() : replayed.error()).message());
    return 2;
  }
  const Json differences = Json::diff(Json(*rows), Json(*replayed));
  if (!differences.empty())
    fmt::print("the rows become what the log says by {}\n", differences.dump(1).substr(0, 4000));
  return differences.empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: naru-replay FOLDER\n");
    return 2;
  }
  return compare(argv[1]);
}
