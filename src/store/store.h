// The platform's rows and its event log, in one SQLite file (and SQLite nowhere else). Rows and events that
// can hold secrets (environments, releases, pipelines) are encrypted at rest with the key in a file beside it
// (libsodium secretbox). One thread at a time.
//
// WAL with synchronous=FULL: when commit() has returned, a power cut loses nothing of it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model/apply.h"

struct sqlite3;
struct sqlite3_stmt;

namespace naru::store {

struct StoredEvent {
  std::uint64_t sequence = 0;  // rising, without a promise of no gaps
  WallTime at{};
  std::string app;  // "" = the platform's own
  Json event;       // {"event": name, ...}
};

class Store {
 public:
  // Creates or opens `folder`/state.db and `folder`/state.key, and migrates an older file.
  // Errors: store_open (not a database, a newer version, a key that does not fit), disk_full.
  static Result<Store> open(const std::string& folder);
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  ~Store();

  Result<State> load();
  // What the log says: the last checkpoint (the rows as they were after some event) and every event since. It
  // is what load() gives, at any time: tests hold that.
  Result<State> replay();
  // One transaction: the events appended, the touched rows of `state` written or deleted. On an error nothing
  // changed.
  Result<void> commit(const State& state, const std::vector<Event>& events, const Touched& touched,
                      WallTime at);

  std::uint64_t last_sequence() const;
  // Oldest first, after `sequence`; app "" = all. Secrets are in it: the API masks them.
  Result<std::vector<StoredEvent>> events_after(std::uint64_t sequence, std::size_t limit,
                                                const std::string& app = {});
  // The newest `limit`, oldest first.
  Result<std::vector<StoredEvent>> latest_events(std::size_t limit, const std::string& app = {});
  // Drops events beyond the newest `keep`, the oldest first, `at_most` of them. None goes that the checkpoint
  // does not have in it: a new one is taken first, once in `keep` events.
  Result<void> compact(std::uint64_t keep, std::uint64_t at_most);

 private:
  struct Impl;
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace naru::store
