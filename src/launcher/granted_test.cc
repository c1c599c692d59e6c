// What reaches beyond a container takes a grant of the operator, whoever asks. Needs root.
#include "launcher/launcher_fixture_test.h"

#include <sys/mount.h>

namespace naru::launcher {
namespace {

class GrantedTest : public LauncherTest {};

// A network disk that is away: whoever asks for something on it waits. A FUSE file system that nobody serves.
class AwayDisk {
 public:
  explicit AwayDisk(fs::path place)
      : place_(std::move(place)), server_(::open("/dev/fuse", O_RDWR | O_CLOEXEC)) {
    const std::string options = fmt::format("fd={},rootmode=40000,user_id=0,group_id=0", server_.get());
    mounted_ = server_ && ::mount("away", place_.c_str(), "fuse", 0, options.c_str()) == 0;
  }
  AwayDisk(const AwayDisk&) = delete;
  AwayDisk& operator=(const AwayDisk&) = delete;
  ~AwayDisk() {
    server_.reset();  // who waits is answered: there is no such disk
    if (mounted_) ::umount2(place_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }

 private:
  fs::path place_;
  Fd server_;
  bool mounted_ = false;
};

// The attack: control is taken over, and asks for a container that reaches the machine.
TEST_F(GrantedTest, ControlGivesNoContainerWhatTheOperatorDidNotAllow) {
  const fs::path photos = data.string() + "-photos";
  fs::create_directories(photos);
  std::ofstream(photos / "file") << "a picture\n";
  ContainerSpec spec = shell("web-1", "sleep 1000");
  spec.app = "shop";
  spec.cap_add = {"NET_ADMIN"};
  spec.mounts.push_back({MountKind::bind, photos.string(), "/photos", true, 0});
  auto control = connect_as_control();
  const auto error_of = [&](const Json& request) {
    return answer_of(control, request).value("/error/code"_json_pointer, "");
  };
  const Json start{{"op", "container.start"}, {"spec", spec}};
  const Json allow{
      {"op", "grant.allow"}, {"app", "shop"}, {"grants", {"cap:NET_ADMIN", "bind:" + photos.string()}}};
  EXPECT_EQ(error_of(start), "forbidden");
  EXPECT_EQ(error_of(allow), "forbidden") << "control gave itself what it wants";
  EXPECT_EQ(error_of(start), "forbidden");
  EXPECT_FALSE(fs::exists(data / "grants.json"));

  ASSERT_TRUE(client->allow("shop", {"cap:NET_ADMIN"}, "ada"));
  event("grants_changed");
  const Json half = answer_of(control, start);
  EXPECT_EQ(half.value("/error/remedy"_json_pointer, ""),
            "on this machine, as root: naru app allow shop bind:" + photos.string());
  ASSERT_TRUE(client->allow("shop", {"bind:" + photos.string()}, "ada"));
  EXPECT_EQ(error_of({{"op", "grant.disallow"}, {"app", "shop"}, {"grants", {"cap:NET_ADMIN"}}}),
            "forbidden");
  ContainerSpec other = spec;
  other.app = "blog";
  EXPECT_EQ(client->start(other).error().code, Code::forbidden) << "it is the shop's alone";
  ContainerSpec writer = spec;
  writer.mounts[0].read_only = false;
  EXPECT_EQ(client->start(writer).error().code, Code::forbidden) << "it may only be read";

  fs::rename(photos, photos.string() + "-away");
  fs::create_directory_symlink("/etc", photos);
  EXPECT_EQ(client->start(spec).error().code, Code::forbidden)
      << "a link that came after the grant is followed";
  fs::remove(photos);
  fs::rename(photos.string() + "-away", photos);

  const auto started = client->start(spec);
  ASSERT_TRUE(started) << started.error().message();
  const auto inside = client->probe(
      "web-1",
      {"/bin/sh", "-c", "cat /photos/file; cat /proc/1/status; echo x > /photos/new || echo refused"}, 10s);
  ASSERT_TRUE(inside);
  EXPECT_NE(inside->output.find("a picture"), std::string::npos) << inside->output;
  EXPECT_NE(inside->output.find("refused"), std::string::npos) << inside->output;
  const auto effective = inside->output.find("CapEff:");
  ASSERT_NE(effective, std::string::npos);
  EXPECT_NE(std::stoull(inside->output.substr(effective + 7, 20), nullptr, 16) & (1ULL << 12), 0U)
      << "CAP_NET_ADMIN is bit 12";
  ASSERT_TRUE(client->disallow("shop", {"cap:NET_ADMIN"}, "ada"));
  EXPECT_EQ(client->probe("web-1", {"/bin/sh", "-c", "exit 0"}, 10s)->exit_code, 0) << "what runs goes on";
  EXPECT_TRUE(client->start(spec)) << "asked again: it runs";
  spec.id = "web-2";
  EXPECT_EQ(client->start(spec).error().code, Code::forbidden);
  fs::remove_all(photos);
}

// Control is taken over, and takes every place at the launcher's socket.
TEST_F(GrantedTest, RootTakesBackAlthoughControlHoldsEveryConnectionThatItGets) {
  ASSERT_TRUE(client->allow("shop", {"cap:NET_ADMIN"}, "ada"));
  std::deque<ipc::Channel> held;
  for (int i = 0; i < 32; ++i) held.push_back(connect_as_control());
  (void)answer_of(held.front(), {{"op", "grant.list"}});
  const auto operators = ipc::LauncherClient::open({(data / "launcher.sock").string(), [](const Json&) {}});
  const auto left = operators->disallow("shop", {"cap:NET_ADMIN"}, "ada");
  ASSERT_TRUE(left) << left.error().message();
  EXPECT_TRUE(left->grants.empty());
}

TEST_F(GrantedTest, WhoWaitsForADiskThatIsAwayHoldsUpNobodyElse) {
  const fs::path folder = data.string() + "-away";
  fs::create_directories(folder);
  ASSERT_TRUE(client->allow("shop", {"bind:" + folder.string()}, "ada"));
  std::optional<AwayDisk> disk(std::in_place, folder);
  if (!disk->mounted()) {
    fs::remove_all(folder);
    GTEST_SKIP() << "FUSE cannot be mounted here";
  }
  auto starts = ipc::Channel::connect((data / "launcher.sock").string());
  ASSERT_TRUE(starts);
  constexpr int kStarts = 40;
  for (int i = 0; i < kStarts; ++i) {
    ContainerSpec spec = shell(fmt::format("photos-{}", i), "true");
    spec.app = "shop";
    spec.mounts.push_back({MountKind::bind, (folder / std::to_string(i)).string(), "/photos", true, 0});
    ASSERT_TRUE(starts->send({{"id", i}, {"op", "container.start"}, {"spec", spec}}, 10s));
  }
  const auto other = client->start(shell("web-1", "sleep 1000"));
  ASSERT_TRUE(other) << other.error().message();
  EXPECT_EQ(starts->receive(0ms).error().code, Code::timeout) << "they are waiting still";
  const MonoTime began = std::chrono::steady_clock::now();
  for (int i = 0; i < kStarts; ++i) {
    const auto answer = starts->receive(30s);
    ASSERT_TRUE(answer) << answer.error().message();
    EXPECT_EQ(answer->body.value("/error/code"_json_pointer, ""), "unreachable") << answer->body.dump();
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, 9s)
      << "each waited for a disk that is known to be away";
  disk.reset();
  fs::remove_all(folder);
}

TEST_F(GrantedTest, AFolderOfTheMachineHasOneWriterAsAVolumeHas) {
  const fs::path folder = data.string() + "-shared";
  fs::create_directories(folder / "inner");
  ASSERT_TRUE(client->allow("shop", {"bind:" + folder.string() + ":rw"}, "ada"));
  const auto in = [&](const char* id, const fs::path& source, bool read_only, bool shared) {
    ContainerSpec spec = shell(id, "sleep 1000");
    spec.app = "shop";
    spec.mounts.push_back({MountKind::bind, source.string(), "/data", read_only, 0, shared});
    return client->start(spec);
  };
  ASSERT_TRUE(in("one", folder, false, true));
  EXPECT_EQ(in("two", folder / "inner", false, false).error().code, Code::conflict);
  EXPECT_TRUE(in("reader", folder / "inner", true, false));
  EXPECT_TRUE(in("friend", folder / "inner", false, true));
  ASSERT_TRUE(client->stop("one", 0ms));
  ASSERT_TRUE(client->stop("friend", 0ms));
  EXPECT_TRUE(in("two", folder / "inner", false, false));
  fs::remove_all(folder);
}

}  // namespace
}  // namespace naru::launcher
