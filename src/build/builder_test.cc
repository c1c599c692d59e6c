#include "build/builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <thread>

#include "build/testing.h"

namespace naru::build {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::MemoryBench;
using testing::MemoryImages;
using testing::TempFolder;

constexpr const char* kDockerfile = R"(FROM debian:bookworm-slim AS build
RUN apt-get install g++
WORKDIR /src
COPY . .
ARG ERROR_RATE=0
RUN make
FROM build AS test
RUN make test
FROM debian:bookworm-slim
COPY --from=build /src/catalog /usr/bin/catalog
ENV PORT=80
CMD ["/usr/bin/catalog"]
)";

class BuilderTest : public ::testing::Test {
 protected:
  BuilderTest() {
    checkout.write("catalog/Dockerfile", kDockerfile);
    checkout.write("catalog/main.cc", "int main() {}");
    checkout.write("catalog/lib/a.h", "#pragma once");
    images.add("debian:bookworm-slim");
    cache.emplace(*StepCache::open(cache_folder.path() / "cache"));
  }

  BuildRequest request() {
    BuildRequest r;
    r.id = "b1";
    r.name = "catalog";
    r.checkout = checkout.path();
    r.checkout_path = "shop/c1";
    r.context = "catalog";
    return r;
  }
  Result<BuildResult> build(const BuildRequest& r, std::stop_token stop = {}) {
    bench.log.clear();
    lines.clear();
    auto result = Builder(bench, images, *cache, clock)
                      .build(r, [this](std::string_view line) { lines.emplace_back(line); }, stop);
    EXPECT_THAT(bench.open, IsEmpty());  // nothing is left open, whatever happened
    return result;
  }
  Result<BuildResult> build() { return build(request()); }
  std::string why(const BuildResult& result, std::size_t line) {
    for (const StepReport& step : result.steps)
      if (step.line == line) return step.why;
    return "no such step";
  }
  bool said(std::string_view what) {
    return std::ranges::any_of(lines,
                               [&](const std::string& line) { return line.find(what) != std::string::npos; });
  }

  TempFolder checkout, cache_folder;
  MemoryBench bench;
  MemoryImages images{bench};
  std::optional<StepCache> cache;
  SystemClock clock;
  std::vector<std::string> lines;
};

