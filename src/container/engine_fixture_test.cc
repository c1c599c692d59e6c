#include "container/engine_fixture_test.h"

#include <poll.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>

#include "base/rng.h"

namespace naru::container {

std::filesystem::path EngineTest::base_layer;

void EngineTest::SetUpTestSuite() {
  base_layer = std::filesystem::temp_directory_path() / ("naru-layer-" + secure_random_hex(6));
  const std::string script = R"sh(
set -e
cd "$LAYER"
mkdir -p usr/bin usr/lib usr/lib64 etc tmp root var/data proc sys dev
ln -s usr/bin bin; ln -s usr/lib lib; ln -s usr/lib64 lib64
for program in sh cat ls id sleep mount unshare head hostname dd env stat readlink mknod touch chmod perl tty mkdir wc tr grep; do
  path=$(readlink -f "$(command -v $program)")
  cp "$path" usr/bin/$program
  for lib in $(ldd "$path" | grep -o '/[^ ]*'); do mkdir -p ".$(dirname $lib)"; cp -Ln "$lib" ".$lib" 2>/dev/null || true; done
done
printf 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n' > etc/passwd
printf 'root:x:0:\napp:x:1000:\nextra:x:2000:app\n' > etc/group
printf 'not a program' > usr/bin/plain; printf '\177ELFgarbage' > usr/bin/broken; chmod 755 usr/bin/broken
printf '#!/proc/self/exe\n' > usr/bin/magic; chmod 755 usr/bin/magic
chown 1000:1000 var/data; chmod 750 var/data
)sh";
  std::filesystem::create_directories(base_layer);
  ::setenv("LAYER", base_layer.c_str(), 1);
  ASSERT_EQ(std::system(("bash -c '" +
                         [&] {
                           std::string quoted;
                           for (const char c : script)
                             quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
                           return quoted;
                         }() +
                         "'")
                            .c_str()),
            0);
}

void EngineTest::TearDownTestSuite() {
  std::filesystem::remove_all(base_layer);
}

void EngineTest::SetUp() {
  data = std::filesystem::temp_directory_path() / ("naru-engine-" + secure_random_hex(6));
  std::filesystem::create_directories(data / "layers");
  std::filesystem::create_directory_symlink(base_layer, data / "layers" / layer_digest().hex());
  reopen();
  ASSERT_TRUE(engine);
}

void EngineTest::TearDown() {
  if (engine) {
    for (const ContainerStatus& status : engine->list()) {
      EXPECT_TRUE(engine->stop(status.id, 0ms));
      EXPECT_TRUE(engine->remove(status.id));
    }
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(data / "containers"), {}), 2)
        << "beside .lock and .key a bundle was left behind";
  }
  engine.reset();
  const auto layout = os::cgroup_layout(os::read_file("/proc/self/mountinfo", 1 << 20).value(),
                                        os::read_file("/proc/self/cgroup", 1 << 20).value());
  const auto groups = os::Cgroups::open(*layout, "naru-" + Digest::of_sha256(data.native()).short_hex());
  EXPECT_TRUE(groups->ids("apps").empty());
  EXPECT_TRUE(groups->ids("builds").empty());
  groups->remove_parents();
  const std::string mounts = os::read_file("/proc/self/mountinfo", 1 << 20).value();
  EXPECT_EQ(mounts.find(data.native()), std::string::npos) << "a mount was left behind";
  std::filesystem::remove_all(data);
}

void EngineTest::reopen() {
  engine.reset();
  auto opened = Engine::open(Paths::under(data));
  ASSERT_TRUE(opened) << opened.error().message();
  engine = std::move(*opened);
}

ContainerSpec EngineTest::shell(const std::string& script) const {
  ContainerSpec spec;
  spec.id = fmt::format("c{}", ++serial);
  spec.hostname = "inside";
  spec.layers = {layer_digest()};
  spec.argv = {"sh", "-c", script};
  spec.stop_grace = 300ms;
  return spec;
}

ContainerStatus EngineTest::wait(const RunningContainer& container) {
  EXPECT_TRUE(os::pidfd_wait(container.pidfd.get(), 60s).value_or(false)) << "the container did not end";
  auto status = engine->settle(container.status.id);
  EXPECT_TRUE(status);
  return status.value_or(ContainerStatus{});
}

ContainerStatus EngineTest::run(const ContainerSpec& spec, const StartOptions& options) {
  auto started = engine->start(spec, options);
  EXPECT_TRUE(started) << started.error().message();
  return started ? wait(*started) : ContainerStatus{};
}

std::string EngineTest::log(const std::string& id, std::string_view stream) const {
  std::ifstream file(data / "logs" / id / "current.log");
  std::string line, text;
  while (std::getline(file, line)) {
    const auto first = line.find(' '), second = line.find(' ', first + 1);
    if (line.substr(first + 1, second - first - 1) == stream) text += line.substr(second + 1) + "\n";
  }
  return text;
}

bool EngineTest::eventually(const std::function<bool()>& condition) const {
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    ::poll(nullptr, 0, 5);
  }
  return true;
}

std::string EngineTest::exec(const std::string& id, const ExecSpec& spec, int* exit_code) {
  auto started = engine->exec(id, spec);
  EXPECT_TRUE(started) << started.error().message();
  if (!started) return {};
  started->in.reset();
  std::string text;
  char chunk[4096];
  for (ssize_t got = 1; got > 0;) {
    got = ::read(spec.tty ? started->pty.get() : started->out.get(), chunk, sizeof chunk);
    if (got > 0) text.append(chunk, static_cast<std::size_t>(got));
  }
  EXPECT_TRUE(os::pidfd_wait(started->pidfd.get(), 60s).value_or(false));
  const auto code = engine->finish_exec(started->id);
  EXPECT_TRUE(code && *code);
  if (exit_code != nullptr && code && *code) *exit_code = **code;
  return text;
}

}  // namespace naru::container
