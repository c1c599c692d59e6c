// What a container shares with nobody, and what of the processor it may take.
#include <unistd.h>

#include <fstream>

#include "container/engine_fixture_test.h"

namespace naru::container {
namespace {

TEST_F(EngineTest, HasNamespacesOfItsOwn) {
  const std::string show = "for n in cgroup ipc mnt net pid uts; do readlink /proc/self/ns/$n; done";
  const std::string one = log(run(shell(show)).id), other = log(run(shell(show)).id);
  std::istringstream lines(one), others(other);
  for (const char* name : {"cgroup", "ipc", "mnt", "net", "pid", "uts"}) {
    std::string inside, beside;
    std::getline(lines, inside);
    std::getline(others, beside);
    ASSERT_TRUE(inside.starts_with(name)) << one;
    EXPECT_NE(inside, std::filesystem::read_symlink(std::string("/proc/self/ns/") + name)) << "the host's";
  }
}

// What is left in shared memory and queues of System V is neither the host's nor the next container's.
TEST_F(EngineTest, SharesNoMemoryOrQueuesWithOthers) {
  const auto made =
      run(shell("perl -e 'defined shmget(4711, 4096, 01666) && defined msgget(4711, 01666) or die qq($!\\n)';"
                "wc -l < /proc/sysvipc/shm; wc -l < /proc/sysvipc/msg"));
  EXPECT_EQ(log(made.id), "2\n2\n") << log(made.id, "stderr");
  const auto next = run(shell("wc -l < /proc/sysvipc/shm; wc -l < /proc/sysvipc/msg"));
  EXPECT_EQ(log(next.id), "1\n1\n") << "only the heading of each";
  std::ifstream host("/proc/sysvipc/shm");
  std::string line;
  while (std::getline(host, line)) EXPECT_EQ(line.find(" 4711 "), std::string::npos) << line;
}

TEST_F(EngineTest, HoldsACpuLimit) {
  auto spec = shell("while :; do :; done");
  spec.resources.cpu_millis = 50;
  const auto started = engine->start(spec);
  ASSERT_TRUE(started) << started.error().message();
  const auto layout = os::cgroup_layout(os::read_file("/proc/self/mountinfo", 1 << 20).value(),
                                        os::read_file("/proc/self/cgroup", 1 << 20).value());
  ASSERT_TRUE(layout);
  const std::string name = "naru-" + Digest::of_sha256(data.native()).short_hex();
  const auto cpu = std::ranges::find_if(layout->hierarchies, &os::CgroupHierarchy::cpu);
  if (cpu == layout->hierarchies.end()) {
    EXPECT_FALSE(engine->notices().empty()) << "it says that it cannot hold CPU limits";
    return;
  }
  const std::string group = fmt::format("{}/{}/apps/{}/", cpu->base, name, spec.id);
  const auto value = [&](const char* file) { return os::read_file(group + file, 4096).value_or("absent"); };
  if (cpu->v2) {
    EXPECT_EQ(value("cpu.max"), "5000 100000\n");
  } else {
    EXPECT_EQ(value("cpu.cfs_quota_us"), "5000\n");
    EXPECT_EQ(value("cpu.cfs_period_us"), "100000\n");
  }
  // It wants a whole CPU: the kernel holds it up.
  EXPECT_TRUE(eventually([&] { return value("cpu.stat").find("nr_throttled 0\n") == std::string::npos; }))
      << value("cpu.stat");
  EXPECT_NE(value("cpu.stat").find("nr_throttled"), std::string::npos);
}

}  // namespace
}  // namespace naru::container
