#include "control/how_built.h"

#include <gtest/gtest.h>

namespace naru::control {
namespace {

TEST(HowBuilt, IsUnchangedOnlyWhenTheLastReleaseHadTheSameImage) {
  State state;
  const auto release = [&](std::uint64_t version, PipelineId pipeline, const std::string& image,
                           std::string_view environment = kProduction) {
    Release made;
    made.id = state.releases.size() + 1;
    made.app = "shop";
    made.environment = environment;
    made.version = version;
    made.pipeline = pipeline;
    made.services.resize(1);
    made.services[0].spec.name = "web";
    made.services[0].image.manifest = Digest::of_sha256(image);
    state.releases[made.id] = made;
  };
  Pipeline pipeline;
  pipeline.app = "shop";
  pipeline.id = 5;
  ServiceSpec web;
  web.name = "web";
  const Digest one = Digest::of_sha256("one");
  EXPECT_EQ(how_built(state, pipeline, web, one, false), "pulled");
  EXPECT_EQ(how_built(state, pipeline, web, one, true), "here already");
  web.build.emplace();
  EXPECT_EQ(how_built(state, pipeline, web, one, false), "built");
  EXPECT_EQ(how_built(state, pipeline, web, one, true), "layers cached") << "there was no release";
  release(1, 2, "one");
  EXPECT_EQ(how_built(state, pipeline, web, one, true), "unchanged");
  EXPECT_EQ(how_built(state, pipeline, web, one, false), "built");
  // Back to the first commit: nothing is built, but the image is another one than the last release's.
  release(2, 4, "two");
  EXPECT_EQ(how_built(state, pipeline, web, one, true), "layers cached");
  // Its own release, another environment's and a later pipeline's are not "before".
  release(3, 5, "one");
  release(3, 4, "one", "staging");
  release(4, 6, "one");
  EXPECT_EQ(how_built(state, pipeline, web, one, true), "layers cached");
}

}  // namespace
}  // namespace naru::control
