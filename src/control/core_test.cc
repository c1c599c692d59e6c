#include "control/core.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace naru::control
