#include "store/store.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <filesystem>
#include <fstream>

#include "model/changes.h"
#include "os/counted_fsync_test.h"

namespace naru::store {
namespace {

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "naru-store-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void commit(Store& store, State& state, std::vector<Event> events) {
    Changes changes(state, from_epoch_ms(1000));
    for (Event& event : events) changes.emit(std::move(event));
    ASSERT_TRUE(store.commit(state, changes.events(), changes.touched(), changes.now()));
  }
  // By another hand.
  void execute(const char* sql) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open((folder_ + "/state.db").c_str(), &db), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
    sqlite3_close(db);
  }
  // By another hand.
  std::string asked(const char* sql) {
    sqlite3* db = nullptr;
    EXPECT_EQ(sqlite3_open((folder_ + "/state.db").c_str(), &db), SQLITE_OK);
    std::string answer;
    const auto take = [](void* into, int, char** values, char**) {
      *static_cast<std::string*>(into) += values[0] == nullptr ? "" : values[0];
      return 0;
    };
    EXPECT_EQ(sqlite3_exec(db, sql, take, &answer, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
    sqlite3_close(db);
    return answer;
  }
  static std::vector<Event> an_app() {
    App app;
    app.name = "shop";
    Environment production;
    production.app = "shop";
    production.name = "production";
    Rollout rollout;
    rollout.id = 5;
    rollout.app = "shop";
    rollout.environment = "production";
    rollout.salt = "hunter2-salt";
    return {event::AppCreated{app},
            event::EnvironmentCreated{production},
            event::SecretChosen{"hunter2-of-all"},
            event::RolloutStarted{rollout},
            event::VariablesSet{"shop/production", {{"PASSWORD", "hunter2-very-secret"}}, {}},
            event::ActionQueued{{7, ActionKind::plan_pipeline, "3", ""}}};
  }

  std::string folder_;
};

TEST_F(StoreTest, LoadsWhatWasCommitted) {
  State state;
  {
    Store store = Store::open(folder_).value();
    commit(store, state, an_app());
  }
  Store again = Store::open(folder_).value();
  EXPECT_EQ(Json(again.load().value()), Json(state));
  EXPECT_EQ(again.last_sequence(), 6u);
  const auto events = again.events_after(1, 10).value();
  ASSERT_EQ(events.size(), 5u);
  EXPECT_EQ(events[0].event["event"], "EnvironmentCreated");
  EXPECT_EQ(events[0].app, "shop");
}

// WAL with synchronous=FULL: one synchronisation of the log for each commit, before it returns. With NORMAL
// there is none until a checkpoint, and a power cut takes back what was said to be kept.
TEST_F(StoreTest, EachCommitIsOnTheDiskWhenItReturns) {
  State state;
  Store store = Store::open(folder_).value();
  commit(store, state, an_app());
  for (int round = 0; round < 20; ++round) {
    const int before = os::synced.data + os::synced.files;
    commit(store, state, {event::VariablesSet{"shop/production", {{"ROUND", std::to_string(round)}}, {}}});
    EXPECT_EQ(os::synced.data + os::synced.files, before + 1) << "round " << round;
  }
  EXPECT_EQ(asked("PRAGMA journal_mode"), "wal");
}

TEST_F(StoreTest, BytesThatAreNoTextDoNotEndTheProcess) {
  State state;
  Store store = Store::open(folder_).value();
  auto events = an_app();
  Pipeline pipeline;
  pipeline.id = 1;
  pipeline.app = "shop";
  pipeline.subject = "caf\xe9 \xff";
  events.emplace_back(event::PipelineCreated{pipeline});
  commit(store, state, std::move(events));
  EXPECT_EQ(store.load().value().pipelines.at(1).subject, "caf\uFFFD \uFFFD");
  EXPECT_TRUE(store.events_after(0, 10));
}

TEST_F(StoreTest, ReplayingTheEventsGivesTheRows) {
  State state;
  Store store = Store::open(folder_).value();
  commit(store, state, an_app());
  commit(store, state, {event::ActionDone{7}});
  EXPECT_EQ(Json(store.replay().value()), Json(store.load().value()));
}

// An app's variable that changes again and again: what is dropped is still needed to know the app.
TEST_F(StoreTest, ReplayingGivesTheRowsHoweverMuchOfTheLogWasDropped) {
  State state;
  Store store = Store::open(folder_).value();
  commit(store, state, an_app());
  for (int round = 0; round < 40; ++round) {
    commit(store, state, {event::VariablesSet{"shop/production", {{"ROUND", std::to_string(round)}}, {}}});
    ASSERT_TRUE(store.compact(5, 2));
    ASSERT_EQ(Json(store.replay().value()), Json(store.load().value())) << "after round " << round;
  }
  const auto left = store.latest_events(100).value();
  EXPECT_EQ(left.size(), 5u);
  const Store again = Store::open(folder_).value();
  EXPECT_EQ(again.last_sequence(), 46u);
}

TEST_F(StoreTest, ALogThatLacksAnEventDoesNotGiveTheRows) {
  State state;
  Store store = Store::open(folder_).value();
  commit(store, state, an_app());
  execute("DELETE FROM events WHERE sequence = 3");
  EXPECT_NE(Json(store.replay().value()), Json(store.load().value()));
}

// As a Naru of version 1 left it: no checkpoint, and the beginning of its log dropped.
TEST_F(StoreTest, AFileOfTheFirstVersionIsBroughtUpToDate) {
  State state;
  {
    Store store = Store::open(folder_).value();
    commit(store, state, an_app());
    execute(
        "DROP TABLE checkpoint; DROP TABLE checkpoint_at; DELETE FROM events WHERE sequence <= 2;"
        "PRAGMA user_version = 1");
  }
  Store store = Store::open(folder_).value();
  EXPECT_EQ(Json(store.load().value()), Json(state));
  EXPECT_EQ(Json(store.replay().value()), Json(state));
  EXPECT_EQ(store.last_sequence(), 6u);
  commit(store, state, {event::ActionDone{7}});
  EXPECT_EQ(Json(store.replay().value()), Json(store.load().value()));
  EXPECT_EQ(store.events_after(0, 10).value().size(), 5u);
}

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Where `now` lacks a value of `before`, or has another; it may have more. "/pipelines/0/1/spec is gone".
void find_lost(const Json& before, const Json& now, const std::string& at, std::vector<std::string>& lost) {
  const bool comparable = before.is_object() || (before.is_array() && before.size() == now.size());
  if (comparable && before.type() == now.type()) {
    for (const auto& [key, value] : before.items()) {
      const auto found = now.is_object() ? now.find(key) : now.begin() + std::stol(key);
      if (found == now.end())
        lost.push_back(fmt::format("{}/{} is gone", at, key));
      else
        find_lost(value, *found, fmt::format("{}/{}", at, key), lost);
    }
  } else if (before != now) {
    lost.push_back(fmt::format("{} was {} and is {}", at, before.dump(), now.dump()));
  }
}

// testdata/version1: what the first store (commit da76118) wrote when its own deciders took an application
// over three releases, one of them back, and what its rows were. The log is whole.
TEST_F(StoreTest, AFileThatTheFirstStoreWroteHasAllThatWasInIt) {
  const Json was = Json::parse(bytes_of("src/store/testdata/version1.json"));
  execute(bytes_of("src/store/testdata/version1.sql").c_str());
  const std::string key = was["key"];
  std::ofstream key_file(folder_ + "/state.key", std::ios::binary);
  for (std::size_t i = 0; i < key.size(); i += 2)
    key_file.put(static_cast<char>(std::stoi(key.substr(i, 2), nullptr, 16)));
  key_file.close();
  Store store = Store::open(folder_).value();
  EXPECT_EQ(asked("PRAGMA user_version"), "2");
  const auto loaded = store.load();
  ASSERT_TRUE(loaded) << loaded.error().message();
  State state = *loaded;
  std::vector<std::string> lost;
  find_lost(was["state"], state, "", lost);
  // A key of the compose file that did nothing, and that is refused since.
  std::erase_if(lost, [](const std::string& what) { return what.ends_with("/init is gone"); });
  EXPECT_EQ(lost, std::vector<std::string>());
  EXPECT_EQ(state.environments.at("shop/production").variables.at("PASSWORD"), "hunter2");
  EXPECT_EQ(Json(store.replay().value()), Json(state));

  const auto events = store.events_after(0, 1'000).value();
  ASSERT_EQ(events.size(), was["events"].size());
  for (std::size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i].event["event"], was["events"][i]);
    EXPECT_TRUE(event_from_json(events[i].event)) << events[i].event;
  }
  EXPECT_EQ(store.last_sequence(), events.size());
  commit(store, state, {event::VariablesSet{"shop/production", {{"LEVEL", "info"}}, {}}});
  EXPECT_EQ(store.last_sequence(), events.size() + 1);
  EXPECT_EQ(Json(Store::open(folder_).value().load().value()), Json(state));
  EXPECT_EQ(Json(store.replay().value()), Json(state));
}

