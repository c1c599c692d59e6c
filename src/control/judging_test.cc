#include "control/judging.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "model/changes.h"

namespace naru::control {
namespace {

TEST(Remark, NamesWhoLosesTheCohortAndSaysThatCallsAloneAreNotJudged) {
  EXPECT_EQ(remark_on({}, false), "");
  EXPECT_EQ(remark_on({{"web", 12, 0}}, true), "");
  EXPECT_EQ(remark_on({{"web", 12, 7}}, true),
            "; web does not carry the cohort (7 of 12 inner calls were split by connection)");
  EXPECT_EQ(remark_on({{"web", 12, 0}, {"api", 3, 0}}, false),
            "; 15 calls between services do not count: only users who come from outside are judged");
  const std::string many = remark_on({{"a", 9, 1}, {"b", 9, 2}, {"c", 9, 3}, {"d", 9, 4}, {"e", 9, 5}}, true);
  EXPECT_TRUE(many.starts_with("; e does not carry the cohort (5 of 9")) << many;
  EXPECT_TRUE(many.ends_with("; nor do 2 other services")) << many;
}

// A core whose rollout of v2 is at its first step, and the counters that the gateway would write.
class JudgingTest : public testing::Test {
 protected:
  JudgingTest() {
    std::filesystem::create_directories(folder_);
    fill();
    core_ = std::move(Core::open(folder_, clock_).value());
    core_->start();
    judging_.emplace(*core_, telemetry_, clock_);
  }
  ~JudgingTest() override {
    judging_.reset();
    core_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  void fill() {
    State state;
    Changes changes(state, clock_.wall());
    App app;
    app.name = "shop";
    changes.emit(event::AppCreated{app});
    for (const std::uint64_t version : {1, 2}) {
      Release release;
      release.id = changes.next_id();
      release.app = "shop";
      release.version = version;
      release.services.resize(1);
      release.services[0].spec.name = "web";
      release.services[0].revision = Digest::of_sha256(fmt::format("web {}", version));
      changes.emit(event::ReleaseCreated{release});
      rollout_.from = std::exchange(rollout_.to, release.id);
    }
    Environment production;
    production.app = "shop";
    production.name = "production";
    production.stable = rollout_.from;
    changes.emit(event::EnvironmentCreated{production});
    changes.emit(event::NetworkReady{
        "shop/production", {"shop.production", "br0", "10.88.0.0/23", "10.88.0.1", "10.88.2.0/23", 9}});
    rollout_.id = changes.next_id();
    rollout_.app = "shop";
    rollout_.environment = "production";
    rollout_.policy.steps[0].min_duration = 1h;
    changes.emit(event::RolloutStarted{rollout_});
    changes.emit(event::StepStarted{rollout_.id, 0, BasisPoints{500}, 0, 0});
    changes.emit(event::StepLive{rollout_.id});
    auto store = store::Store::open(folder_).value();
    ASSERT_TRUE(store.commit(state, changes.events(), changes.touched(), changes.now()));
  }
  Rollout rollout() const {
    return core_->read([&](const State& state) { return state.rollouts.at(rollout_.id); });
  }
  // What it says, once `text` is in it; what it says in the end when that does not come.
  std::string reason_with(const std::string& text) const {
    const MonoTime deadline = clock_.mono() + 20s;
    while (rollout().reason.find(text) == std::string::npos && clock_.mono() < deadline)
      std::this_thread::sleep_for(10ms);
    return rollout().reason;
  }

  SystemClock clock_;
  std::string folder_ = testing::TempDir() + "naru-judging-" + secure_random_hex(6);
  ipc::Telemetry telemetry_ = std::move(ipc::Telemetry::create().value());
  Rollout rollout_;
  std::unique_ptr<Core> core_;
  std::optional<Judging> judging_;
};

TEST_F(JudgingTest, CallsWithoutACohortAreToldWithTheVerdict) {
  // No instance runs here: the caller's slot is given as if its table had been made.
  const std::string key = "shop/production/web/" + Digest::of_sha256("web 1").short_hex();
  std::optional<std::uint32_t> slot;
  const MonoTime deadline = clock_.mono() + 20s;
  while (!slot && clock_.mono() < deadline)
    slot = core_->read([&](const State& state) -> std::optional<std::uint32_t> {
      const auto found = state.slots.find(key);
      return found == state.slots.end() ? std::nullopt : std::optional(found->second);
    });
  ASSERT_TRUE(slot);
  telemetry_.give_service(*slot, ipc::slot_owner(key));
  for (int i = 0; i < 5; ++i) telemetry_.inner_call(*slot, true);  // of an earlier rollout

  judging_->start();
  EXPECT_EQ(reason_with("0 of 50 users").find("cohort"), std::string::npos) << rollout().reason;
  telemetry_.inner_call(*slot, true);
  telemetry_.inner_call(*slot, false);
  EXPECT_NE(reason_with("cohort").find("; 2 calls between services do not count: only users who come from "
                                       "outside are judged; web does not carry the cohort (1 of 2 inner "
                                       "calls were split by connection)"),
            std::string::npos)
      << rollout().reason;
  EXPECT_EQ(rollout().verdict.value("reason", ""), rollout().reason);

  telemetry_.evidence(0, {.side = ipc::Side::canary, .bucket = 1});
  EXPECT_EQ(reason_with("1 of 50 users").find("do not count"), std::string::npos) << rollout().reason;
}

}  // namespace
}  // namespace naru::control
