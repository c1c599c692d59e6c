#include <gtest/gtest.h>

#include <csignal>

#include "base/clock.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/result.h"
#include "base/signal_name.h"

namespace naru {
namespace {

Result<int> half(int n) {
  if (n % 2 != 0) return fail(Code::invalid_argument, "{} is odd", n);
  return n / 2;
}
Result<int> quarter(int n) {
  return TRY(half(TRY(half(n))));
}

TEST(Signals, AreReadInEveryUsualForm) {
  EXPECT_EQ(parse_signal("SIGTERM").value(), SIGTERM);
  EXPECT_EQ(parse_signal("QUIT").value(), SIGQUIT);
  EXPECT_EQ(parse_signal("9").value(), SIGKILL);
  EXPECT_EQ(parse_signal("SIGRTMIN").value(), SIGRTMIN);
  EXPECT_EQ(parse_signal("RTMIN+3").value(), SIGRTMIN + 3);
  EXPECT_EQ(parse_signal("SIGRTMAX").value(), SIGRTMAX);
  EXPECT_EQ(parse_signal("RTMAX-30").value(), SIGRTMIN);
  for (const char* bad :
       {"", "SIG", "0", "-1", "999", "TERMX", "9x", "RTMIN-1", "RTMIN+31", "RTMAX+1", "RTMAXX", "RTMIN+-1"})
    EXPECT_EQ(parse_signal(bad).error().code, Code::invalid_argument) << bad;
}

TEST(Result, TryReturnsTheErrorUpward) {
  EXPECT_EQ(quarter(8).value(), 2);
  const auto odd = quarter(6);
  ASSERT_FALSE(odd);
  EXPECT_EQ(odd.error().message(), "3 is odd");
  EXPECT_EQ(odd.error().hint(), "see --help of the command");
}

TEST(Digest, ComputesAndParses) {
  const Digest digest = Digest::of_sha256("abc");
  EXPECT_EQ(digest.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Digest::parse(digest.text()).value(), digest);
  for (const char* bad : {"", "sha256:", "sha256:xyz", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256"})
    EXPECT_FALSE(Digest::parse(bad)) << bad;
}

TEST(Clock, WritesTimesForPeopleAndRows) {
  EXPECT_EQ(to_rfc3339(from_epoch_ms(1'700'000'000'123)), "2023-11-14T22:13:20.123Z");
  EXPECT_EQ(humanize(350ms), "350ms");
  EXPECT_EQ(humanize(12'340ms), "12.3s");
  EXPECT_EQ(humanize(245s), "4m05s");
}

TEST(Fd, ClosesOnceWhenMoved) {
  Fd first(::dup(0));
  const int number = first.get();
  Fd second = std::move(first);
  EXPECT_FALSE(first.valid());
  EXPECT_EQ(second.get(), number);
}

}  // namespace
}  // namespace naru
