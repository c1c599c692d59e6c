#include "control/core.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <atomic>
#include <fstream>

#include "base/fd.h"
#include "base/rng.h"
#include "model/changes.h"

namespace naru::control {
namespace {

class CoreTest : public testing::Test {
 protected:
  CoreTest() { std::filesystem::create_directories(folder_); }
  ~CoreTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  std::unique_ptr<Core> open() { return std::move(Core::open(folder_, clock_).value()); }
  static std::string secret_of(const Core& core) {
    return core.read([](const State& state) { return state.secret; });
  }

  SystemClock clock_;
  std::string folder_ = testing::TempDir() + "naru-core-" + secure_random_hex(6);
};

TEST_F(CoreTest, ChoosesItsSecretOnceAndKeepsIt) {
  const std::string first = secret_of(*open());
  EXPECT_EQ(first.size(), 64U);
  EXPECT_EQ(secret_of(*open()), first);
}

// A folder that was written before there was a secret.
TEST_F(CoreTest, ChoosesASecretForAnOldFolderToo) {
  {
    auto store = store::Store::open(folder_).value();
    State state;
    Changes changes(state, clock_.wall());
    App app;
    app.name = "shop";
    changes.emit(event::AppCreated{app});
    ASSERT_TRUE(store.commit(state, changes.events(), changes.touched(), changes.now()));
  }
  const auto core = open();
  EXPECT_EQ(secret_of(*core).size(), 64U);
  EXPECT_TRUE(core->read([](const State& state) { return state.apps.contains("shop"); }));
}

// Who wants to free it needs control.
TEST_F(CoreTest, StartsOnAFullDisk) {
  if (::mount("naru-core", folder_.c_str(), "tmpfs", 0, "size=2m") != 0)
    GTEST_SKIP() << "needs the right to mount";
  const std::unique_ptr<std::string, void (*)(std::string*)> mounted(
      &folder_, [](std::string* folder) { ::umount2(folder->c_str(), MNT_DETACH); });
  const std::string secret = secret_of(*open());
  {
    auto keeps_the_log_open = store::Store::open(folder_).value();
    const Fd filler(::open((folder_ + "/filler").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    const std::string block(4096, 'x');
    while (::write(filler.get(), block.data(), block.size()) > 0) {
    }
    auto core = Core::open(folder_, clock_);
    ASSERT_TRUE(core) << core.error().message();
    EXPECT_EQ(secret_of(**core), secret);
    (*core)->start();
    EXPECT_EQ((*core)->submit(command::CreateApp{"shop"}).error().code, Code::disk_full);
    ASSERT_EQ(::truncate((folder_ + "/filler").c_str(), 0), 0);
    EXPECT_TRUE((*core)->submit(command::CreateApp{"shop"}));
  }
}

// A disk that takes seconds for a commit: here somebody else holds the database.
TEST_F(CoreTest, WhoReadsDoesNotWaitForACommit) {
  const auto core = open();
  core->start();
  const std::string go = folder_ + "/go";
  std::thread holder([&] {
    const std::string script = fmt::format(
        "import os,sqlite3,time\n"
        "c=sqlite3.connect('{0}/state.db',isolation_level=None)\n"
        "c.execute('BEGIN IMMEDIATE')\n"
        "open('{0}/held','w').close()\n"
        "while not os.path.exists('{0}/go'): time.sleep(0.01)\n",
        folder_);
    EXPECT_EQ(std::system(fmt::format("timeout 30 python3 -c \"{}\"", script).c_str()), 0);
  });
  while (!std::filesystem::exists(folder_ + "/held")) std::this_thread::yield();
  std::atomic<bool> committed = false;
  std::thread writer([&] {
    EXPECT_TRUE(core->submit(command::CreateApp{"shop"}));
    committed = true;
  });
  const auto has_app = [&] {
    return core->read([](const State& state) { return state.apps.contains("shop"); });
  };
  const auto began = std::chrono::steady_clock::now();
  auto longest = 0ns;
  while (std::chrono::steady_clock::now() - began < 300ms) {
    const auto asked = std::chrono::steady_clock::now();
    EXPECT_FALSE(has_app()) << "it is not committed yet";
    longest = std::max(longest, std::chrono::steady_clock::now() - asked);
    std::this_thread::yield();
  }
  EXPECT_FALSE(committed);
  EXPECT_LT(longest, 1s);
  std::ofstream(go).put('\n');
  writer.join();
  holder.join();
  EXPECT_TRUE(has_app());
  core->stop();
  EXPECT_TRUE(open()->read([](const State& state) { return state.apps.contains("shop"); }));
}

// What readers see is made of the same events a second time.
TEST_F(CoreTest, WhatReadersSeeIsWhatTheStoreHas) {
  auto core = open();
  core->start();
  EXPECT_TRUE(core->submit(command::CreateApp{"shop"}));
  EXPECT_TRUE(core->submit(command::CreateApp{"blog"}));
  EXPECT_FALSE(core->submit(command::CreateApp{"shop"}));
  EXPECT_TRUE(core->submit(command::RemoveApp{"blog"}));
  core->stop();
  const Json shown = core->read([](const State& state) { return Json(state.apps); });
  const auto next = core->read([](const State& state) { return state.counters.next_id; });
  core.reset();
  auto store = store::Store::open(folder_).value();
  const State stored = store.load().value();
  EXPECT_EQ(Json(stored.apps), shown);
  EXPECT_EQ(stored.counters.next_id, next);
}

}  // namespace
}  // namespace naru::control