TEST_F(StoreTest, NoSecretIsReadableInTheFiles) {
  State state;
  Store store = Store::open(folder_).value();
  commit(store, state, an_app());
  FailedExample example;
  example.path = "/reset/hunter2";  // some application's secret in an address
  commit(store, state,
         {event::StepStarted{5, 0, BasisPoints{500}, 0, 0},
          event::EvidenceStored{5, Json(), Json(), "", 0, {example}}});
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    EXPECT_EQ(bytes.find("hunter2"), std::string::npos) << entry.path();
    EXPECT_EQ(std::filesystem::status(entry.path()).permissions() & std::filesystem::perms::others_all,
              std::filesystem::perms::none);
  }
}

TEST_F(StoreTest, AnotherKeyIsNamedAsTheCause) {
  State state;
  {
    Store store = Store::open(folder_).value();
    commit(store, state, an_app());
  }
  std::filesystem::remove(folder_ + "/state.key");
  const auto loaded = Store::open(folder_).value().load();
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, Code::store_open);
}

TEST_F(StoreTest, RefusesGarbageAndAFileOfANewerVersion) {
  std::ofstream(folder_ + "/state.db") << std::string(8192, 'x');
  const auto garbage = Store::open(folder_);
  ASSERT_FALSE(garbage);
  EXPECT_EQ(garbage.error().code, Code::store_open);

  std::filesystem::remove(folder_ + "/state.db");
  ASSERT_TRUE(Store::open(folder_));
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open((folder_ + "/state.db").c_str(), &db), SQLITE_OK);
  sqlite3_exec(db, "PRAGMA user_version = 99", nullptr, nullptr, nullptr);
  sqlite3_close(db);
  EXPECT_FALSE(Store::open(folder_));
}

