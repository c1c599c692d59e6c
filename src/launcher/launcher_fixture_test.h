// For tests: the launcher as its own process, in a network namespace of the test's, with real containers.
// Needs root.
#pragma once

#include "launcher/launcher.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <fstream>
#include <mutex>

#include "base/rng.h"
#include "build/workbench.h"
#include "container/engine.h"
#include "ipc/channel.h"
#include "ipc/launcher_client.h"
#include "ipc/launcher_protocol.h"
#include "os/cgroup.h"
#include "os/file.h"
#include "os/netlink.h"
#include "os/process.h"

namespace naru::launcher {

namespace fs = std::filesystem;

// A layer with a shell and some tools of the host.
inline void make_base_layer(const fs::path& layer) {
  fs::create_directories(layer);
  const std::string script = "set -e; cd " + layer.string() + R"sh(
mkdir -p usr/bin usr/lib usr/lib64 etc tmp root proc sys dev run
ln -s usr/bin bin; ln -s usr/lib lib; ln -s usr/lib64 lib64
for program in sh cat ls sleep mkdir; do
  path=$(readlink -f "$(command -v $program)")
  cp "$path" usr/bin/$program
  ldd "$path" | grep -o "/[^ ]*" | while read lib; do mkdir -p ".$(dirname $lib)"; cp -Ln "$lib" ".$lib" 2>/dev/null || true; done
done
echo root:x:0:0:root:/root:/bin/sh > etc/passwd; echo root:x:0: > etc/group)sh";
  ASSERT_EQ(std::system(("bash -c '" + script + "'").c_str()), 0);
}

class LauncherTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // as `naru up`: containers of a killed launcher become ours
    base = "/tmp/naru-launcher-base-" + secure_random_hex(4);
    make_base_layer(base);
  }
  static void TearDownTestSuite() { fs::remove_all(base); }

  void SetUp() override {
    data = "/tmp/naru-launcher-" + secure_random_hex(4);
    for (const char* part : {"layers", "checkouts", "images/blobs/sha256", "images/.tmp"})
      fs::create_directories(data / part);
    std::ofstream(data / "images/oci-layout") << R"({"imageLayoutVersion":"1.0.0"})";
    std::ofstream(data / "images/index.json") << R"({"schemaVersion":2,"manifests":[]})";
    // A layer is a folder of root's; here the suite's own, shared.
    fs::create_directory_symlink(base, data / "layers" / base_digest().hex());
    auto space = os::create_network_namespace();
    ASSERT_TRUE(space) << "needs root";
    host = std::move(space->fd);
    auto listening = ipc::listen_unix((data / "launcher.sock").string());
    ASSERT_TRUE(listening);
    listener = std::move(*listening);
    start_launcher();
    client = ipc::LauncherClient::open({(data / "launcher.sock").string(), [this](const Json& event) {
                                          const std::scoped_lock lock(mutex);
                                          events.push_back(event);
                                          changed.notify_all();
                                        }});
  }

  void TearDown() override {
    if (auto containers = client->list())
      for (const ContainerStatus& status : *containers) {
        EXPECT_TRUE(client->stop(status.id, 0ms));
        EXPECT_TRUE(client->remove(status.id));
      }
    client.reset();
    kill_launcher(SIGTERM);
    const auto layout = os::cgroup_layout(os::read_file("/proc/self/mountinfo", 1 << 20).value(),
                                          os::read_file("/proc/self/cgroup", 1 << 20).value());
    const auto groups = os::Cgroups::open(*layout, "naru-" + Digest::of_sha256(data.native()).short_hex());
    EXPECT_TRUE(groups->ids("apps").empty());
    EXPECT_TRUE(groups->ids("builds").empty());
    groups->remove_parents();
    EXPECT_EQ(os::read_file("/proc/self/mountinfo", 1 << 20).value().find(data.native()), std::string::npos);
    fs::remove_all(data);
  }

  void start_launcher() {
    launcher = ::fork();
    ASSERT_GE(launcher, 0);
    if (launcher != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::setns(host.get(), CLONE_NEWNET) != 0) ::_exit(2);
    LauncherOptions options;
    options.data = data.string();
    options.listen_fd = listener.get();
    options.allowed_uid = kControl;
    ::_exit(run(options));
  }
  void kill_launcher(int signal) {
    ::kill(launcher, signal);
    int status = 0;
    EXPECT_EQ(::waitpid(launcher, &status, 0), launcher);
    if (signal != SIGKILL) {
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
  }
  // The first event that fits, waiting for it.
  Json event(const std::string& kind, const std::string& key = "", const std::string& value = "") {
    std::unique_lock lock(mutex);
    Json found;
    EXPECT_TRUE(changed.wait_for(lock, 60s,
                                 [&] {
                                   for (const Json& each : events) {
                                     if (each.value("event", "") != kind) continue;
                                     const Json& holder = kind == "container_exited" ? each["status"] : each;
                                     if (!key.empty() && holder.value(key, "") != value) continue;
                                     found = each;
                                     return true;
                                   }
                                   return false;
                                 }))
        << kind << " " << value;
    return found;
  }

  // A connection as control's, which is not root: the kernel says so.
  ipc::Channel connect_as_control() const {
    const auto path = data / "launcher.sock";
    EXPECT_EQ(::chown(path.c_str(), kControl, kControl), 0);
    EXPECT_EQ(::syscall(SYS_setresuid, -1, kControl, -1), 0);  // of this thread alone
    auto channel = ipc::Channel::connect(path.string());
    EXPECT_EQ(::syscall(SYS_setresuid, -1, 0, -1), 0);
    EXPECT_TRUE(channel) << channel.error().message();
    return std::move(*channel);
  }
  static Json answer_of(ipc::Channel& channel, Json request) {
    request["id"] = 1;
    EXPECT_TRUE(channel.send(request, 10s));
    while (auto message = channel.receive(10s))
      if (message->body.contains("id")) return message->body;
    return {};
  }

  static constexpr unsigned kControl = 65534;
  static Digest base_digest() { return Digest::of_sha256("launcher test base"); }
  ContainerSpec shell(const std::string& id, const std::string& script) const {
    ContainerSpec spec;
    spec.id = id;
    spec.hostname = "test";
    spec.layers = {base_digest()};
    spec.argv = {"/bin/sh", "-c", script};
    spec.env = {"PATH=/usr/bin"};
    return spec;
  }
  static std::string read_all(int fd) {
    std::string text;
    char buffer[4096];
    for (ssize_t got = ::read(fd, buffer, sizeof buffer); got > 0; got = ::read(fd, buffer, sizeof buffer))
      text.append(buffer, static_cast<std::size_t>(got));
    return text;
  }
  std::pair<std::int32_t, std::string> build_run(const std::string& build, const std::string& script) {
    build::RunRequest request;
    request.build = build;
    request.argv = {"/bin/sh", "-c", script};
    request.env = {"PATH=/usr/bin"};
    std::string output;
    auto result = client->build_run(request, [&](std::string_view piece) { output += piece; });
    EXPECT_TRUE(result) << result.error().message();
    return {result ? result->value("exit_code", -1) : -1, output};
  }

  static inline fs::path base;
  fs::path data;
  Fd host, listener;
  pid_t launcher = -1;
  std::unique_ptr<ipc::LauncherClient> client;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Json> events;
};

}  // namespace naru::launcher
