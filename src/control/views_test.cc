#include "control/views.h"

#include <gtest/gtest.h>

#include <fstream>

#include "control/api_fixture_test.h"
#include "control/api_log_reader.h"
#include "control/tokens.h"
#include "control/variable_use.h"
#include "rollout/rollout.h"

namespace naru::control {
namespace {

State small_state() {
  State state;
  state.apps["shop"] = App{"shop", "main", {}, 2, 0, {}};
  Environment environment;
  environment.app = "shop";
  environment.name = "production";
  ReleaseService web;
  web.spec.name = "web";
  web.spec.ports = {PortSpec{8080, 80, "", Transport::tcp, ""}};
  web.revision = Digest::of_sha256("web 1");
  Release one;
  one.id = 10;
  one.app = "shop";
  one.version = 1;
  one.services = {web};
  Release two = one;
  two.id = 11;
  two.version = 2;
  two.services[0].revision = Digest::of_sha256("web 2");
  state.releases[10] = one;
  state.releases[11] = two;
  environment.stable = 10;
  state.environments["shop/production"] = environment;
  Instance instance;
  instance.id = "shop-web-1";
  instance.app = "shop";
  instance.environment = "production";
  instance.service = "web";
  instance.revision = web.revision;
  instance.release = 10;
  instance.phase = InstancePhase::ready;
  state.instances[instance.id] = instance;
  return state;
}

Rollout& begin_rollout(State& state) {
  Rollout rollout;
  rollout.id = 20;
  rollout.app = "shop";
  rollout.environment = "production";
  rollout.from = 10;
  rollout.to = 11;
  rollout.phase = RolloutPhase::stepping;
  rollout.steps = {StepRecord{BasisPoints{500}, {}, {}, {}}};
  rollout.reason = "holding at 5%: 0 of 50 users; send traffic, add a probe, or naru promote shop";
  state.environments["shop/production"].rollout = 20;
  return state.rollouts[20] = rollout;
}

Json status(const State& state) {
  return status_view(state, state.environments.at("shop/production"), {});
}

TEST(Views, GiveAServiceThatKeepsDataItsNameToo) {
  State state = small_state();
  ServiceSpec& web = state.releases.at(10).services[0].spec;
  MountSpec mount;
  mount.source = "data";
  web.mounts = {mount};
  ASSERT_TRUE(web.stateful());
  EXPECT_EQ(status(state)["addresses"][1]["url"], "http://web.production.shop.localhost:8080");
  web.ports[0].app_protocol = "tcp";
  EXPECT_EQ(status(state)["addresses"].size(), 1u);
}

TEST(Views, CountTheOneThatServesBothSidesAsReady) {
  State state = small_state();
  begin_rollout(state);
  Instance& instance = state.instances.at("shop-web-1");
  instance.revision = state.releases.at(11).services[0].revision;
  EXPECT_EQ(status(state)["services"][0]["ready"], 0) << "the canary serves its own users only";
  EXPECT_EQ(status(state)["health"], "down");
  MountSpec mount;
  mount.source = "data";
  for (Release* release : {&state.releases.at(10), &state.releases.at(11)})
    release->services[0].spec.mounts = {mount};
  EXPECT_EQ(status(state)["services"][0]["ready"], 1);
  EXPECT_EQ(status(state)["health"], "ok");
}

TEST(Views, ShowWhatFailedInEachStepTheNewestFirst) {
  State state = small_state();
  Rollout& rollout = begin_rollout(state);
  FailedExample one;
  one.side = "canary";
  one.status = 502;
  one.path = "/first";
  rollout.steps.back().failed = {one};
  rollout.steps.push_back(StepRecord{BasisPoints{2500}, {}, {}, {}});
  one.path = "/second";
  rollout.steps.back().failed = {one};
  const Json view = rollout_view(state, rollout, {});
  ASSERT_EQ(view["failed_requests"].size(), 2U);
  EXPECT_EQ(view["failed_requests"][0]["path"], "/second");
  EXPECT_EQ(view["failed_requests"][0]["step"], 1);
  EXPECT_EQ(view["failed_requests"][1]["path"], "/first");
  EXPECT_EQ(view["failed_requests"][1]["step"], 0);
  EXPECT_FALSE(view["steps"][0].contains("failed")) << "they are said once";
}

MountSpec some_volume() {
  MountSpec mount;
  mount.source = "data";
  return mount;
}

// web gets its first volume: the new one serves everybody while the rest of the release is a canary.
TEST(Views, CountWhatARolloutHasRecreatedAsTheOneThatServes) {
  State state = small_state();
  state.releases.at(10).services[0].spec.replicas = 2;
  state.releases.at(11).services[0].spec.mounts = {some_volume()};
  Rollout& rollout = begin_rollout(state);
  state.instances.at("shop-web-1").revision = state.releases.at(11).services[0].revision;
  EXPECT_EQ(status(state)["health"], "down");
  rollout.swapped = {"web"};
  EXPECT_EQ(status(state)["services"][0]["ready"], 1);
  EXPECT_EQ(status(state)["services"][0]["wanted"], 1) << "what keeps data runs once";
  EXPECT_EQ(status(state)["health"], "ok");
}

TEST(Views, CountWhoTookAVolumeOverUnderTheOldName) {
  State state = small_state();
  state.releases.at(10).services[0].spec.mounts = {some_volume()};
  ReleaseService& database = state.releases.at(11).services[0];
  database.spec.mounts = {some_volume()};
  database.spec.name = "database";
  Instance& instance = state.instances.at("shop-web-1");
  instance.service = "database";
  instance.revision = database.revision;
  begin_rollout(state).swapped = {"database"};
  EXPECT_EQ(status(state)["services"][0]["name"], "web");
  EXPECT_EQ(status(state)["services"][0]["ready"], 1);
  EXPECT_EQ(status(state)["health"], "ok");
  instance.phase = InstancePhase::running;
  EXPECT_EQ(status(state)["health"], "down");
}

TEST(Views, SayWhoServesWhom) {
  State state = small_state();
  EXPECT_EQ(status(state)["message"], "v1 serves everybody");
  EXPECT_EQ(status(state)["health"], "ok");
  EXPECT_EQ(status(state)["instances"][0]["side"], "stable");
  EXPECT_EQ(status(state)["instances"][0]["stop_grace"], 10'000);
  EXPECT_EQ(status(state)["addresses"][0]["url"], "http://localhost:80");
  EXPECT_EQ(status(state)["addresses"][1]["url"], "http://web.production.shop.localhost:8080");
  state.instances.at("shop-web-1").phase = InstancePhase::waiting;
  state.instances.at("shop-web-1").error = "exited with 1";
  EXPECT_EQ(status(state)["health"], "down");
  EXPECT_EQ(status(state)["message"],
            "v1 serves everybody; shop-web-1 of web will be started again: exited with 1");
}

TEST(Views, SayWhichHostPortIsNotOpenAlsoInTheRollout) {
  State state = small_state();
  Surroundings around;
  around.listener_errors["host:80"] = "port 80: in use";
  const Environment& environment = state.environments.at("shop/production");
  EXPECT_NE(
      status_message(state, environment, around).find("host port 80 of web is not open: port 80: in use"),
      std::string::npos);
  Rollout& rollout = begin_rollout(state);
  rollout.to = 10;  // what everybody meets now
  rollout.from = 11;
  for (const RolloutPhase phase : {RolloutPhase::completing, RolloutPhase::done}) {
    rollout.phase = phase;
    rollout.reason = "every step passed";
    const std::string reason = rollout_view(state, rollout, around)["reason"];
    EXPECT_TRUE(reason.starts_with("every step passed; host port 80 of web is not open: port 80")) << reason;
  }
  EXPECT_NE(status_message(state, environment, around).find("host port 80"), std::string::npos);
}

TEST(Views, SayWhyAFirstReleaseDoesNotRun) {
  State state = small_state();
  Rollout& rollout = begin_rollout(state);
  rollout.phase = RolloutPhase::rolled_back;
  rollout.reason = "the network of production cannot be made: no free /22, for 2m00s";
  Environment& environment = state.environments.at("shop/production");
  environment.rollout.reset();
  environment.stable.reset();
  EXPECT_EQ(status(state)["message"], "nothing runs; v2 was taken back: " + rollout.reason);
}

TEST(Views, SayWhatARolloutWaitsFor) {
  State state = small_state();
  begin_rollout(state);
  const Json view = status(state);
  EXPECT_EQ(view["message"], "holding at 5%: 0 of 50 users; send traffic, add a probe, or naru promote shop");
  EXPECT_EQ(view["rollout"]["weight"], 500);
  EXPECT_EQ(view["rollout"]["changed"][0], "web");
  EXPECT_EQ(view["services"][0]["changed_in_rollout"], true);
  state.rollouts[20].phase = RolloutPhase::rolled_back;
  state.rollouts[20].reason = "web fails";
  state.environments["shop/production"].rollout.reset();
  EXPECT_EQ(status(state)["message"], "v1 serves everybody; v2 was taken back: web fails");
}

TEST(Views, EndACancelledBuildWithItsPipeline) {
  Pipeline pipeline;
  pipeline.state = StageState::failed;
  pipeline.finished = from_epoch_ms(9'000);
  BuildStage build;
  build.service = "web";
  build.state = StageState::cancelled;
  pipeline.builds = {build, build};
  pipeline.builds[1].started = from_epoch_ms(4'000);
  const Json view = pipeline_view(State{}, pipeline);
  EXPECT_EQ(view["builds"][0]["finished"], 0) << "it never began";
  EXPECT_EQ(view["builds"][1]["finished"], 9'000);
}

TEST(Views, PlanStepsOnlyForWhatTakesThem) {
  State state = small_state();
  Rollout& rollout = begin_rollout(state);
  rollout.policy.steps = {{BasisPoints{500}, 30s, 50}, {BasisPoints{2500}, 30s, 50}};
  const auto planned = [&] { return rollout_view(state, rollout, {})["planned"].size(); };
  EXPECT_EQ(planned(), 2U);
  rollout.is_rollback = true;
  EXPECT_EQ(planned(), 0U);
  rollout.is_rollback = false;
  rollout.from.reset();
  EXPECT_EQ(planned(), 0U) << "a first release";
}

TEST(Views, SayOfAStepThatBeginsWhoMeetsIt) {
  State state = small_state();
  Rollout& rollout = begin_rollout(state);
  rollout.reason.clear();
  EXPECT_EQ(rollout_view(state, rollout, {})["reason"], "v2 goes to 5% of the users");
  rollout.phase = RolloutPhase::preparing;
  EXPECT_EQ(rollout_view(state, rollout, {})["reason"], "starting v2; users meet v1 only");
  rollout.from.reset();
  EXPECT_EQ(rollout_view(state, rollout, {})["reason"], "starting v2");
}

TEST(Views, SayWhatTheJudgeHasTakenBack) {
  State state = small_state();
  Rollout& rollout = begin_rollout(state);
  const Json first = release_view(state, state.releases.at(10)),
             second = release_view(state, state.releases.at(11));
  EXPECT_EQ(second["taken_back"], false);
  EXPECT_EQ(rollout_view(state, rollout, {})["superseded"], false);
  EXPECT_EQ(first["services"][0]["changed"], true);
  EXPECT_EQ(second["services"][0]["changed"], true);
  EXPECT_EQ(second["served"], false);
  state.releases.at(11).services[0].revision = state.releases.at(10).services[0].revision;
  EXPECT_EQ(release_view(state, state.releases.at(11))["services"][0]["changed"], false);
  state.releases.at(10).served = true;
  EXPECT_EQ(release_view(state, state.releases.at(10))["served"], true);
  rollout.phase = RolloutPhase::rolled_back;
  rollout.reason = "errors for 4 of 9 canary users at 5%";
  state.environments["shop/production"].rollout.reset();
  EXPECT_EQ(status(state)["message"],
            "v1 serves everybody; v2 was taken back: errors for 4 of 9 canary users at 5%");
  EXPECT_EQ(release_view(state, state.releases.at(11))["taken_back"], true);
  EXPECT_EQ(release_view(state, state.releases.at(10))["taken_back"], false);
  rollout.reason = "superseded by v3";
  EXPECT_EQ(release_view(state, state.releases.at(11))["taken_back"], false);
  EXPECT_EQ(release_view(state, state.releases.at(11))["superseded"], true);
  EXPECT_EQ(rollout_view(state, rollout, {})["superseded"], true);
  EXPECT_EQ(status(state)["message"], "v1 serves everybody; v2 was superseded by v3");
  rollout.phase = RolloutPhase::rolling_back;
  state.environments["shop/production"].rollout = 20;
  EXPECT_EQ(status(state)["message"], "v2 is superseded by v3");
  EXPECT_EQ(rollout_view(state, rollout, {})["superseded"], true);
  Rollout again = rollout;
  again.id = 21;
  again.phase = RolloutPhase::stepping;
  state.rollouts[21] = again;
  EXPECT_EQ(release_view(state, state.releases.at(11))["taken_back"], false) << "it is tried once more";
}

TEST(Views, DoNotGuessWhatChangedSinceAReleaseThatIsForgotten) {
  State state = small_state();
  EXPECT_EQ(release_view(state, state.releases.at(10))["services"][0]["changed"], true) << "the first";
  state.releases.erase(10);
  EXPECT_EQ(release_view(state, state.releases.at(11))["services"][0]["changed"], Json());
}

TEST(Views, NameTheWayOfVariablesToWhatRuns) {
  State state = small_state();
  const auto way = [&] { return way_to_deliver(state, "shop/production"); };
  Environment& environment = state.environments.at("shop/production");
  EXPECT_EQ(way_to_deliver(state, "shop/staging"), "");
  EXPECT_EQ(way(), "") << "v2 is still to come";
  environment.offered = 11;
  EXPECT_NE(way().find("v2 did not stay, so that what runs may not have it: `naru promote shop v2`"),
            std::string::npos)
      << way();
  environment.pending = 11;
  EXPECT_NE(way().find("v2 waits for a person"), std::string::npos) << way();
  environment.approved = true;
  EXPECT_EQ(way(), "");
  environment.pending.reset();
  Rollout& rollout = begin_rollout(state);
  EXPECT_EQ(way(), "") << "on its way";
  rollout.phase = RolloutPhase::done;
  environment.rollout.reset();
  environment.stable = 11;
  EXPECT_EQ(way(), "");
  state.pipelines[30].id = 30;
  state.pipelines[30].app = "shop";
  EXPECT_EQ(way(), "");
  state.pipelines[30].state = StageState::failed;
  EXPECT_NE(way().find("pipeline 30 failed"), std::string::npos) << way();
  EXPECT_NE(way().find("`naru pipeline retry shop`"), std::string::npos) << way();
}

// The same that ends the rollout: what takes its own time has none.
TEST(Views, ShowNoDeadlineWhileAnOldOneMakesRoom) {
  State state = small_state();
  Rollout& rollout = begin_rollout(state);
  rollout.phase = RolloutPhase::preparing;
  rollout.created = from_epoch_ms(1'000);
  MountSpec mount;
  mount.source = "data";
  for (Release* release : {&state.releases.at(10), &state.releases.at(11)})
    release->services[0].spec.mounts = {mount};
  EXPECT_EQ(rollout_view(state, rollout, {})["waiting_since"], 1'000);
  rollout.swapped = {"web"};
  Instance& old = state.instances.at("shop-web-1");
  old.phase = InstancePhase::stopping;
  old.retired_at = from_epoch_ms(2'000);
  EXPECT_EQ(rollout_view(state, rollout, {})["waiting_since"], 0);
  Surroundings later;
  later.now =
      from_epoch_ms(2'000) + state.releases.at(10).services[0].spec.stop_grace + rollout::kStopPatience + 1ms;
  EXPECT_EQ(rollout_view(state, rollout, later)["waiting_since"], 1'000) << "it has had its time";
  later.now -= 1ms;
  EXPECT_EQ(rollout_view(state, rollout, later)["waiting_since"], 0);
}

TEST(Views, SaySinceWhenARolloutWaitsForItsContainers) {
  State state = small_state();
  Rollout& rollout = begin_rollout(state);
  rollout.phase = RolloutPhase::preparing;
  rollout.policy.ready_deadline = milliseconds(120'000);
  EXPECT_EQ(rollout_view(state, rollout, {})["waiting_since"], 0);
  rollout.created = from_epoch_ms(500);
  EXPECT_EQ(rollout_view(state, rollout, {})["waiting_since"], 500);
  Instance fresh = state.instances.at("shop-web-1");
  fresh.id = "shop-web-2";
  fresh.revision = state.releases.at(11).services[0].revision;
  fresh.phase = InstancePhase::running;
  fresh.created = from_epoch_ms(1'000);
  fresh.started = from_epoch_ms(2'000);
  state.instances[fresh.id] = fresh;
  EXPECT_EQ(rollout_view(state, rollout, {})["waiting_since"], 2'000);
  EXPECT_EQ(rollout_view(state, rollout, {})["ready_deadline"], 120'000);
  state.counters.control_started = from_epoch_ms(5'000);
  EXPECT_EQ(rollout_view(state, rollout, {})["waiting_since"], 5'000) << "the deadline runs while Naru does";
  state.instances.at(fresh.id).phase = InstancePhase::ready;
  EXPECT_EQ(rollout_view(state, rollout, {})["waiting_since"], 0);
}

TEST(Views, AnEventLeavesWithoutSecrets) {
  const Json set = to_json_event(event::VariablesSet{"shop/production", {{"KEY", "open-sesame"}}, {}});
  EXPECT_EQ(public_event(set, {}).dump().find("open-sesame"), std::string::npos);
  ApplicationSpec spec;
  spec.services.resize(1);
  spec.services[0].name = "web";
  spec.services[0].environment["KEY"] = "open-sesame";
  const Json planned = public_event(to_json_event(event::PipelinePlanned{1, spec, {}, {"a warning"}}), {});
  EXPECT_EQ(planned.dump().find("open-sesame"), std::string::npos);
  EXPECT_EQ(planned["spec"]["services"][0], "web");
  const Json failed = public_event(
      to_json_event(event::PipelineFinished{1, StageState::failed, "cannot use open-sesame", {}}),
      {"open-sesame"});
  EXPECT_EQ(failed["error"], "cannot use ***");
  Environment environment;
  environment.variables["KEY"] = "open-sesame";
  EXPECT_EQ(
      public_event(to_json_event(event::EnvironmentCreated{environment}), {}).dump().find("open-sesame"),
      std::string::npos);
  Rollout rollout;
  rollout.salt = "open-sesame";
  EXPECT_EQ(public_event(to_json_event(event::RolloutStarted{rollout}), {}).dump().find("open-sesame"),
            std::string::npos);
  EXPECT_EQ(public_event(to_json_event(event::SecretChosen{"open-sesame"}), {}).dump().find("open-sesame"),
            std::string::npos);
  for (const Json& garbage :
       {Json(), Json::array(), Json("x"), Json{{"set", 3}}, Json{{"release", {{"services", {1}}}}}})
    EXPECT_NO_THROW((void)public_event(garbage, {"x"}));
}

TEST(LogLines, AreReadWithTheirTimes) {
  const auto line = parse_log_line("2026-01-31T12:34:56.789Z stderr hello  world");
  ASSERT_TRUE(line);
  EXPECT_EQ(to_rfc3339(line->time), "2026-01-31T12:34:56.789Z");
  EXPECT_EQ(line->stream, "stderr");
  EXPECT_EQ(line->text, "hello  world");
  EXPECT_TRUE(parse_log_line("2026-01-31T12:34:56Z stdout "));
  for (const char* garbage :
       {"", " ", "x stdout y", "2026-01-31T12:34:56.789Z", "2026-13-31T12:34:56.789Z stdout x",
        "2026-01-31T12:34:56.789Z stdlog x", "2026-01-31T12:34:56.Z stdout x",
        "2026-02-30T12:34:56Z stdout x", "-026-01-31T12:34:56Z stdout x"})
    EXPECT_FALSE(parse_log_line(garbage)) << garbage;
}

class Logs : public testing::Test {
 protected:
  Logs() : data_{folder_.path()} {
    std::filesystem::create_directories(data_.control());
    std::filesystem::create_directories(data_.old_logs());
    core_ = std::move(*Core::open(data_.control().string(), clock_));
  }
  void write(const std::filesystem::path& path, const std::string& text) {
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::app) << text;
  }
  TempFolder folder_;
  ipc::DataFolder data_;
  SystemClock clock_;
  std::unique_ptr<Core> core_;
};

TEST_F(Logs, OfSeveralContainersAreMergedByTimeAndFollowedOverARotation) {
  core_.reset();
  {
    State state = small_state();
    auto store = std::move(*store::Store::open(data_.control().string()));
    Instance second = state.instances.at("shop-web-1");
    second.id = "shop-web-2";
    state.instances[second.id] = second;
    const Touched touched{{"app", "shop"},   {"environment", "shop/production"}, {"release", "10"},
                          {"release", "11"}, {"instance", "shop-web-1"},         {"instance", "shop-web-2"}};
    ASSERT_TRUE(store.commit(state, {}, touched, clock_.wall()));
  }
  core_ = std::move(*Core::open(data_.control().string(), clock_));
  const auto first = data_.logs() / "shop-web-1.1", second = data_.logs() / "shop-web-2.1";
  write(first / "1.log", "2026-01-31T12:00:00.000Z stdout a\n");
  write(first / "current.log", "garbage\n2026-01-31T12:00:02.000Z stdout c\n");
  write(second / "current.log", "2026-01-31T12:00:01.000Z stderr b\n2026-01-31T12:00:03.000Z stdout d");
  write(data_.old_logs() / "shop-web-7.3.log", "2026-01-31T11:00:00.000Z stdout gone\n");
  write(data_.old_logs() / "blog-web-7.3.log", "2026-01-31T11:00:00.000Z stdout of another\n");
  const auto text = [](const std::vector<LogLine>& lines) {
    std::string out;
    for (const LogLine& line : lines) out += line.instance + ":" + line.text + " ";
    return out;
  };
  LogReader reader(*core_, data_, {"shop", "production", "web", "", 10, {}});
  EXPECT_EQ(text(reader.tail()), "shop-web-7:gone shop-web-1:a shop-web-2:b shop-web-1:c ");
  EXPECT_EQ(text(reader.fresh()), "");
  write(second / "current.log", "one\n");  // the end of a line that had been begun
  std::filesystem::rename(first / "current.log", first / "1.log");
  write(first / "1.log", "2026-01-31T12:00:04.000Z stdout e\n");
  write(first / "current.log", "2026-01-31T12:00:05.000Z stdout f\n");
  EXPECT_EQ(text(reader.fresh()), "shop-web-2:done shop-web-1:e shop-web-1:f ");
  LogReader few(*core_, data_, {"shop", "production", "", "shop-web-1", 1, {}});
  EXPECT_EQ(text(few.tail()), "shop-web-1:f ");
}

TEST_F(Logs, ValuesOfTheApplicationsVariablesAreMasked) {
  core_.reset();
  {
    State state = small_state();
    auto& variables = state.environments.at("shop/production").variables;
    variables["KEY"] = "open-sesame";
    variables["LONGER"] = "open-sesame-please";
    variables["SHORT"] = "abc";
    auto store = std::move(*store::Store::open(data_.control().string()));
    const Touched touched{{"app", "shop"},
                          {"environment", "shop/production"},
                          {"release", "10"},
                          {"release", "11"},
                          {"instance", "shop-web-1"}};
    ASSERT_TRUE(store.commit(state, {}, touched, clock_.wall()));
  }
  core_ = std::move(*Core::open(data_.control().string(), clock_));
  const auto log = data_.logs() / "shop-web-1.1" / "current.log";
  write(log, "2026-01-31T12:00:00.000Z stdout key=open-sesame, open-sesame-please abc\n");
  LogReader reader(*core_, data_, {"shop", "production", "", "", 10, {}});
  const auto first = reader.tail();
  ASSERT_EQ(first.size(), 1U);
  EXPECT_EQ(first[0].text, "key=***, *** abc");
  write(log, "2026-01-31T12:00:01.000Z stderr open-sesame\n");
  const auto second = reader.fresh();
  ASSERT_EQ(second.size(), 1U);
  EXPECT_EQ(second[0].text, "***");
}

TEST_F(Logs, OfAnAppWithoutContainersAreEmpty) {
  write(data_.old_logs() / "shop-web-1.1.log", "2026-01-31T12:34:56.789Z stdout x\n");
  write(data_.old_logs() / "garbage", "x");
  LogReader reader(*core_, data_, {"shop", "production", "", "", 10, {}});
  EXPECT_TRUE(reader.tail().empty());
  EXPECT_TRUE(reader.fresh().empty());
}

TEST(TokensTest, AreFoundOnlyWhole) {
  TempFolder folder;
  SystemClock clock;
  auto tokens = std::move(*Tokens::open(folder.path() / "tokens.json", clock));
  const std::string text = *tokens->create("ci", "shop");
  EXPECT_EQ(tokens->check(text, "a")->app, "shop");
  EXPECT_FALSE(tokens->check(text.substr(0, text.size() - 1), "a"));
  EXPECT_FALSE(tokens->check("", "a"));
  EXPECT_EQ(tokens->create("ci", "").error().code, Code::already_exists);
  EXPECT_EQ(tokens->create("a b", "").error().code, Code::invalid_argument);
  EXPECT_FALSE(tokens->redeem("nothing", "b"));
  std::ofstream(folder.path() / "tokens.json") << "{\"tokens\": [{}]}";
  EXPECT_FALSE(Tokens::open(folder.path() / "tokens.json", clock));
  std::ofstream(folder.path() / "tokens.json") << "garbage";
  EXPECT_FALSE(Tokens::open(folder.path() / "tokens.json", clock));
}

}  // namespace
}  // namespace naru::control