TEST_F(StoreTest, ACommitThatFailsChangesNothing) {
  State state;
  Store store = Store::open(folder_).value();
  commit(store, state, an_app());
  const Json before = store.load().value();
  sqlite3* other = nullptr;  // holds the write lock: the commit runs into its busy timeout only if unbounded
  ASSERT_EQ(sqlite3_open((folder_ + "/state.db").c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "DROP TABLE events", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(other);
  Changes changes(state, from_epoch_ms(2000));
  changes.emit(event::ActionDone{7});
  EXPECT_FALSE(store.commit(state, changes.events(), changes.touched(), changes.now()));
  EXPECT_EQ(Json(store.load().value()), before);
}

// Evidence replaces the one before it by its number, which a commit that failed gives to somebody else.
TEST_F(StoreTest, EvidenceOfACommitThatFailedTakesNobodyElsesEventAway) {
  State state;
  Store store = Store::open(folder_).value();
  commit(store, state, an_app());
  const State before = state;
  const auto evidence = [](const char* reason) {
    return event::EvidenceStored{5, Json::object(), Json::object(), reason};
  };
  execute("CREATE TRIGGER full BEFORE INSERT ON rows BEGIN SELECT RAISE(ABORT, 'full'); END");
  Changes failing(state, from_epoch_ms(2000));
  failing.emit(evidence("lost"));
  EXPECT_FALSE(store.commit(state, failing.events(), failing.touched(), failing.now()));
  state = before;
  execute("DROP TRIGGER full");

  commit(store, state, {event::ActionDone{7}});  // has the number that the evidence had
  commit(store, state, {evidence("first"), evidence("second")});
  commit(store, state, {evidence("third")});
  std::vector<std::string> reasons;
  int others = 0;
  const auto log = store.events_after(6, 10).value();
  for (const StoredEvent& stored : log) {
    if (stored.event["event"] == "EvidenceStored")
      reasons.push_back(stored.event["reason"]);
    else
      ++others;
  }
  EXPECT_EQ(others, 1);
  EXPECT_EQ(reasons, std::vector<std::string>{"third"});
  EXPECT_EQ(Json(store.replay().value()), Json(store.load().value()));
}

// The row's and the log's: of each step the examples that it ended with, though all its evidence but the last
// is dropped, and after that of the next step came.
TEST_F(StoreTest, ExamplesOfAStepAreKeptWhateverTheNextOneStores) {
  State state;
  {
    Store store = Store::open(folder_).value();
    commit(store, state, an_app());
    Rollout rollout;
    rollout.id = 30;
    rollout.app = "shop";
    rollout.environment = "production";
    commit(store, state, {event::RolloutStarted{rollout}});
    const auto evidence = [](std::uint32_t step, const char* path) {
      FailedExample one;
      one.path = path;
      return event::EvidenceStored{30, Json(), Json(), "", step, {one}};
    };
    commit(store, state, {event::StepStarted{30, 0, BasisPoints{500}, 0, 0}, evidence(0, "/hunter2")});
    commit(store, state, {event::StepPassed{30, 0, "passed"}, evidence(0, "/then")});
    commit(store, state, {event::StepStarted{30, 1, BasisPoints{5'000}, 1, 0}, evidence(1, "/once")});
    commit(store, state, {evidence(1, "/now")});
    EXPECT_EQ(Json(store.replay().value()), Json(store.load().value()));
    const auto log = store.events_after(6, 10).value();
    EXPECT_EQ(std::ranges::count_if(
                  log, [](const StoredEvent& stored) { return stored.event["event"] == "EvidenceStored"; }),
              2);
  }
  const Rollout rollout = Store::open(folder_).value().load().value().rollouts.at(30);
  EXPECT_EQ(rollout.steps.at(0).failed.at(0).path, "/then");
  EXPECT_EQ(rollout.steps.at(1).failed.at(0).path, "/now");
}

TEST_F(StoreTest, CompactingKeepsTheNewestEvents) {
  State state;
  Store store = Store::open(folder_).value();
  commit(store, state, an_app());
  ASSERT_TRUE(store.compact(1, 1000));
  const auto left = store.latest_events(10).value();
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].sequence, 6u);
}

}  // namespace
}  // namespace naru::store