// A control that was killed left benches, which are in use or being deleted still when the next one builds.
TEST_F(BuilderTest, EachAttemptHasBenchesOfItsOwn) {
  BuildRequest r = request();
  r.id = std::string(200, 'x');
  bench.on_run = [](const RunRequest&, const OutputCallback&, std::stop_token) -> Result<RunResult> {
    return fail(Code::unavailable, "the launcher's connection broke");
  };
  ASSERT_FALSE(build(r));
  bench.on_run = nullptr;
  ASSERT_TRUE(build(r));
  const std::set<std::string> different(bench.begun.begin(), bench.begun.end());
  EXPECT_EQ(different.size(), bench.begun.size());
  EXPECT_GT(different.size(), 5U);
  for (const std::string& id : different) {
    EXPECT_TRUE(id.starts_with("bxxxx") && id.size() <= 55) << id;
    EXPECT_EQ(id.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-"), std::string::npos) << id;
  }
}

TEST_F(BuilderTest, RunsOnlyTheStagesThatTheTargetNeeds) {
  const auto result = build();
  ASSERT_TRUE(result) << result.error().context;
  EXPECT_THAT(bench.log, ElementsAre("run apt-get install g++", "copy  /src/", "copy  /src/", "run make",
                                     "copy src/catalog /usr/bin/catalog from layers"));
  EXPECT_FALSE(result->cached);
  EXPECT_EQ(result->image.layers.size(), 2U);
  EXPECT_EQ(result->image.config.cmd, std::vector<std::string>{"/usr/bin/catalog"});
  EXPECT_EQ(result->image.config.env_value("PORT"), "80");
  EXPECT_TRUE(said("[catalog build 1/4] RUN apt-get install g++ (not built before)"));
}

TEST_F(BuilderTest, BuildsNothingTwice) {
  const auto first = build();
  ASSERT_TRUE(first);
  const auto second = build();
  ASSERT_TRUE(second);
  EXPECT_THAT(bench.log, IsEmpty());
  EXPECT_TRUE(second->cached);
  EXPECT_EQ(second->manifest, first->manifest);
  EXPECT_TRUE(said("[catalog 1/1] COPY --from=build /src/catalog /usr/bin/catalog: cached"));
  EXPECT_FALSE(said("apt-get"));  // the build stage is not even looked at
}

TEST_F(BuilderTest, SaysWhichFileMadeAStepMiss) {
  ASSERT_TRUE(build());
  checkout.write("catalog/main.cc", "int main() { return 1; }");
  const auto result = build();
  ASSERT_TRUE(result);
  EXPECT_THAT(bench.log,
              ElementsAre("copy  /src/", "run make", "copy src/catalog /usr/bin/catalog from layers"));
  EXPECT_EQ(why(*result, 4), "main.cc changed");
  EXPECT_EQ(why(*result, 6), "the step before changed");
}

TEST_F(BuilderTest, TakesNoNoticeOfTimes) {
  ASSERT_TRUE(build());
  std::filesystem::last_write_time(checkout.path() / "catalog/main.cc",
                                   std::filesystem::file_time_type::clock::now() + std::chrono::hours(5));
  ASSERT_TRUE(build());
  EXPECT_THAT(bench.log, IsEmpty());
}

TEST_F(BuilderTest, TakesNoNoticeOfIgnoredFiles) {
  checkout.write("catalog/.dockerignore", "*.md\n.dockerignore\nDockerfile\n");
  ASSERT_TRUE(build());
  checkout.write("catalog/README.md", "hello");
  ASSERT_TRUE(build());
  EXPECT_THAT(bench.log, IsEmpty());
}

TEST_F(BuilderTest, SharesTheCacheBetweenTheTestStageAndTheImage) {
  auto r = request();
  r.target = "test";
  ASSERT_TRUE(build(r));
  EXPECT_THAT(bench.log, ElementsAre("run apt-get install g++", "copy  /src/", "copy  /src/", "run make",
                                     "run make test"));
  ASSERT_TRUE(build());
  EXPECT_THAT(bench.log, ElementsAre("copy src/catalog /usr/bin/catalog from layers"));
}

TEST_F(BuilderTest, GivesNoManifestForATestStageThatIsNotThere) {
  checkout.write("catalog/Dockerfile", "FROM debian:bookworm-slim\n");
  auto r = request();
  r.target = "test";
  r.missing_target_is_fine = true;
  const auto result = build(r);
  ASSERT_TRUE(result);
  EXPECT_TRUE(result->manifest.empty());
  r.missing_target_is_fine = false;
  EXPECT_EQ(build(r).error().code, Code::dockerfile_invalid);
}

TEST_F(BuilderTest, MissesOnlyWhereAnArgumentIsSeen) {
  ASSERT_TRUE(build());
  auto r = request();
  r.args["ERROR_RATE"] = "0.3";
  const auto result = build(r);
  ASSERT_TRUE(result);
  EXPECT_THAT(bench.log, ElementsAre("run make", "copy src/catalog /usr/bin/catalog from layers"));
  EXPECT_EQ(why(*result, 6), "the argument ERROR_RATE changed");
}

TEST_F(BuilderTest, GivesProxiesToCommandsButNotToKeys) {
  auto r = request();
  r.proxy["https_proxy"] = "http://proxy:3128";
  bool seen = false;
  bench.on_run = [&](const RunRequest& run, const OutputCallback&, std::stop_token) -> Result<RunResult> {
    seen |= std::ranges::count(run.env, "https_proxy=http://proxy:3128") == 1;
    EXPECT_TRUE(run.host_mounts);
    return RunResult{};
  };
  const auto with = build(r);
  ASSERT_TRUE(with);
  EXPECT_TRUE(seen);
  EXPECT_FALSE(with->image.config.env_value("https_proxy"));
  ASSERT_TRUE(build());
  EXPECT_THAT(bench.log, IsEmpty());
  EXPECT_EQ(host_proxy_variables({"HTTP_PROXY=a", "no_proxy=b=c", "HOME=/", "x"}),
            (std::map<std::string, std::string>{{"HTTP_PROXY", "a"}, {"no_proxy", "b=c"}}));
}

TEST_F(BuilderTest, TellsAFailedCommandWithItsPlaceAndLastLines) {
  bench.on_run = [](const RunRequest& run, const OutputCallback& output,
                    std::stop_token) -> Result<RunResult> {
    if (run.argv.back() != "make") return RunResult{};
    for (int i = 0; i < 30; ++i) output(fmt::format("line {}\n", i));
    output("main.cc:1: err\x1b[31mor\x1b[0m \xff");
    return RunResult{2, false, false};
  };
  const auto result = build();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::build_step_failed);
  EXPECT_TRUE(
      result.error().context.starts_with("catalog/Dockerfile:6: RUN make: exit code 2\n  | line 11\n"))
      << result.error().context;
  EXPECT_THAT(result.error().context, HasSubstr("\n  | main.cc:1: error \xEF\xBF\xBD"));
  EXPECT_NO_THROW((void)Json(result.error().context).dump());
  EXPECT_TRUE(said("[catalog build 4/4]   line 29"));

  // What was done is done.
  bench.on_run = nullptr;
  ASSERT_TRUE(build());
  EXPECT_THAT(bench.log, ElementsAre("run make", "copy src/catalog /usr/bin/catalog from layers"));
}

