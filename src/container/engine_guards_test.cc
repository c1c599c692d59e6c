// What a container may not do to its host, and a slow one not to the others.
#include <atomic>
#include <thread>

#include "container/bundle.h"
#include "container/engine_fixture_test.h"

namespace naru::container {
namespace {

TEST_F(EngineTest, StandsInAGroupThatLetsItOpenTheUsualDevicesAlone) {
  const auto layout = os::cgroup_layout(os::read_file("/proc/self/mountinfo", 1 << 20).value(),
                                        os::read_file("/proc/self/cgroup", 1 << 20).value());
  const auto found = std::ranges::find_if(layout->hierarchies, &os::CgroupHierarchy::devices);
  if (found == layout->hierarchies.end()) GTEST_SKIP() << "no devices controller of cgroup v1";
  const auto spec = shell("sleep 60");
  ASSERT_TRUE(engine->start(spec));
  const std::string list = os::read_file(fmt::format("{}/naru-{}/apps/{}/devices.list", found->base,
                                                     Digest::of_sha256(data.native()).short_hex(), spec.id),
                                         4096)
                               .value();
  EXPECT_EQ(list,
            "c *:* m\nb *:* m\nc 1:3 rwm\nc 1:5 rwm\nc 1:7 rwm\nc 1:8 rwm\nc 1:9 rwm\nc 5:0 rwm\n"
            "c 5:2 rwm\nc 136:* rwm\n");
}

// The attack: a container appends to them until the host's disk is full.
TEST_F(EngineTest, ItsHostsFileIsWritableButBoundedAndNotOnTheDisk) {
  const auto status =
      run(shell("echo 10.0.0.9 other >> /etc/hosts && grep -c other /etc/hosts; stat -c %a /etc/hostname;"
                "for f in hosts resolv.conf hostname; do head -c 10000000 /dev/zero >> /etc/$f; done;"
                "test $(cat /etc/hosts /etc/resolv.conf /etc/hostname | wc -c) -lt 200000 && echo bounded;"
                "ls -a /dev | grep -c naru"));
  EXPECT_EQ(log(status.id), "1\n644\nbounded\n0\n") << log(status.id, "stderr");
  EXPECT_NE(log(status.id, "stderr").find("No space left on device"), std::string::npos);
  for (const char* name : {"hosts", "resolv.conf", "hostname"})
    EXPECT_FALSE(std::filesystem::exists(data / "containers" / status.id / name)) << name;
}

TEST_F(EngineTest, VariablesLieSealedOnTheDiskAndAreThereAfterAdoption) {
  auto spec = shell("echo $SECRET; sleep 60");
  spec.env = {"SECRET=hunter-and-gatherer", "EMPTY=", "LINES=a\nb"};
  ASSERT_TRUE(engine->start(spec));
  for (const auto& entry : std::filesystem::directory_iterator(data / "containers" / spec.id))
    if (entry.is_regular_file()) {
      EXPECT_EQ(os::read_file(entry.path(), 1 << 20)->find("hunter"), std::string::npos) << entry.path();
    }
  reopen();
  ASSERT_EQ(engine->adopt()->size(), 1U);
  EXPECT_EQ(exec(spec.id, {{"sh", "-c", "echo \"$SECRET,$EMPTY,$LINES\""}, {}, "", "", false}),
            "hunter-and-gatherer,,a\nb\n");
  // Of an older Naru: they stand in the specification.
  EXPECT_EQ(engine->spec(spec.id)->env, spec.env);
  const Bundle bundle(data / "containers" / spec.id);
  ASSERT_TRUE(bundle.write(kSpecFile, spec));
  std::filesystem::remove(bundle.file(kVariablesFile));
  reopen();
  ASSERT_EQ(engine->adopt()->size(), 1U);
  EXPECT_EQ(engine->spec(spec.id)->env, spec.env);
}

// /patched has an interpreter under a lease (fcntl F_SETLEASE): an exec of it holds its container for a
// second.
TEST_F(EngineTest, ListsWhileAContainerIsHeldAndKillsWhatDoesNotBegin) {
  const auto started = engine->start(shell(R"sh(
    loader=$(perl -0777 -ne 'print $1 if m{(/lib[^\0]*/ld-[^\0]*)\0}' /usr/bin/cat)
    other=$(echo "$loader" | head -c -2)x
    cat "$loader" > "$other"
    perl -0777 -pe 's{(/lib[^\0]*/ld-[^\0]*)[^\0]\0}{${1}x\0}' /usr/bin/cat > /patched
    chmod 755 /patched "$other"
    exec perl -e '$SIG{IO} = "IGNORE"; open($f, "<", $ARGV[0]) or die; fcntl($f, 1024, 1) or die $!;
                  $| = 1; print "leased\n"; sleep 1000' "$other"
  )sh"));
  ASSERT_TRUE(started) << started.error().message();
  const std::string id = started->status.id;
  ASSERT_TRUE(eventually([&] { return log(id) == "leased\n"; })) << log(id, "stderr");
  ExecSpec patched;
  patched.argv = {"/patched", "/etc/passwd"};
  std::atomic<bool> over = false;
  std::thread held([&] {
    EXPECT_FALSE(engine->exec(id, patched));
    over = true;
  });
  auto longest = 0ns;
  int lists = 0;
  while (!over) {
    const auto began = std::chrono::steady_clock::now();
    ASSERT_EQ(engine->list().size(), 1U);
    EXPECT_EQ(engine->layers_in_use().size(), 1U);
    longest = std::max(longest, std::chrono::steady_clock::now() - began);
    ++lists;
  }
  held.join();
  EXPECT_GT(lists, 10);
  EXPECT_LT(longest, 500ms);

  engine.reset();
  EngineOptions hasty;
  hasty.spawn_patience = 50ms;
  engine = Engine::open(Paths::under(data), hasty).value();
  ASSERT_EQ(engine->adopt()->size(), 1U);
  const auto killed = engine->exec(id, patched);
  ASSERT_FALSE(killed);
  EXPECT_NE(killed.error().message().find("had not begun after"), std::string::npos)
      << killed.error().message();
  reopen();
  ASSERT_EQ(engine->adopt()->size(), 1U);
  EXPECT_EQ(exec(id, {{"cat", "/etc/hostname"}, {}, "", "", false}), "inside\n");
}

}  // namespace
}  // namespace naru::container
