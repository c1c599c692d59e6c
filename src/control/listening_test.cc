#include "control/listening.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace naru::control {
namespace {

class HandClock final : public Clock {
 public:
  WallTime wall() const override { return from_epoch_ms(0); }
  MonoTime mono() const override { return now; }
  MonoTime now{1h};
};

// The other end of the inherited socket.
class Supervisor {
 public:
  Supervisor() : pair_(std::move(ipc::Channel::pair().value())) {
    thread_ = std::thread([this] {
      while (auto request = pair_.second.receive(10s)) {
        ++asked;
        Json answer{{"id", request->body["id"]}, {"errors", Json::array()}};
        if (taken) answer["errors"].push_back({{"name", "host:8000"}, {"message", "port 8000: in use"}});
        if (!pair_.second.send(answer, 10s)) return;
      }
    });
  }
  ~Supervisor() {
    pair_.first.close();
    link.reset();
    thread_.join();
  }
  std::atomic<int> asked = 0;
  std::atomic<bool> taken = true;

 private:
  std::pair<ipc::Channel, ipc::Channel> pair_;
  std::thread thread_;

 public:
  std::optional<SupervisorLink> link{std::in_place, ::fcntl(pair_.first.fd(), F_DUPFD_CLOEXEC, 3)};
};

TEST(Listening, WhatCouldNotBeOpenedIsTriedAgainUntilItCan) {
  HandClock clock;
  Supervisor supervisor;
  Listening listening(*supervisor.link, clock);
  ASSERT_TRUE(listening.set({{"host:8000", ListenerKind::tcp, "", 8000}}));
  EXPECT_EQ(listening.errors().at("host:8000"), "port 8000: in use");
  listening.again();
  EXPECT_EQ(supervisor.asked, 1) << "not before its time";
  for (int i = 0; i < 600; ++i) {  // a minute
    clock.now += 100ms;
    listening.again();
  }
  EXPECT_GT(supervisor.asked, 5);
  EXPECT_LT(supervisor.asked, 15) << "less and less often";
  supervisor.taken = false;
  clock.now += Listening::kLastRetry;
  listening.again();
  EXPECT_TRUE(listening.errors().empty());
  const int asked = supervisor.asked;
  clock.now += 1h;
  listening.again();
  EXPECT_EQ(supervisor.asked, asked) << "there is nothing to try";
}

}  // namespace
}  // namespace naru::control