TEST_F(BuilderTest, NamesTimeoutsAndMemory) {
  bench.on_run = [](const RunRequest&, const OutputCallback&, std::stop_token) -> Result<RunResult> {
    return RunResult{137, true, false};
  };
  EXPECT_EQ(build().error().code, Code::timeout);
  bench.on_run = [](const RunRequest&, const OutputCallback&, std::stop_token) -> Result<RunResult> {
    return RunResult{137, false, true};
  };
  EXPECT_THAT(build().error().context, HasSubstr("ran out of memory"));
  bench.on_run = [](const RunRequest&, const OutputCallback&, std::stop_token) -> Result<RunResult> {
    return RunResult{127, false, false};
  };
  EXPECT_THAT(std::string(build().error().hint()), HasSubstr("not found"));
}

TEST_F(BuilderTest, NamesABaseImageThatDoesNotExist) {
  checkout.write("catalog/Dockerfile", "FROM debain:bookworm\n");
  const auto result = build();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::base_image_missing);
  EXPECT_THAT(result.error().context, HasSubstr("catalog/Dockerfile:1: debain:bookworm: "));
}

TEST_F(BuilderTest, NamesAMissingDockerfileAndContext) {
  auto r = request();
  r.dockerfile = "Nothing";
  EXPECT_EQ(build(r).error().code, Code::dockerfile_missing);
  EXPECT_THAT(build(r).error().context, HasSubstr("catalog/Nothing"));
  r.context = "nowhere";
  EXPECT_EQ(build(r).error().code, Code::dockerfile_missing);
}

TEST_F(BuilderTest, StopsWhenAskedTo) {
  std::stop_source stopping;
  bench.on_run = [&](const RunRequest&, const OutputCallback&, std::stop_token stop) -> Result<RunResult> {
    stopping.request_stop();
    EXPECT_TRUE(stop.stop_requested());
    return RunResult{137, false, false};
  };
  EXPECT_EQ(build(request(), stopping.get_token()).error().code, Code::build_cancelled);
  EXPECT_EQ(build(request(), stopping.get_token()).error().code, Code::build_cancelled);
  EXPECT_THAT(bench.log, IsEmpty());
}

TEST_F(BuilderTest, RunsIndependentStagesSideBySide) {
  checkout.write("catalog/Dockerfile",
                 "FROM debian:bookworm-slim AS a\nRUN a\nFROM debian:bookworm-slim AS b\nRUN b\n"
                 "FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n");
  std::mutex mutex;
  std::condition_variable both;
  int inside = 0;
  bench.on_run = [&](const RunRequest&, const OutputCallback&, std::stop_token) -> Result<RunResult> {
    std::unique_lock lock(mutex);
    ++inside;
    both.notify_all();
    EXPECT_TRUE(both.wait_for(lock, 20s, [&] { return inside == 2; }));
    return RunResult{};
  };
  const auto result = build();
  ASSERT_TRUE(result) << result.error().context;
  EXPECT_EQ(result->image.layers.size(), 2U);
}

TEST_F(BuilderTest, RunsAStepOnceForBuildsThatComeToItTogether) {
  checkout.write("catalog/Dockerfile", "FROM debian:bookworm-slim\nRUN toolchain\n");
  std::atomic<int> runs = 0;
  bench.on_run = [&](const RunRequest&, const OutputCallback&, std::stop_token) -> Result<RunResult> {
    ++runs;
    return RunResult{};
  };
  std::vector<Digest> manifests(4);
  {
    std::vector<std::jthread> builds;
    for (std::size_t i = 0; i < manifests.size(); ++i)
      builds.emplace_back([&, i] {
        auto r = request();
        r.id = fmt::format("P{}_web", i);  // made fit for the launcher
        if (auto result = Builder(bench, images, *cache, clock).build(r, {})) manifests[i] = result->manifest;
      });
  }
  EXPECT_EQ(runs, 1);
  for (const Digest& manifest : manifests) EXPECT_TRUE(manifest == manifests[0] && !manifest.empty());
}

TEST_F(BuilderTest, StopsTheOtherStagesWhenOneFails) {
  checkout.write("catalog/Dockerfile",
                 "FROM debian:bookworm-slim AS a\nRUN a\nFROM debian:bookworm-slim AS b\nRUN b\n"
                 "FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n");
  std::mutex mutex;
  std::condition_variable_any stopped;
  bench.on_run = [&](const RunRequest& run, const OutputCallback&,
                     std::stop_token stop) -> Result<RunResult> {
    if (run.argv.back() == "a") return RunResult{3, false, false};
    std::unique_lock lock(mutex);
    stopped.wait_for(lock, stop, 20s, [] { return false; });
    EXPECT_TRUE(stop.stop_requested());
    return RunResult{137, false, false};
  };
  const auto result = build();
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().context, HasSubstr("RUN a: exit code 3"));
}

