#include "ipc/telemetry.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmath>
#include <thread>

#include "base/rng.h"

namespace naru::ipc {
namespace {

TEST(Histogram, MiddleOfABucketIsWithinTwoPercentOfEveryValueInIt) {
  for (std::uint64_t us = 0; us < 0xffff'ffffULL; us += 1 + us / 97) {
    const std::uint32_t bucket = histogram_bucket(us);
    ASSERT_LT(bucket, kHistogramBuckets) << us;
    const double error = std::abs(static_cast<double>(histogram_value(bucket)) - static_cast<double>(us));
    ASSERT_LE(error, 0.02 * static_cast<double>(us)) << us;
  }
  EXPECT_EQ(histogram_bucket(0xffff'ffffULL), kHistogramBuckets - 1);
  EXPECT_EQ(histogram_bucket(~0ULL), kHistogramBuckets - 1);
}

TEST(Histogram, BucketsRiseWithTheValue) {
  std::uint32_t last = 0;
  for (std::uint64_t us = 0; us < 1'000'000; ++us) {
    const std::uint32_t bucket = histogram_bucket(us);
    ASSERT_GE(bucket, last);
    ASSERT_LE(bucket, last + 1);
    last = bucket;
  }
}

TEST(Telemetry, CountsBySlotAndIgnoresSlotsThatDoNotExist) {
  Telemetry gateway = *Telemetry::create();
  gateway.count(3, Outcome::status_2xx, false);
  gateway.count(3, Outcome::status_5xx, false);
  gateway.count(3, Outcome::connect_failure, false);
  gateway.latency(3, 1000, false);
  gateway.bytes(3, 10, 20);
  gateway.inner_call(3, true);
  gateway.inner_call(3, false);
  gateway.connection(3);
  for (const std::uint32_t wrong : {kServiceSlots, kNoSlot}) {
    gateway.count(wrong, Outcome::status_2xx, false);
    gateway.latency(wrong, 1, true);
    gateway.evidence({wrong, 1}, {});
    gateway.failed({wrong, 1}, {});
    gateway.give_service(wrong, 1);
    EXPECT_EQ(gateway.service(wrong).requests(), 0U);
    EXPECT_EQ(gateway.evidence_of({wrong, 1}).stable.requests, 0U);
  }
  const Telemetry control = *Telemetry::open(gateway.fd());
  const ServiceCounters counters = control.service(3);
  EXPECT_EQ(counters.requests(), 3U);
  EXPECT_EQ(counters.failures(), 2U);
  EXPECT_EQ(counters.bytes_in, 10U);
  EXPECT_EQ(counters.bytes_out, 20U);
  EXPECT_EQ(counters.connections, 1U);
  EXPECT_EQ(counters.inner_calls, 2U);
  EXPECT_EQ(counters.inner_without_cohort, 1U);
  EXPECT_NEAR(static_cast<double>(counters.latency.quantile_us(0.5)), 1000, 20);
  EXPECT_EQ(control.service(4).requests(), 0U);
}

TEST(Telemetry, KeepsTheLatencyOfUsersApartFromThatOfCallsBetweenServices) {
  Telemetry telemetry = *Telemetry::create();
  telemetry.give_service(2, 77);
  for (int i = 0; i < 10; ++i) telemetry.latency(2, 100, false);
  telemetry.latency(2, 9000, true);
  EXPECT_EQ(telemetry.service(2, 77).latency.total(), 11U);
  EXPECT_EQ(telemetry.edge_latency(2, 77).total(), 1U);
  EXPECT_NEAR(static_cast<double>(telemetry.edge_latency(2, 77).quantile_us(0.5)), 9000, 180);
  EXPECT_EQ(telemetry.edge_latency(2, 78).total(), 0U) << "another's";
  EXPECT_EQ(telemetry.edge_latency(kNoSlot, 77).total(), 0U);
}

TEST(Telemetry, CountsTheRequestsOfUsersApartFromCallsBetweenServices) {
  Telemetry telemetry = *Telemetry::create();
  telemetry.count(1, Outcome::status_2xx, true);
  telemetry.count(1, Outcome::status_5xx, true);
  telemetry.count(1, Outcome::incomplete, true);  // of an answer that was counted when it began
  for (int i = 0; i < 5; ++i) telemetry.count(1, Outcome::connect_failure, false);
  const ServiceCounters counters = telemetry.service(1);
  EXPECT_EQ(counters.requests(), 7U);
  EXPECT_EQ(counters.failures(), 7U);
  EXPECT_EQ(counters.user_requests, 2U);
  EXPECT_EQ(counters.user_failures, 2U);
}

TEST(Telemetry, DifferenceOfHistogramsIsWhatHappenedBetween) {
  Telemetry telemetry = *Telemetry::create();
  telemetry.latency(0, 50, false);
  const Histogram before = telemetry.service(0).latency;
  for (int i = 0; i < 10; ++i) telemetry.latency(0, 7000, false);
  const Histogram since = telemetry.service(0).latency.since(before);
  EXPECT_EQ(since.total(), 10U);
  EXPECT_NEAR(static_cast<double>(since.quantile_us(0)), 7000, 140);
  EXPECT_EQ(Histogram{}.quantile_us(0.99), 0U);
}

TEST(Telemetry, AUserCountsOnceHoweverOftenItFails) {
  Telemetry telemetry = *Telemetry::create();
  const StepEvidence step = evidence_of_step(1, 20, 0);
  telemetry.give_evidence(step);
  for (int i = 0; i < 20; ++i)
    telemetry.evidence(step, {.side = Side::canary, .bucket = 77, .bad = true, .slow = i % 2 == 0});
  telemetry.evidence(step, {.side = Side::canary, .bucket = 78});
  telemetry.evidence(step, {.side = Side::stable, .bucket = 77});
  const EvidenceCounters counters = telemetry.evidence_of(step);
  EXPECT_EQ(counters.canary.users_seen, 2U);
  EXPECT_EQ(counters.canary.users_bad, 1U);
  EXPECT_EQ(counters.canary.users_slow, 1U);
  EXPECT_EQ(counters.canary.requests, 21U);
  EXPECT_EQ(counters.canary.failed_requests, 20U);
  EXPECT_EQ(counters.stable.users_seen, 1U);
  EXPECT_EQ(counters.stable.users_bad, 0U);
  telemetry.give_evidence(step);
  EXPECT_EQ(telemetry.evidence_of(step).canary.users_seen, 2U) << "given again it goes on counting";
  const StepEvidence next = evidence_of_step(1, 20, 1);
  telemetry.give_evidence(next);
  EXPECT_EQ(telemetry.evidence_of(next).canary.users_seen, 0U);
  telemetry.evidence(next, {.side = Side::canary, .bucket = 77});
  EXPECT_EQ(telemetry.evidence_of(next).canary.users_seen, 1U) << "it has forgotten the other step's users";
}

TEST(Telemetry, WhoGivesUpIsBadOnlyWhenNothingWasHeardOfHimBefore) {
  Telemetry telemetry = *Telemetry::create();
  const StepEvidence of = evidence_of_step(1, 20, 0);
  telemetry.give_evidence(of);
  const auto gives_up = [&](std::uint32_t user) {
    return telemetry.evidence(of, {.side = Side::canary, .bucket = user, .slow = true, .unanswered = true});
  };
  EXPECT_FALSE(telemetry.evidence(of, {.side = Side::canary, .bucket = 5}));
  EXPECT_FALSE(gives_up(5)) << "he was answered";
  EXPECT_TRUE(gives_up(6));
  EXPECT_FALSE(gives_up(6)) << "counted once";
  const EvidenceCounters counters = telemetry.evidence_of(of);
  EXPECT_EQ(counters.canary.users_seen, 2U);
  EXPECT_EQ(counters.canary.users_bad, 1U);
  EXPECT_EQ(counters.canary.users_slow, 2U);
  EXPECT_EQ(counters.canary.requests, 4U);
  EXPECT_EQ(counters.canary.failed_requests, 1U);
  telemetry.count(1, Outcome::given_up, true);
  EXPECT_EQ(telemetry.service(1).requests(), 1U);
  EXPECT_EQ(telemetry.service(1).user_requests, 1U);
  EXPECT_EQ(telemetry.service(1).failures() + telemetry.service(1).user_failures, 0U)
      << "people leave for reasons of their own, too";
}

TEST(Telemetry, KeepsTheLastFailedRequestsOldestFirst) {
  Telemetry telemetry = *Telemetry::create();
  const StepEvidence step = evidence_of_step(2, 20, 0);
  telemetry.give_evidence(step);
  for (unsigned i = 0; i < kFailedRequests + 5; ++i)
    telemetry.failed(step, {.side = Side::canary,
                            .status = 503,
                            .outcome = Outcome::status_5xx,
                            .method = "GET",
                            .path = "/" + std::string(i, 'x') + std::string(300, 'y'),
                            .service = "web",
                            .trace_id = std::string(32, 'a'),
                            .duration_us = i,
                            .time = from_epoch_ms(5)});
  const auto failed = telemetry.evidence_of(step).failed;
  ASSERT_EQ(failed.size(), kFailedRequests);
  EXPECT_EQ(failed.front().duration_us, 5U);
  EXPECT_EQ(failed.back().duration_us, kFailedRequests + 4);
  EXPECT_EQ(failed.back().path.size(), kFailedPathBytes);
  EXPECT_EQ(failed.back().method, "GET");
  EXPECT_EQ(failed.back().trace_id, std::string(32, 'a'));
  EXPECT_EQ(failed.back().side, Side::canary);
  EXPECT_EQ(failed.back().status, 503);
}

// A request that began in a step and ends when its slot is another rollout's, of another application.
TEST(Telemetry, AStepSeesNothingOfTheOneThatHadItsSlot) {
  Telemetry telemetry = *Telemetry::create();
  const StepEvidence shop = evidence_of_step(3, 20, 1), other = evidence_of_step(3, 21, 1);
  telemetry.evidence(shop, {.side = Side::canary, .bucket = 1, .bad = true});
  EXPECT_EQ(telemetry.evidence_of(shop).canary.users_seen, 0U) << "it has none yet";
  telemetry.give_evidence(shop);
  telemetry.evidence(shop, {.side = Side::canary, .bucket = 1, .bad = true});
  telemetry.failed(shop, {.method = "GET", .path = "/of-the-shop"});
  EXPECT_EQ(telemetry.evidence_of(shop).failed.size(), 1U);
  EXPECT_EQ(telemetry.evidence_of(other).failed.size(), 0U) << "it is not yet its own";

  telemetry.give_evidence(other);
  telemetry.evidence(shop, {.side = Side::canary, .bucket = 2, .bad = true});
  telemetry.failed(shop, {.method = "GET", .path = "/of-the-shop"});
  EXPECT_EQ(telemetry.evidence_of(other).canary.users_seen, 0U);
  EXPECT_TRUE(telemetry.evidence_of(other).failed.empty());
  telemetry.failed(other, {.method = "GET", .path = "/of-the-other"});
  EXPECT_TRUE(telemetry.evidence_of(shop).failed.empty()) << "nor the first one of the second";
  ASSERT_EQ(telemetry.evidence_of(other).failed.size(), 1U);
  EXPECT_EQ(telemetry.evidence_of(other).failed[0].path, "/of-the-other");
  EXPECT_TRUE(telemetry.evidence_of({}).failed.empty());
}

TEST(Telemetry, AKilledGatewayLeavesNoPhantomRequests) {
  Telemetry telemetry = *Telemetry::create();
  const std::uint32_t first = telemetry.begin_generation();
  telemetry.active(0, first, 1);
  telemetry.active(0, first, 1);
  EXPECT_EQ(telemetry.service(0).active, 2U);
  const std::uint32_t second = telemetry.begin_generation();
  EXPECT_EQ(telemetry.service(0).active, 0U);
  telemetry.active(0, second, 1);
  telemetry.active(0, first, -1);  // the old process still drains
  EXPECT_EQ(telemetry.service(0).active, 1U);
  telemetry.active(0, second, -1);
  telemetry.active(0, second, -1);
  EXPECT_EQ(telemetry.service(0).active, 0U);
}

TEST(Telemetry, NobodyReadsWhatASlotCountedForItsLastOwner) {
  Telemetry telemetry = *Telemetry::create();
  const std::uint64_t one = slot_owner("shop/production/web/1111"),
                      two = slot_owner("shop/production/web/2222");
  EXPECT_NE(one, two);
  telemetry.give_service(5, one);
  telemetry.count(5, Outcome::status_5xx, false);
  EXPECT_EQ(telemetry.service(5, one).requests(), 1U);
  EXPECT_EQ(telemetry.service(5, two).requests(), 0U) << "it is not yet its own";
  telemetry.give_service(5, one);
  EXPECT_EQ(telemetry.service(5, one).requests(), 1U) << "given again it goes on counting";
  telemetry.give_service(5, two);
  EXPECT_EQ(telemetry.service(5, two).requests(), 0U) << "the new owner starts at zero";
  EXPECT_EQ(telemetry.service(5, one).requests(), 0U);
  EXPECT_EQ(telemetry.service(kNoSlot, two).requests(), 0U);
}

TEST(Telemetry, CountsOfAKilledWriterStay) {
  Telemetry telemetry = *Telemetry::create();
  const pid_t child = fork();
  if (child == 0) {
    auto mine = Telemetry::open(telemetry.fd());
    if (mine) mine->count(9, Outcome::status_2xx, false);
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(telemetry.service(9).requests(), 1U);
}

TEST(Telemetry, WritersOnManyThreadsLoseNothing) {
  Telemetry telemetry = *Telemetry::create();
  const StepEvidence step = evidence_of_step(0, 20, 0);
  telemetry.give_evidence(step);
  constexpr int kThreads = 4, kEach = 20'000;
  std::vector<std::jthread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&telemetry, step] {
      Rng rng(42);  // the same users on every thread
      for (int i = 0; i < kEach; ++i) {
        telemetry.count(0, Outcome::status_2xx, false);
        telemetry.evidence(
            step,
            {.side = Side::stable, .bucket = static_cast<std::uint32_t>(rng.below(1000)), .bad = i % 3 == 0});
        if (i % 100 == 0) telemetry.failed(step, {.method = "GET", .path = "/"});
      }
    });
  for (int i = 0; i < 100; ++i) {
    const EvidenceCounters now = telemetry.evidence_of(step);
    EXPECT_LE(now.stable.users_bad, now.stable.users_seen);
    for (const FailedRequest& request : now.failed) EXPECT_EQ(request.method, "GET");
  }
  threads.clear();
  EXPECT_EQ(telemetry.service(0).requests(), static_cast<std::uint64_t>(kThreads) * kEach);
  EXPECT_EQ(telemetry.evidence_of(step).stable.users_seen, 1000U);
  EXPECT_EQ(telemetry.evidence_of(step).stable.requests, static_cast<std::uint64_t>(kThreads) * kEach);
}

TEST(Telemetry, RefusesMemoryThatIsNotItsOwn) {
  EXPECT_FALSE(Telemetry::open(-1));
  Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  EXPECT_FALSE(Telemetry::open(null.get()));
  Telemetry good = *Telemetry::create();
  struct stat status{};
  ASSERT_EQ(fstat(good.fd(), &status), 0);
  Fd unsealed(memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(unsealed.get(), status.st_size), 0);
  EXPECT_EQ(Telemetry::open(unsealed.get()).error().code, Code::malformed);
  ASSERT_EQ(fcntl(unsealed.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
  EXPECT_EQ(Telemetry::open(unsealed.get()).error().code, Code::malformed) << "no magic";
  EXPECT_NE(ftruncate(good.fd(), 0), 0) << "sealed";
}

}  // namespace
}  // namespace naru::ipc
