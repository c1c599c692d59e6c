#include "control/judging.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "control/views.h"
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
  explicit JudgingTest(bool stepping = true, milliseconds ago = 0ms) {
    std::filesystem::create_directories(folder_);
    fill(stepping, clock_.wall() - ago);
    core_ = std::move(Core::open(folder_, clock_).value());
    core_->start();
    judging_.emplace(*core_, telemetry_, clock_);
    step_ = ipc::evidence_of_step(0, rollout_.id, 0);
    telemetry_.give_evidence(step_);
  }
  ~JudgingTest() override {
    judging_.reset();
    core_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  void fill(bool stepping, WallTime begun) {
    State state;
    Changes changes(state, begun);
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
      release.services[0].spec.replicas = 2;
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
    rollout_.policy.warm_up = kWarmUp;
    rollout_.created = rollout_.phase_since = begun;
    changes.emit(event::RolloutStarted{rollout_});
    if (stepping) {
      changes.emit(event::StepStarted{rollout_.id, 0, BasisPoints{500}, 0, 0});
      changes.emit(event::StepLive{rollout_.id});
    }
    auto store = store::Store::open(folder_).value();
    ASSERT_TRUE(store.commit(state, changes.events(), changes.touched(), changes.now()));
  }
  // More of it, as control's predecessor left it; the core is another one then.
  template <class F>
  void begin_with(F more) {
    judging_.reset();
    core_.reset();
    {
      auto store = store::Store::open(folder_).value();
      State state = store.load().value();
      Changes changes(state, clock_.wall());
      more(changes);
      ASSERT_TRUE(store.commit(state, changes.events(), changes.touched(), changes.now()));
    }
    reopen();
  }
  void reopen() {
    core_ = std::move(Core::open(folder_, clock_).value());
    core_->start();
    judging_.emplace(*core_, telemetry_, clock_);
  }
  // No instance need run for it: the slot of `web` of a version, given to it as if its table had been made.
  std::uint32_t slot_of(int version) {
    const std::string key =
        "shop/production/web/" + Digest::of_sha256(fmt::format("web {}", version)).short_hex();
    const MonoTime deadline = clock_.mono() + 20s;
    while (clock_.mono() < deadline) {
      const auto slot = core_->read([&](const State& state) -> std::optional<std::uint32_t> {
        const auto found = state.slots.find(key);
        return found == state.slots.end() ? std::nullopt : std::optional(found->second);
      });
      if (slot) {
        telemetry_.give_service(*slot, ipc::slot_owner(key));
        return *slot;
      }
    }
    ADD_FAILURE() << "no slot for " << key;
    return ipc::kNoSlot;
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

  Json failed_requests() const {
    return core_->read([&](const State& state) {
      return rollout_view(state, state.rollouts.at(rollout_.id), {}).at("failed_requests");
    });
  }
  // Waits for the judge to have stored what it knows once more.
  void look_again() const {
    const Json before = rollout().judge;
    const MonoTime deadline = clock_.mono() + 20s;
    while (rollout().judge == before && clock_.mono() < deadline) std::this_thread::sleep_for(10ms);
  }

  void user(std::uint32_t bucket, bool bad, bool slow) {
    telemetry_.evidence(step_, {.side = ipc::Side::canary, .bucket = bucket, .bad = bad, .slow = slow});
  }
  // What the judge has been shown of the canary's users, once it has seen so many.
  Json shown(std::uint64_t users) const {
    const std::string said = fmt::format("{} of 50 users", users);
    EXPECT_NE(reason_with(said).find(said), std::string::npos) << rollout().reason;
    return rollout().judge.at("last").at("canary");
  }

  static constexpr milliseconds kWarmUp = 1h;
  SystemClock clock_;
  std::string folder_ = testing::TempDir() + "naru-judging-" + secure_random_hex(6);
  ipc::Telemetry telemetry_ = std::move(ipc::Telemetry::create().value());
  Rollout rollout_;
  ipc::StepEvidence step_;  // of the rollout
  std::unique_ptr<Core> core_;
  std::optional<Judging> judging_;
};

TEST_F(JudgingTest, CallsWithoutACohortAreToldWithTheVerdict) {
  const std::uint32_t slot = slot_of(1);
  for (int i = 0; i < 5; ++i) telemetry_.inner_call(slot, true);  // of an earlier rollout

  judging_->start();
  EXPECT_EQ(reason_with("0 of 50 users").find("cohort"), std::string::npos) << rollout().reason;
  telemetry_.inner_call(slot, true);
  telemetry_.inner_call(slot, false);
  EXPECT_NE(reason_with("cohort").find("; 2 calls between services do not count: only users who come from "
                                       "outside are judged; web does not carry the cohort (1 of 2 inner "
                                       "calls were split by connection)"),
            std::string::npos)
      << rollout().reason;
  EXPECT_EQ(rollout().verdict.value("reason", ""), rollout().reason);

  telemetry_.evidence(step_, {.side = ipc::Side::canary, .bucket = 1});
  EXPECT_EQ(reason_with("1 of 50 users").find("do not count"), std::string::npos) << rollout().reason;
}

// Two instances of v2: one never became ready and was tried again and again, the other ended once afterwards.
TEST_F(JudgingTest, OnlyCrashesOfInstancesThatHadBeenReadyAreEvidence) {
  begin_with([&](Changes& changes) {
    for (const int replica : {0, 1}) {
      Instance instance;
      instance.id = fmt::format("shop-web-{}", 90 + replica);
      instance.app = "shop";
      instance.environment = "production";
      instance.service = "web";
      instance.revision = Digest::of_sha256("web 2");
      instance.release = rollout_.to;
      instance.replica = static_cast<std::uint32_t>(replica);
      instance.created = changes.now() - 1h;
      changes.emit(event::InstanceCreated{instance});
      for (std::uint32_t attempt = 2; attempt < 6; ++attempt) {
        changes.emit(event::InstanceExited{instance.id, 3, false, "exited with 3", InstancePhase::waiting,
                                           changes.now() + 1h});
        changes.emit(event::InstanceStarting{instance.id, attempt});
      }
      changes.emit(event::InstanceStarted{instance.id, "10.88.0.7", 77});
      if (replica == 1) changes.emit(event::InstanceReady{instance.id});
      changes.emit(event::InstanceExited{instance.id, 3, false, "exited with 3", InstancePhase::waiting,
                                         changes.now() + 1h});
    }
  });
  judging_->start();
  (void)reason_with("0 of 50 users");
  const Json seen = rollout().judge.at("last").at("canary_crashes");
  EXPECT_EQ(seen.at("crashes"), 1) << seen.dump();
  EXPECT_LT(seen.at("instance_seconds"), 60.0) << "the hour before it was ready does not count";
}

TEST_F(JudgingTest, WhoIsSlowWhileTheCanaryWarmsUpIsNoEvidenceAndWhoMeetsErrorsIs) {
  user(1, false, true);
  user(2, true, true);
  judging_->start();
  const Json seen = shown(2);
  EXPECT_EQ(seen.at("users_slow"), 0) << seen;
  EXPECT_EQ(seen.at("users_bad"), 1) << seen;
}

// Its users have met it for longer than it warms up.
class WarmTest : public JudgingTest {
 protected:
  WarmTest() : JudgingTest(true, 2 * kWarmUp) {}

  // Instances of v2 that run become ready.
  void be_ready() {
    struct Known {
      std::string id;
      std::uint32_t attempt = 0;
      ActionId action = 0;
    };
    const auto all = core_->read([](const State& state) {
      std::vector<Known> found;
      for (const auto& [id, instance] : state.instances) {
        if (instance.revision != Digest::of_sha256("web 2")) continue;
        found.push_back({id, instance.attempt, 0});
        for (const auto& [action, row] : state.outbox)
          if (row.kind == ActionKind::start_instance && row.subject == id) found.back().action = action;
      }
      return found;
    });
    ASSERT_EQ(all.size(), 2U);
    for (const Known& instance : all) {
      ASSERT_TRUE(core_->submit(
          command::InstanceStarted{instance.action, instance.id, instance.attempt, "10.88.0.9", 42}));
      ASSERT_TRUE(core_->submit(command::Probed{instance.id, instance.attempt, true, ""}));
    }
  }
};

TEST_F(WarmTest, AContainerThatIsReadyForTheFirstTimeIsColdAgain) {
  user(1, false, true);
  judging_->start();
  EXPECT_EQ(shown(1).at("users_slow"), 1);
  be_ready();
  user(2, false, true);
  user(3, true, false);
  const Json seen = shown(3);
  EXPECT_EQ(seen.at("users_slow"), 1) << "as before: " << seen;
  EXPECT_EQ(seen.at("users_bad"), 1) << seen;
}

// A pause of the canary's instance: everybody who waits is slow at once. It must not be forty witnesses.
TEST_F(WarmTest, ThoseWhoBecomeSlowTogetherAreOne) {
  for (std::uint32_t bucket = 0; bucket < 40; ++bucket) user(bucket, false, true);
  judging_->start();
  EXPECT_EQ(shown(40).at("users_slow"), 1);
  std::this_thread::sleep_for(judge::SlowLot::kTogether);
  user(90, false, true);
  EXPECT_EQ(shown(41).at("users_slow"), 2) << "later, and slow again";
}

// Control has died, and with the machine went the counters, too.
TEST_F(JudgingTest, EvidenceGoesOnWhereItWasStored) {
  for (const std::uint32_t bucket : {1, 2, 3})
    telemetry_.evidence(step_, {.side = ipc::Side::canary, .bucket = bucket});
  judging_->start();
  EXPECT_NE(reason_with("3 of 50 users").find("3 of 50 users"), std::string::npos) << rollout().reason;
  judging_.reset();
  core_.reset();
  telemetry_ = std::move(ipc::Telemetry::create().value());
  telemetry_.give_evidence(step_);
  reopen();
  telemetry_.evidence(step_, {.side = ipc::Side::canary, .bucket = 9});
  judging_->start();
  EXPECT_NE(reason_with("4 of 50 users").find("4 of 50 users"), std::string::npos) << rollout().reason;
}

// It was stopped between the start of a step and its first evidence: its instances are new ones, which have
// not crashed.
TEST_F(JudgingTest, CrashesOfTheStepBeforeCountOnWhenTheInstancesAreNew) {
  judge::State state;
  judge::Observation before;
  before.canary_crashes = {2, 7'200.0};
  before.stable_crashes = {1, 9'000.0};
  before.since_canary = 5s;
  ASSERT_TRUE(judge::step(rollout_.policy, state, before, "shop"));
  begin_with([&](Changes& changes) {
    changes.emit(event::EvidenceStored{rollout_.id, Json(state), Json(), ""});
    changes.emit(event::StepPassed{rollout_.id, 0, "passed"});
    changes.emit(event::StepStarted{rollout_.id, 1, BasisPoints{2'500}, 0, 0});
    changes.emit(event::StepLive{rollout_.id});
  });
  judging_->start();
  const MonoTime deadline = clock_.mono() + 20s;
  while (rollout().judge.at("step") != 1 && clock_.mono() < deadline) std::this_thread::sleep_for(10ms);
  const Json seen = rollout().judge;
  EXPECT_EQ(seen.at("step"), 1) << seen;
  EXPECT_EQ(seen.at("last").at("canary_crashes").at("crashes"), 2) << seen;
}

TEST_F(JudgingTest, EvidenceThatCannotBeReadIsNotBegunAnew) {
  begin_with([&](Changes& changes) {
    changes.emit(event::EvidenceStored{rollout_.id, Json{{"version", "one"}}, Json(), ""});
  });
  judging_->start();
  EXPECT_NE(reason_with("nothing is judged any more").find("`naru abort shop` takes it back"),
            std::string::npos)
      << rollout().reason;
  EXPECT_EQ(rollout().judge, (Json{{"version", "one"}}));
}

// Slots are shared by all applications, and there are but sixteen.
TEST_F(JudgingTest, WhatFailedStaysWithTheStepWhenAnotherApplicationHasItsSlotAndAfterARestart) {
  user(1, true, false);
  telemetry_.failed(
      step_,
      {.side = ipc::Side::canary, .status = 500, .method = "GET", .path = "/mine\xff", .service = "web"});
  judging_->start();
  (void)reason_with("1 of 50 users");
  ASSERT_EQ(failed_requests().size(), 1U);
  EXPECT_EQ(failed_requests()[0].at("path"), "/mine?");
  EXPECT_EQ(failed_requests()[0].at("side"), "canary");
  EXPECT_EQ(failed_requests()[0].at("outcome"), "5xx");
  EXPECT_EQ(failed_requests()[0].at("step"), 0);
  const Json before = failed_requests();

  const auto others = ipc::evidence_of_step(0, rollout_.id + 1, 0);
  telemetry_.give_evidence(others);
  telemetry_.failed(others, {.side = ipc::Side::canary, .method = "GET", .path = "/theirs"});
  look_again();
  EXPECT_EQ(failed_requests(), before);

  judging_.reset();
  core_.reset();
  telemetry_ = std::move(ipc::Telemetry::create().value());
  reopen();
  EXPECT_EQ(failed_requests(), before) << "control has died, and with the machine went the counters";
  telemetry_.give_evidence(step_);
  judging_->start();
  look_again();
  EXPECT_EQ(failed_requests(), before);
  telemetry_.failed(step_, {.side = ipc::Side::canary, .method = "GET", .path = "/later"});
  look_again();
  EXPECT_EQ(failed_requests().size(), 2U);
}

TEST_F(JudgingTest, SomeExamplesAreKeptHoweverManyRequestsFail) {
  for (std::uint64_t i = 0; i < ipc::kFailedRequests; ++i)
    telemetry_.failed(step_, {.side = i % 2 == 0 ? ipc::Side::stable : ipc::Side::canary,
                              .method = "GET",
                              .path = "/" + std::string(300, 'y'),
                              .duration_us = i,
                              .time = from_epoch_ms(static_cast<std::int64_t>(i))});
  user(1, true, false);
  judging_->start();
  (void)reason_with("1 of 50 users");
  const auto kept = rollout().steps.at(0).failed;
  ASSERT_EQ(kept.size(), kMaxExamples);
  for (const FailedExample& one : kept) {
    EXPECT_EQ(one.side, "canary");
    EXPECT_EQ(one.path.size(), ipc::kFailedPathBytes);
  }
  EXPECT_EQ(kept.back().duration_us, ipc::kFailedRequests - 1) << "the newest";
}

// What the judge's state says is of no use; a person decides, by what fails now.
TEST_F(JudgingTest, ExamplesAreKeptAlsoOfWhatIsNotJudgedAnyMore) {
  begin_with([&](Changes& changes) {
    changes.emit(event::EvidenceStored{rollout_.id, Json{{"version", "one"}}, Json(), ""});
  });
  judging_->start();
  (void)reason_with("nothing is judged any more");
  telemetry_.failed(step_, {.side = ipc::Side::canary, .method = "GET", .path = "/mine"});
  const MonoTime deadline = clock_.mono() + 20s;
  while (failed_requests().empty() && clock_.mono() < deadline) std::this_thread::sleep_for(10ms);
  EXPECT_EQ(failed_requests().size(), 1U);
}

TEST_F(JudgingTest, AVerdictOnErrorsSaysInWhichServiceTheyStart) {
  const std::uint32_t stable = slot_of(1), canary = slot_of(2);
  for (int i = 0; i < 9; ++i)
    telemetry_.count(canary, ipc::Outcome::status_5xx, false);  // of an earlier step
  judging_->start();
  (void)reason_with("0 of 50 users");
  for (int i = 0; i < 20; ++i) telemetry_.count(stable, ipc::Outcome::status_2xx, false);
  for (int i = 0; i < 12; ++i) telemetry_.count(canary, ipc::Outcome::status_5xx, false);
  for (std::uint32_t bucket = 1; bucket <= 12; ++bucket) user(bucket, true, false);
  const std::string start =
      "; errors start in web: 12 of its 12 inner requests on the canary failed, 0 of 20 on stable";
  EXPECT_NE(reason_with("errors start").find(start), std::string::npos) << rollout().reason;
  EXPECT_EQ(rollout().phase, RolloutPhase::rolling_back);
  EXPECT_NE(rollout().verdict.value("reason", "").find(start), std::string::npos) << rollout().verdict;
}

// What users call slow is fixed while the new release is prepared, of the requests of users. The service has
// no host port: they come by its name.
class PreparingTest : public JudgingTest {
 protected:
  PreparingTest() : JudgingTest(false) {}
};

TEST_F(PreparingTest, LatencyIsJudgedWithoutAHostPort) {
  const std::uint32_t slot = slot_of(1);
  for (int i = 0; i < 1'000; ++i) telemetry_.latency(slot, 100, false);  // of other services
  for (int i = 0; i < 300; ++i) telemetry_.latency(slot, 20'000, true);
  judging_->start();
  const MonoTime deadline = clock_.mono() + 20s;
  while (rollout().slow_us <= 0 && clock_.mono() < deadline) std::this_thread::sleep_for(10ms);
  EXPECT_GE(rollout().slow_us, 40'000) << rollout().reason;
  EXPECT_LE(rollout().slow_us, 41'500);
}

}  // namespace
}  // namespace naru::control