TEST_F(BuilderTest, MakesALayerAnewThatGarbageCollectionTook) {
  const auto first = build();
  ASSERT_TRUE(first);
  bench.blobs.erase(first->image.layers.back().blob);
  const auto second = build();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->manifest, first->manifest);
  EXPECT_EQ(why(*second, 10), "its result is no longer in the cache");
}

TEST_F(BuilderTest, GivesTheSameImageFromAnEmptyCache) {
  const auto first = build();
  cache.emplace(*StepCache::open(cache_folder.path() / "another"));
  const auto second = build();
  ASSERT_TRUE(first && second);
  EXPECT_FALSE(second->cached);
  EXPECT_EQ(first->manifest, second->manifest);
}

TEST_F(BuilderTest, LeavesOutLayersThatChangeNothing) {
  checkout.write("catalog/Dockerfile", "FROM debian:bookworm-slim\nRUN true\nRUN make\nLABEL a=b\n");
  bench.changes_nothing = {"run true"};
  const auto first = build();
  ASSERT_TRUE(first);
  ASSERT_EQ(first->image.layers.size(), 2U);
  ASSERT_EQ(first->image.config.history.size(), 3U);
  EXPECT_TRUE(first->image.config.history[0].empty_layer);
  EXPECT_FALSE(first->image.config.history[1].empty_layer);
  EXPECT_TRUE(first->image.config.history[2].empty_layer);
  const auto second = build();
  EXPECT_TRUE(second && second->cached);
}

TEST_F(BuilderTest, TakesADamagedCacheAsAnEmptyOne) {
  ASSERT_TRUE(build());
  for (const auto& entry : std::filesystem::recursive_directory_iterator(cache_folder.path()))
    if (entry.is_regular_file()) std::ofstream(entry.path()) << "{\"empty\": [1, \x01";
  const auto result = build();
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->cached);
}

TEST_F(BuilderTest, KeepsTheLayersOfInnerStages) {
  ASSERT_TRUE(build());
  EXPECT_EQ(cache->kept_manifests(clock.wall(), 1h).size(), 2U);
  EXPECT_THAT(cache->kept_manifests(clock.wall() + 2h, 1h), IsEmpty());
}

TEST(StepCache, ForgetsTheOldestBeyondItsBound) {
  TempFolder folder;
  const auto cache = *StepCache::open(folder.path());
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(cache.put(Digest::of_sha256(std::to_string(i)), {true, {}}));
  EXPECT_EQ(cache.trim(SystemClock().wall(), {.records = 5}, true), 15U);
  EXPECT_EQ(cache.trim(SystemClock().wall(), {.records = 5}), 15U);
  int left = 0;
  for (int i = 0; i < 20; ++i) left += cache.find(Digest::of_sha256(std::to_string(i))).has_value() ? 1 : 0;
  EXPECT_EQ(left, 5);
}

TEST(StepCache, ForgetsWhatWasUsedLongAgoAndWhatTakesTooMuchRoom) {
  TempFolder folder;
  const auto cache = *StepCache::open(folder.path());
  const auto key = [](int i) { return Digest::of_sha256(std::to_string(i)); };
  const auto used = [&](const char* kind, int i, std::chrono::hours ago) {
    std::filesystem::last_write_time(folder.path() / kind / (std::string(key(i).hex()) + ".json"),
                                     std::filesystem::file_time_type::clock::now() - ago);
  };
  for (int i = 0; i < 6; ++i) {  // the last two are of one layer
    const Digest layer = Digest::of_sha256(fmt::format("layer {}", std::min(i, 4)));
    ASSERT_TRUE(cache.put(key(i), {false, {layer, layer, "", 100}}));
    ASSERT_TRUE(cache.keep_stage(key(i), layer));
    used("steps", i, std::chrono::hours(i + 1));
    used("stages", i, std::chrono::hours(i + 1));
  }
  const WallTime now = SystemClock().wall();
  EXPECT_EQ(cache.trim(now, {.bytes = 500}), 0U) << "a layer counts once";
  EXPECT_EQ(cache.trim(now, {.age = 5h + 30min}), 2U) << "one step and one stage";
  EXPECT_EQ(cache.trim(now, {.bytes = 300}), 4U) << "two steps, and the stages that are no younger";
  EXPECT_EQ(cache.kept_manifests(now, 24h).size(), 3U);
  EXPECT_TRUE(cache.find(key(2)));
  EXPECT_FALSE(cache.find(key(3)));
}

}  // namespace
}  // namespace naru::build
