#include "control/housekeeping.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/rng.h"

namespace naru::control {
namespace {

namespace fs = std::filesystem;

// A core with one application, and no launcher.
class HousekeepingTest : public testing::Test {
 protected:
  HousekeepingTest()
      : data_{"/tmp/naru-housekeeping-" + secure_random_hex(6)},
        images_((fs::create_directories(data_.control()), *image::Store::open(data_.images()))),
        cache_(*build::StepCache::open(data_.build_cache())),
        core_(*Core::open(data_.control().string(), clock_)),
        launcher_(ipc::LauncherClient::open({(data_.root / "none.sock").string(), [](const Json&) {}})),
        housekeeping_({data_, clock_, *core_, *launcher_, images_, cache_, gate_}) {
    launcher_->stop();
    for (const fs::path& folder : {data_.pipelines(), data_.old_logs(), data_.git(), data_.checkouts()})
      fs::create_directories(folder);
    core_->start();
    EXPECT_TRUE(core_->submit(command::CreateApp{"before"}));
    EXPECT_TRUE(core_->submit(command::Push{"before", "refs/heads/main", "c0", "", ""}));  // takes numbers
    EXPECT_TRUE(core_->submit(command::CreateApp{"shop"}));
    first_ = core_->read([](const State& state) { return state.apps.at("shop").first_id; });
  }
  ~HousekeepingTest() override {
    housekeeping_.stop();
    core_->stop();
    std::error_code ignored;
    fs::remove_all(data_.root, ignored);
  }

  fs::path file(const fs::path& path, std::chrono::hours age = 0h) {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << "something";
    fs::last_write_time(path, fs::file_time_type::clock::now() - age);
    return path;
  }
  fs::path folder(const fs::path& path, std::chrono::hours age) {
    file(path / "file");
    fs::last_write_time(path, fs::file_time_type::clock::now() - age);
    return path;
  }

  ipc::DataFolder data_;
  SystemClock clock_;
  image::Store images_;
  build::StepCache cache_;
  std::unique_ptr<Core> core_;
  std::unique_ptr<ipc::LauncherClient> launcher_;
  ImageGate gate_;
  Housekeeping housekeeping_;
  std::uint64_t first_ = 0;
};

TEST_F(HousekeepingTest, FilesThatNoRowNamesGoAndADryRunOnlyCountsThem) {
  const std::vector<fs::path> gone{
      file(data_.pipelines() / "50.log"),
      file(data_.old_logs() / "nobody-web-7.1.log"),
      file(data_.old_logs() / fmt::format("shop-web-{}.1.log", first_ - 1)),  // of another shop
      file(data_.old_logs() / fmt::format("shop-web-{}.1.log", first_), 15 * 24h),
      folder(data_.checkouts() / "shop/old", 1h),
      folder(data_.checkouts() / "shop/.gone-1", 0h),
      folder(data_.checkouts() / "shop/.new-1", 25h),
      folder(data_.checkouts() / "nobody", 0h),
      folder(data_.repository("nobody"), 0h),
      folder(data_.repository("shop") / "objects/tmp_objdir-incoming-a", 25h)};
  const std::vector<fs::path> kept{
      file(data_.pipelines() / "999999999.log"),  // younger than the look at the rows
      file(data_.old_logs() / fmt::format("shop-web-{}.2.log", first_)),
      folder(data_.checkouts() / "shop/young", 0h),  // of a push that is being checked
      folder(data_.checkouts() / "shop/.new-2", 1h),
      folder(data_.checkouts() / "before/c0", 1h),                             // its pipeline has not ended
      folder(data_.repository("shop") / "objects/tmp_objdir-incoming-b", 1h),  // of a push under way
      folder(data_.repository("shop"), 0h)};
  // 50 is an id that was given.
  while (core_->read([](const State& state) { return state.counters.next_id; }) < 1'000)
    ASSERT_TRUE(core_->submit(command::Push{"shop", "refs/heads/main", secure_random_hex(20), "", ""}));
  const auto would = housekeeping_.run_by_hand({.keep_releases = 10, .dry_run = true});
  ASSERT_TRUE(would) << would.error().message();
  EXPECT_EQ(std::tuple(would->logs, would->checkouts, would->repositories), std::tuple(4U, 4U, 2U));
  for (const fs::path& path : gone) EXPECT_TRUE(fs::exists(path)) << path;
  const auto did = housekeeping_.run_by_hand({});
  ASSERT_TRUE(did) << did.error().message();
  EXPECT_EQ(std::tuple(did->logs, did->checkouts, did->repositories), std::tuple(4U, 4U, 2U));
  EXPECT_EQ(std::tuple(did->bytes, did->pipelines), std::tuple(would->bytes, would->pipelines));
  EXPECT_GT(did->pipelines, 300U) << "cancelled ones, in more than one step";
  EXPECT_NE(did->skipped.find("layers"), std::string::npos) << "there is no launcher";
  for (const fs::path& path : gone) EXPECT_FALSE(fs::exists(path)) << path;
  for (const fs::path& path : kept) EXPECT_TRUE(fs::exists(path)) << path;
}

TEST_F(HousekeepingTest, ANewApplicationFindsNothingOfItsPredecessor) {
  folder(data_.repository("next"), 0h);
  folder(data_.checkouts() / "next", 0h);
  {
    const auto held = housekeeping_.names();
    housekeeping_.remove_strays();
    ASSERT_TRUE(core_->submit(command::CreateApp{"next"}));
  }
  EXPECT_FALSE(fs::exists(data_.repository("next")));
  EXPECT_FALSE(fs::exists(data_.checkouts() / "next"));
}

TEST(ImageGate, IsHeldAloneOnlyWhileNobodyUsesIt) {
  ImageGate gate;
  auto one = gate.use(), two = gate.use();
  EXPECT_FALSE(gate.alone(0ms, {}).owns_lock());
  one.unlock();
  EXPECT_FALSE(gate.alone(0ms, {}).owns_lock());
  two.unlock();
  EXPECT_TRUE(gate.alone(1s, {}).owns_lock());
}

}  // namespace
}  // namespace naru::control
