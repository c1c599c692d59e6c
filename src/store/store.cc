#include "store/store.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include "model/json_text.h"
#include "store/cipher.h"

namespace naru::store {

namespace {

constexpr int kVersion = 2;
// Numbered; each brings the file from its index to the next version.
constexpr const char* kMigrations[kVersion] = {
    "CREATE TABLE rows (kind TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, key)) "
    "WITHOUT ROWID;"
    "CREATE TABLE events (sequence INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, app TEXT NOT "
    "NULL, body BLOB NOT NULL);"
    "CREATE INDEX events_app ON events (app, sequence);",
    // The first version dropped old events without one: the rows as they are now are its first.
    "CREATE TABLE checkpoint (kind TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, "
    "key)) WITHOUT ROWID;"
    "INSERT INTO checkpoint SELECT kind, key, body FROM rows;"
    "CREATE TABLE checkpoint_at (sequence INTEGER NOT NULL);"
    "INSERT INTO checkpoint_at SELECT coalesce(max(sequence), 0) FROM events;"};

bool is_secret_row(std::string_view kind) {
  return kind == "secret" || kind == "rollout" || kind == "environment" || kind == "release" ||
         kind == "pipeline";
}
bool is_secret_event(std::string_view name) {
  return name == "VariablesSet" || name == "EnvironmentCreated" || name == "ReleaseCreated" ||
         name == "PipelinePlanned" || name == "PipelineCreated" || name == "BuildFinished" ||
         name == "SecretChosen" || name == "RolloutStarted" || name == "EvidenceStored";
}

struct Database {
  sqlite3* handle = nullptr;
  Database() = default;
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database() { sqlite3_close_v2(handle); }
};

class Statement {
 public:
  static Result<Statement> prepare(sqlite3* db, const char* sql) {
    sqlite3_stmt* handle = nullptr;
    if (sqlite3_prepare_v2(db, sql, -1, &handle, nullptr) != SQLITE_OK)
      return fail(Code::store_open, "state.db: {}", sqlite3_errmsg(db));
    return Statement(handle);
  }
  Statement(Statement&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Statement& operator=(Statement&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Statement() { sqlite3_finalize(handle_); }

  Statement& bind(int index, std::string_view text) {
    sqlite3_bind_text64(handle_, index, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
    return *this;
  }
  Statement& bind_blob(int index, std::string_view bytes) {
    sqlite3_bind_blob64(handle_, index, bytes.data(), bytes.size(), SQLITE_TRANSIENT);
    return *this;
  }
  Statement& bind(int index, std::int64_t number) {
    sqlite3_bind_int64(handle_, index, number);
    return *this;
  }
  // true: a row; false: done.
  Result<bool> step() {
    const int code = sqlite3_step(handle_);
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    sqlite3* db = sqlite3_db_handle(handle_);
    return fail(code == SQLITE_FULL ? Code::disk_full : Code::system, "state.db: {}", sqlite3_errmsg(db));
  }
  void reset() {
    sqlite3_reset(handle_);
    sqlite3_clear_bindings(handle_);
  }
  std::string column_text(int index) const {
    const auto* bytes = static_cast<const char*>(sqlite3_column_blob(handle_, index));
    return std::string(bytes == nullptr ? "" : bytes,
                       static_cast<std::size_t>(sqlite3_column_bytes(handle_, index)));
  }
  std::int64_t column_int(int index) const { return sqlite3_column_int64(handle_, index); }

 private:
  explicit Statement(sqlite3_stmt* handle) : handle_(handle) {}
  sqlite3_stmt* handle_ = nullptr;
};

Result<void> execute(sqlite3* db, const char* sql) {
  char* message = nullptr;
  const int code = sqlite3_exec(db, sql, nullptr, nullptr, &message);
  if (code == SQLITE_OK) return {};
  const std::string text = message == nullptr ? "unknown error" : message;
  sqlite3_free(message);
  return fail(code == SQLITE_FULL     ? Code::disk_full
              : code == SQLITE_NOTADB ? Code::store_open
                                      : Code::system,
              "state.db: {}", text);
}

Result<void> migrate(sqlite3* db) {
  std::int64_t version = 0;
  {
    auto read = TRY(Statement::prepare(db, "PRAGMA user_version"));
    TRY(read.step());
    version = read.column_int(0);
  }
  if (version > kVersion)
    return fail(Code::store_open, "state.db has version {}, this Naru knows {}: it was used by a newer one",
                version, kVersion);
  for (; version < kVersion; ++version) {
    TRY(execute(db, "BEGIN IMMEDIATE"));
    TRY(execute(db, kMigrations[version]));
    TRY(execute(db, fmt::format("PRAGMA user_version = {}", version + 1).c_str()));
    TRY(execute(db, "COMMIT"));
  }
  return {};
}

}  // namespace

struct Store::Impl {
  Database db;
  Cipher cipher;
  std::uint64_t last_sequence = 0;
  // Of each step of a rollout the sequence of its last EvidenceStored.
  using Step = std::pair<RolloutId, std::uint32_t>;
  using Sequences = std::map<Step, std::int64_t>;
  Sequences evidence;  // that this process wrote and committed, of rollouts under way

  std::string encode(bool secret, const Json& json) const {
    std::string text = json_text(json);
    return secret ? "\x01" + cipher.seal(text) : text;
  }
  Result<Json> decode(std::string_view body) const {
    if (!body.empty() && body.front() == '\x01')
      return parse_json(TRY(cipher.unseal(body.substr(1))), "state.db");
    return parse_json(body, "state.db");
  }

  Result<void> write_rows(const State& state, const Touched& touched) {
    auto put =
        TRY(Statement::prepare(db.handle, "INSERT OR REPLACE INTO rows (kind, key, body) VALUES (?, ?, ?)"));
    auto drop = TRY(Statement::prepare(db.handle, "DELETE FROM rows WHERE kind = ? AND key = ?"));
    for (const auto& [kind, key] : touched) {
      const Json row = row_of(state, kind, key);
      Statement& statement = row.is_null() ? drop : put;
      statement.bind(1, kind).bind(2, key);
      if (!row.is_null()) statement.bind_blob(3, encode(is_secret_row(kind), row));
      TRY(statement.step());
      statement.reset();
    }
    return {};
  }

  // `written`: of this transaction. A number counts only once it is committed: after a ROLLBACK another event
  // gets it.
  Result<void> append(const State& state, const std::vector<Event>& events, WallTime at, Sequences& written) {
    auto insert = TRY(Statement::prepare(db.handle, "INSERT INTO events (at, app, body) VALUES (?, ?, ?)"));
    for (const Event& event : events) {
      insert.bind(1, to_epoch_ms(at)).bind(2, event_app(state, event));
      insert.bind_blob(3, encode(is_secret_event(event_name(event)), to_json_event(event)));
      TRY(insert.step());
      insert.reset();
      if (const auto* evidence = std::get_if<event::EvidenceStored>(&event))
        TRY(replace_evidence({evidence->rollout, evidence->step}, written));
    }
    return {};
  }

  // Once a second while a rollout runs: each replaces the one before, or a long hold would crowd out the
  // history. A step's last one stays: it has the examples that are kept of that step.
  Result<void> replace_evidence(Step step, Sequences& written) {
    const std::int64_t sequence = sqlite3_last_insert_rowid(db.handle);
    for (const Sequences* known : {&std::as_const(written), &std::as_const(evidence)}) {
      const auto before = known->find(step);
      if (before == known->end()) continue;
      auto drop = TRY(Statement::prepare(db.handle, "DELETE FROM events WHERE sequence = ?"));
      drop.bind(1, before->second);
      TRY(drop.step());
      break;
    }
    written[step] = sequence;
    return {};
  }

  void take_over(const State& state, const Sequences& written) {
    for (const auto& [step, sequence] : written) evidence[step] = sequence;
    std::erase_if(evidence, [&](const auto& known) {
      const auto row = state.rollouts.find(known.first.first);
      return row == state.rollouts.end() || !row->second.active();
    });
  }

  Result<State> load_rows(const char* sql) {
    State state;
    auto select = TRY(Statement::prepare(db.handle, sql));
    while (TRY(select.step())) {
      const std::string kind = select.column_text(0), key = select.column_text(1);
      try {
        load_row(state, kind, key, TRY(decode(select.column_text(2))));
      } catch (const std::exception& e) {
        return fail(Code::store_open, "state.db: row {} {}: {}", kind, key, e.what());
      }
    }
    return state;
  }

  // The sequence of the last event that the checkpoint has in it.
  Result<std::int64_t> checkpoint_sequence() {
    auto select = TRY(Statement::prepare(db.handle, "SELECT sequence FROM checkpoint_at"));
    TRY(select.step());
    return select.column_int(0);
  }

  // All or nothing; the failure that is reported is the first one.
  template <class F>
  Result<void> transaction(F write) {
    TRY(execute(db.handle, "BEGIN IMMEDIATE"));
    Result<void> done = write();
    if (done) done = execute(db.handle, "COMMIT");
    if (!done) (void)execute(db.handle, "ROLLBACK");
    return done;
  }

  Result<void> take_checkpoint() {
    return transaction([&]() -> Result<void> {
      TRY(execute(db.handle, "DELETE FROM checkpoint"));
      TRY(execute(db.handle, "INSERT INTO checkpoint SELECT kind, key, body FROM rows"));
      return execute(db.handle, fmt::format("UPDATE checkpoint_at SET sequence = {}", last_sequence).c_str());
    });
  }

  Result<std::vector<StoredEvent>> read_events(Statement& select) {
    std::vector<StoredEvent> events;
    while (TRY(select.step())) {
      StoredEvent event;
      event.sequence = static_cast<std::uint64_t>(select.column_int(0));
      event.at = from_epoch_ms(select.column_int(1));
      event.app = select.column_text(2);
      event.event = TRY(decode(select.column_text(3)));
      events.push_back(std::move(event));
    }
    return events;
  }
};

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

Result<Store> Store::open(const std::string& folder) {
  auto impl = std::make_unique<Impl>();
  impl->cipher = TRY(Cipher::open(folder + "/state.key"));
  const std::string path = folder + "/state.db";
  const mode_t old_mask = ::umask(0077);
  const int code = sqlite3_open_v2(path.c_str(), &impl->db.handle,
                                   SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  ::umask(old_mask);
  if (code != SQLITE_OK) return fail(Code::store_open, "{}: {}", path, sqlite3_errstr(code));
  sqlite3_busy_timeout(impl->db.handle, 5000);
  TRY(execute(impl->db.handle, "PRAGMA journal_mode = WAL"));
  TRY(execute(impl->db.handle, "PRAGMA synchronous = FULL"));
  TRY(migrate(impl->db.handle));
  {
    auto last = TRY(Statement::prepare(impl->db.handle, "SELECT coalesce(max(sequence), 0) FROM events"));
    TRY(last.step());
    impl->last_sequence = static_cast<std::uint64_t>(last.column_int(0));
  }
  return Store(std::move(impl));
}

Result<State> Store::load() {
  return impl_->load_rows("SELECT kind, key, body FROM rows");
}

Result<State> Store::replay() {
  constexpr std::size_t kAtOnce = 1'000;
  State state = TRY(impl_->load_rows("SELECT kind, key, body FROM checkpoint"));
  auto sequence = static_cast<std::uint64_t>(TRY(impl_->checkpoint_sequence()));
  while (true) {
    const auto events = TRY(events_after(sequence, kAtOnce));
    for (const StoredEvent& stored : events) {
      Touched touched;
      apply(state, TRY(event_from_json(stored.event)), stored.at, touched);
      sequence = stored.sequence;
    }
    if (events.size() < kAtOnce) return state;
  }
}

Result<void> Store::commit(const State& state, const std::vector<Event>& events, const Touched& touched,
                           WallTime at) {
  Impl::Sequences written;
  TRY(impl_->transaction([&]() -> Result<void> {
    TRY(impl_->append(state, events, at, written));
    return impl_->write_rows(state, touched);
  }));
  impl_->take_over(state, written);
  impl_->last_sequence += events.size();
  return {};
}

std::uint64_t Store::last_sequence() const {
  return impl_->last_sequence;
}

Result<std::vector<StoredEvent>> Store::events_after(std::uint64_t sequence, std::size_t limit,
                                                     const std::string& app) {
  auto select = TRY(Statement::prepare(
      impl_->db.handle,
      app.empty()
          ? "SELECT sequence, at, app, body FROM events WHERE sequence > ?1 ORDER BY sequence LIMIT ?2"
          : "SELECT sequence, at, app, body FROM events WHERE sequence > ?1 AND app = ?3 ORDER BY sequence "
            "LIMIT ?2"));
  select.bind(1, static_cast<std::int64_t>(sequence)).bind(2, static_cast<std::int64_t>(limit));
  if (!app.empty()) select.bind(3, app);
  return impl_->read_events(select);
}

Result<std::vector<StoredEvent>> Store::latest_events(std::size_t limit, const std::string& app) {
  auto select = TRY(Statement::prepare(
      impl_->db.handle,
      app.empty()
          ? "SELECT sequence, at, app, body FROM events ORDER BY sequence DESC LIMIT ?1"
          : "SELECT sequence, at, app, body FROM events WHERE app = ?2 ORDER BY sequence DESC LIMIT ?1"));
  select.bind(1, static_cast<std::int64_t>(limit));
  if (!app.empty()) select.bind(2, app);
  auto events = TRY(impl_->read_events(select));
  std::ranges::reverse(events);
  return events;
}

Result<void> Store::compact(std::uint64_t keep, std::uint64_t at_most) {
  if (impl_->last_sequence <= keep) return {};
  const auto limit = static_cast<std::int64_t>(impl_->last_sequence - keep);
  // What is dropped must be in the checkpoint; a new one lasts for `keep` further events.
  if (limit > TRY(impl_->checkpoint_sequence())) TRY(impl_->take_checkpoint());
  auto drop = TRY(Statement::prepare(impl_->db.handle,
                                     "DELETE FROM events WHERE sequence <= ?1 AND sequence < (SELECT "
                                     "coalesce(min(sequence), 0) FROM events) + ?2"));
  drop.bind(1, limit);
  drop.bind(2, static_cast<std::int64_t>(at_most));
  TRY(drop.step());
  return {};
}

}  // namespace naru::store
