#include "os/cgroup.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/rng.h"
#include "os/file.h"

namespace naru::os {
namespace {

TEST(CgroupLayout, ReadsV2) {
  const auto layout = cgroup_layout("29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
                                    "0::/system.slice/naru.service\n");
  ASSERT_TRUE(layout);
  EXPECT_EQ(layout->mode, "v2");
  ASSERT_EQ(layout->hierarchies.size(), 1u);
  EXPECT_EQ(layout->hierarchies[0].base, "/sys/fs/cgroup/system.slice/naru.service");
}

TEST(CgroupLayout, ReadsHybridWithControllersMountedTogetherAndAnOuterContainer) {
  const auto layout = cgroup_layout(
      "30 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
      "31 30 0:28 /docker/abc /sys/fs/cgroup/memory rw master:5 - cgroup cgroup rw,memory\n"
      "32 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
      "33 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
      "34 30 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
      "9:name=systemd:/x\n4:memory:/docker/abc/in\n2:cpu,cpuacct:/a\n0::/\n");
  ASSERT_TRUE(layout);
  EXPECT_EQ(layout->mode, "hybrid");
  ASSERT_EQ(layout->hierarchies.size(), 2u);
  EXPECT_EQ(layout->hierarchies[0].base, "/sys/fs/cgroup/memory/in");
  EXPECT_TRUE(layout->hierarchies[0].memory);
  EXPECT_EQ(layout->hierarchies[1].base, "/sys/fs/cgroup/cpu,cpuacct/a");
  EXPECT_TRUE(layout->hierarchies[1].cpu && layout->hierarchies[1].cpuacct);
}

TEST(CgroupLayout, RefusesGarbageAndSurvivesIt) {
  EXPECT_EQ(cgroup_layout("not a mount\n", "0::/\n").error().code, Code::malformed);
  EXPECT_EQ(cgroup_layout("", "nonsense\n").error().code, Code::malformed);
  EXPECT_EQ(cgroup_layout("", "")->mode, "none");
  Rng rng(3);
  for (int round = 0; round < 500; ++round) {
    std::string mounts, groups;
    for (std::uint64_t i = rng.below(200); i > 0; --i) mounts += " /-cgroup2,:\n01"[rng.below(15)];
    for (std::uint64_t i = rng.below(60); i > 0; --i) groups += "0:/,a\n"[rng.below(6)];
    [[maybe_unused]] const auto any = cgroup_layout(mounts, groups);
  }
}

TEST(Cgroups, SharesMemoryOutSoThatTheHostKeepsSome) {
  for (const std::uint64_t total : {1ULL << 30, 2ULL << 30, 24ULL << 30, 1ULL << 40}) {
    const MemoryShares shares = memory_shares(total);
    EXPECT_GE(total - shares.apps, 256ULL << 20);
    EXPECT_LE(total - shares.apps, 2ULL << 30);
    EXPECT_LE(shares.builds, shares.apps / 2);
    EXPECT_LT(shares.build_step, shares.builds);
    EXPECT_GT(shares.build_step, 256ULL << 20);
  }
  EXPECT_EQ(memory_shares(0).apps, 0u);
  EXPECT_EQ(memory_shares(300 << 20).apps, 0u);
}

TEST(Cgroups, WhatOurOwnGroupMayUseBoundsTheShares) {
  const auto root = std::filesystem::temp_directory_path() / ("naru-cgroup-" + secure_random_hex(6));
  std::filesystem::create_directories(root);
  std::ofstream(root / "memory.max") << "1073741824\n";
  EXPECT_EQ(usable_memory({"v2", {{true, true, true, true, true, false, root}}}), 1U << 30);
  std::ofstream(root / "memory.max") << "max\n";
  EXPECT_GT(usable_memory({"v2", {{true, true, true, true, true, false, root}}}), 1U << 30);
  std::ofstream(root / "memory.stat") << "cache 1\nhierarchical_memory_limit 536870912\n";
  EXPECT_EQ(usable_memory({"v1", {{false, true, false, false, false, false, root}}}), 512U << 20);
  std::filesystem::remove_all(root);
}

// However many containers there are, and each within its own bound: the host can start a process.
TEST(Cgroups, SharesProcessesOutSoThatTheHostKeepsSome) {
  for (const std::uint64_t total : {512U, 4096U, 32'768U, 4'194'304U}) {
    const ProcessShares shares = process_shares(total);
    EXPECT_GT(shares.apps, shares.builds);
    EXPECT_GT(shares.builds, 0U);
    EXPECT_LE(shares.apps + shares.builds, total - total / 4);
  }
  EXPECT_EQ(process_shares(0).apps, 0U);
  EXPECT_EQ(process_shares(100).builds, 0U);
}

TEST(Cgroups, TheLeastBoundOfProcessesCounts) {
  const auto root = std::filesystem::temp_directory_path() / ("naru-cgroup-" + secure_random_hex(6));
  std::filesystem::create_directories(root / "kernel");
  std::ofstream(root / "kernel/pid_max") << "32768\n";
  std::ofstream(root / "kernel/threads-max") << "191000\n";
  std::ofstream(root / "pids.max") << "max\n";
  EXPECT_EQ(usable_processes({"v2", {{true, true, true, true, true, false, root}}}, root), 32'768U);
  std::ofstream(root / "pids.max") << "9000\n";
  EXPECT_EQ(usable_processes({"v2", {{true, true, true, true, true, false, root}}}, root), 9000U);
  EXPECT_EQ(usable_processes({"v1", {{false, true, false, false, false, false, root}}}, root), 32'768U);
  EXPECT_EQ(usable_processes({"none", {}}, root / "absent"), 0U);
  EXPECT_GT(usable_processes({"none", {}}), 0U);
  std::filesystem::remove_all(root);
}

TEST(Cgroups, WritesTheLimitsThatV1Wants) {
  const auto root = std::filesystem::temp_directory_path() / ("naru-cgroup-" + secure_random_hex(6));
  CgroupLayout layout{"v1",
                      {{false, true, false, false, false, false, root / "memory"},
                       {false, false, false, false, true, false, root / "pids"},
                       {false, false, false, false, false, true, root / "devices"}}};
  auto groups = Cgroups::open(layout, "naru-test", {memory_shares(8ULL << 30), process_shares(32'768)}, true);
  ASSERT_TRUE(groups) << groups.error().message();
  const auto value = [&](const char* file) { return read_file(root / file, 100).value_or("absent"); };
  EXPECT_EQ(value("memory/naru-test/apps/memory.limit_in_bytes"), "7516192768");
  EXPECT_EQ(value("pids/naru-test/apps/pids.max"), "16384");
  EXPECT_EQ(value("pids/naru-test/builds/pids.max"), "8192");
  EXPECT_EQ(value("memory/naru-test/apps/pids.max"), "absent");
  std::vector<std::string> notices;
  ASSERT_TRUE(groups->create("apps", "web-1", {64 << 20, 1500, 100}, notices));
  EXPECT_TRUE(notices.empty());
  EXPECT_EQ(value("pids/naru-test/apps/web-1/pids.max"), "100");
  EXPECT_EQ(value("devices/naru-test/apps/web-1/devices.deny"), "a");
  EXPECT_EQ(value("devices/naru-test/apps/web-1/devices.allow"), "c 136:* rwm") << "the last of a list";
  EXPECT_EQ(value("devices/naru-test/apps/devices.deny"), "absent");
  for (const std::string& notice : groups->notices()) EXPECT_EQ(notice.find("device"), std::string::npos);
  std::filesystem::remove_all(root);
}

TEST(Cgroups, WritesTheLimitsThatV2Wants) {
  const auto root = std::filesystem::temp_directory_path() / ("naru-cgroup-" + secure_random_hex(6));
  std::filesystem::create_directories(root);
  CgroupLayout layout{"v2", {{true, true, true, true, true, false, root}}};
  auto groups = Cgroups::open(layout, "naru-test", {memory_shares(8ULL << 30), process_shares(32'768)}, true);
  ASSERT_TRUE(groups) << groups.error().message();
  std::vector<std::string> notices;
  const auto group = groups->create("apps", "web-1", {64 << 20, 1500, 100}, notices);
  ASSERT_TRUE(group);
  EXPECT_TRUE(notices.empty());
  const auto value = [&](const char* file) {
    return read_file(root / "naru-test" / file, 100).value_or("absent");
  };
  EXPECT_EQ(value("apps/web-1/memory.max"), "67108864");
  EXPECT_EQ(value("apps/web-1/cpu.max"), "150000 100000");
  EXPECT_EQ(value("apps/web-1/pids.max"), "100");
  EXPECT_EQ(value("apps/cpu.weight"), "100");
  EXPECT_EQ(value("builds/cpu.weight"), "20");
  EXPECT_EQ(value("apps/memory.max"), "7516192768");
  EXPECT_EQ(value("builds/memory.max"), "3758096384");
  EXPECT_EQ(value("builds/memory.swap.max"), "0");
  EXPECT_EQ(value("apps/pids.max"), "16384");
  EXPECT_EQ(value("builds/pids.max"), "8192");
  EXPECT_EQ(groups->ids("apps"), std::vector<std::string>{"web-1"});
  EXPECT_EQ(std::ranges::count_if(groups->notices(),
                                  [](const std::string& n) { return n.contains("no filter of cgroup v2"); }),
            1);
  std::ofstream(root / "naru-test/apps/web-1/memory.events") << "low 0\noom 3\noom_kill 2\n";
  std::ofstream(root / "naru-test/apps/web-1/cpu.stat") << "usage_usec 123\n";
  EXPECT_EQ(group->usage().oom_kills, 2u);
  EXPECT_EQ(group->usage().cpu_usec, 123u);
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace naru::os
