// A command inside an instance.
#include "cli/test_views.h"

namespace naru::cli {
namespace {

using testing::FakeControl;
using testing::instance;
using testing::run_on;

std::string frame(char kind, const std::string& bytes) {
  return std::string{kind} +
         std::string{'\0', '\0', static_cast<char>(bytes.size() >> 8),
                     static_cast<char>(bytes.size() & 0xff)} +
         bytes;
}

FakeControl::Handler answer_exec(std::string frames) {
  return [frames = std::move(frames)](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
    std::string pending;
    auto stream = co_await response.upgrade("naru-exec", pending);
    if (!stream) co_return;
    (void)co_await stream->write(frames);
  };
}

TEST(Exec, PassesOutputAndExitStatusOn) {
  FakeControl control(
      {{"GET /v1/ps?app=shop",
        {{"instances",
          {instance("shop-web-1", "web", "ready", {{"side", "canary"}}),
           instance("shop-web-2", "web", "ready"), instance("shop-api-3", "api", "ready")}}}}});
  control.special["POST /v1/instances/shop-web-2/exec"] =
      answer_exec(frame(1, "out") + frame(2, "err") + frame(1, "put\n") + frame(4, "42"));
  const auto ran = run_on(
      control, {"exec", "shop/web", "-u", "root", "-w", "/srv", "-e", "A=1", "--", "sh", "-c", "exit 42"});
  EXPECT_EQ(ran.status, 42) << ran.err;
  EXPECT_EQ(ran.out, "output\n");
  EXPECT_EQ(ran.err, "err");
  const Json asked = Json::parse(control.last_body());
  EXPECT_EQ(asked["argv"], (Json{"sh", "-c", "exit 42"}));
  EXPECT_EQ(asked["user"], "root");
  EXPECT_EQ(asked["cwd"], "/srv");
  EXPECT_EQ(asked["env"], Json::array({"A=1"}));
  EXPECT_EQ(asked["tty"], false);
}

TEST(Exec, LeavesTheOptionsOfTheCommandToTheCommand) {
  FakeControl control({{"GET /v1/ps?app=shop", {{"instances", {instance("shop-web-2", "web", "ready")}}}}});
  control.special["POST /v1/instances/shop-web-2/exec"] = answer_exec(frame(1, "a\n") + frame(4, "0"));
  const auto ran = run_on(control, {"exec", "shop/web", "--", "ls", "--json", "--data", "x", "-u", "--help"});
  EXPECT_EQ(ran.out, "a\n") << ran.err;
  EXPECT_EQ(Json::parse(control.last_body())["argv"], (Json{"ls", "--json", "--data", "x", "-u", "--help"}));
}

TEST(Exec, WithJsonCollectsWhatTheCommandPrintsAndItsStatus) {
  FakeControl control({{"GET /v1/ps?app=shop", {{"instances", {instance("shop-web-2", "web", "ready")}}}}});
  control.special["POST /v1/instances/shop-web-2/exec"] =
      answer_exec(frame(1, "out") + frame(2, "err") + frame(1, "put\n\xff") + frame(4, "42"));
  const auto ran = run_on(control, {"exec", "--json", "shop/web", "--", "sh"});
  EXPECT_EQ(ran.status, 42);
  EXPECT_EQ(ran.err, "");
  EXPECT_EQ(Json::parse(ran.out),
            (Json{{"stdout", "output\n\xEF\xBF\xBD"}, {"stderr", "err"}, {"exit", 42}}));

  const auto both = run_on(control, {"exec", "--json", "--tty", "shop/web", "--", "sh"});
  EXPECT_EQ(both.status, 1);
  EXPECT_NE(both.err.find("--json and --tty do not go together"), std::string::npos) << both.err;

  std::string flood;
  const std::string piece = frame(1, std::string(60'000, 'x'));
  for (int i = 0; i < 600; ++i) flood += piece;
  control.special["POST /v1/instances/shop-web-2/exec"] = answer_exec(flood + frame(4, "0"));
  const auto flooded = run_on(control, {"exec", "--json", "shop/web", "--", "yes"});
  EXPECT_EQ(flooded.status, 1);
  EXPECT_EQ(flooded.out, "");
  EXPECT_NE(flooded.err.find("leave --json out"), std::string::npos) << flooded.err;
}

TEST(Exec, ThatEndsWithoutAStatusOrWithGarbageIsAnError) {
  FakeControl control({{"GET /v1/ps?app=shop", {{"instances", {instance("shop-web-2", "web", "ready")}}}}});
  const auto run = [&](std::string frames) {
    control.special["POST /v1/instances/shop-web-2/exec"] = answer_exec(std::move(frames));
    return run_on(control, {"exec", "shop/web", "--", "true"});
  };
  EXPECT_NE(run(frame(1, "x")).err.find("its exit status is not known"), std::string::npos);
  EXPECT_NE(run("\x01\xff\xff\xff\xff").err.find("too large"), std::string::npos);
  EXPECT_EQ(run(frame(4, "garbage")).status, 255);
  EXPECT_EQ(run(frame(9, "unknown kinds are skipped") + frame(4, "0")).status, 0);
}

TEST(Exec, WithoutSuchAnInstanceSaysWhatRuns) {
  FakeControl control({{"GET /v1/ps?app=shop",
                        {{"instances",
                          {instance("shop-web-2", "web", "ready"), instance("shop-api-3", "api", "running"),
                           instance("shop-old-1", "old", "failed")}}}}});
  EXPECT_EQ(run_on(control, {"exec", "shop/old", "--", "sh"}).err,
            "error: nothing runs of shop/old\nhint: these services run: api, web\n");
  EXPECT_NE(
      run_on(control, {"exec", "shop", "--", "sh"}).err.find("name one, as shop/api; there are: api, web"),
      std::string::npos);
  const auto refused = run_on(control, {"exec", "shop/web", "--", "sh"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.err.find("hint: ask for something else"), std::string::npos);
}

}  // namespace
}  // namespace naru::cli
