#include "os/mount.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/rng.h"
#include "os/file.h"

namespace naru::os {
namespace {

class OverlayTest : public testing::TestWithParam<bool> {};

TEST_P(OverlayTest, JoinsManyLayersTopmostFirst) {
  const auto folder = std::filesystem::temp_directory_path() / ("naru-overlay-" + secure_random_hex(6));
  OverlayLayers layers{{}, folder / "upper", folder / "work"};
  for (int i = 0; i < 60; ++i) {
    const auto layer = folder / fmt::format("layer-with-a-long-name-{:064}", i);
    std::filesystem::create_directories(layer);
    std::ofstream(layer / "top") << i;
    std::ofstream(layer / fmt::format("only-{}", i)) << i;
    layers.lower.push_back(layer);
  }
  for (const char* name : {"upper", "work", "place"}) std::filesystem::create_directories(folder / name);
  {
    const auto mount = overlay_mount(layers, 0, folder / "place", GetParam());
    ASSERT_TRUE(mount) << mount.error().message();
    const auto read = [&](const std::string& name) {
      return read_fd(open_in_root(mount->get(), name, O_RDONLY).value().get(), 100, name).value();
    };
    EXPECT_EQ(read("/top"), "0");
    EXPECT_EQ(read("/only-59"), "59");
  }
  EXPECT_EQ(read_file("/proc/self/mountinfo", 1 << 20).value().find(folder.native()), std::string::npos);
  std::filesystem::remove_all(folder);
}
INSTANTIATE_TEST_SUITE_P(NewAndOldKernels, OverlayTest, testing::Bool());

TEST(Mount, ExplainsWhatTheKernelRefuses) {
  const auto missing = overlay_mount({{"/no/such/layer"}, "", ""}, 0, "/tmp");
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message().find("/no/such/layer"), std::string::npos) << missing.error().message();
}

}  // namespace
}  // namespace naru::os
