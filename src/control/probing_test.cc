#include "control/probing.h"

#include <gtest/gtest.h>

namespace naru::control {
namespace {

TEST(Probing, AsksWhatHasJustStartedOftenAndThenEverMoreSlowly) {
  EXPECT_EQ(Probing::pause_after(1, 5ms, 250ms), 5ms);
  EXPECT_EQ(Probing::pause_after(2, 5ms, 250ms), 10ms);
  EXPECT_EQ(Probing::pause_after(6, 5ms, 250ms), 160ms);
  EXPECT_EQ(Probing::pause_after(7, 5ms, 250ms), 250ms);
}

TEST(Probing, NeverWaitsLongerThanTheIntervalHoweverOftenItFailed) {
  EXPECT_EQ(Probing::pause_after(4'000'000'000, 50ms, 1s), 1s);
  EXPECT_EQ(Probing::pause_after(0, 50ms, 1s), 50ms);
}

TEST(Probing, SaysThatAnImageAsksForMoreTimeThanAProbeMayTake) {
  ServiceSpec service;
  service.name = "db";
  ImageInfo image;
  EXPECT_EQ(probe_notice(service, image), "");
  image.health.emplace().timeout = 60s;
  EXPECT_EQ(probe_notice(service, image), "");
  image.health->timeout = 90s;
  EXPECT_NE(probe_notice(service, image).find("waits 1m30s; here a probe has failed after 1m"),
            std::string::npos)
      << probe_notice(service, image);
  service.health.emplace();  // the service's own is asked instead
  EXPECT_EQ(probe_notice(service, image), "");
}

TEST(Probing, OfWhatAFailedCheckPrintsTheLastLineThatSaysSomethingIsTold) {
  EXPECT_EQ(telling_line("Traceback (most recent call last):\n  File \"<string>\", line 1\n"
                         "ConnectionRefusedError: [Errno 111] Connection refused\n\n  \r\n"),
            "ConnectionRefusedError: [Errno 111] Connection refused");
  EXPECT_EQ(telling_line("curl: (7) no server\n    ^^^^^\n---\n"), "curl: (7) no server");
  EXPECT_EQ(telling_line("아직\n"), "아직");
  EXPECT_EQ(telling_line("\n\n"), "");
  EXPECT_EQ(telling_line(std::string(500, 'x')).size(), 200U);
  EXPECT_EQ(telling_line(std::string(199, 'x') + "글"), std::string(199, 'x')) << "no half character";
  EXPECT_EQ(telling_line("caf\xe9 is closed"), "caf? is closed");
}

TEST(ProbePlaces, AnApplicationWhoseChecksHangLeavesPlacesToOthers) {
  ProbePlaces places;
  std::size_t taken = 0;
  while (places.take("hangs")) ++taken;
  EXPECT_EQ(taken, ProbePlaces::kPlacesOfOneApp);
  EXPECT_LT(taken, ProbePlaces::kPlaces);
  EXPECT_TRUE(places.take("other"));
  places.give_back("hangs");
  EXPECT_TRUE(places.take("hangs"));
  EXPECT_FALSE(places.take("hangs"));
}

}  // namespace
}  // namespace naru::control
