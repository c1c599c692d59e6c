#include "launcher/grants.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <fstream>

#include "base/rng.h"
#include "os/counted_fsync_test.h"
#include "os/file.h"

namespace naru::launcher {
namespace {

namespace fs = std::filesystem;

class GrantsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(root / "data");
    fs::create_directories(root / "photos/2024");
    grants = Grants::open(root / "data", clock);
  }
  void TearDown() override { fs::remove_all(root); }

  std::string bind(const std::string& below, const std::string& how = "") const {
    return "bind:" + (root / below).string() + how;
  }
  Grant need(const std::string& below, bool writable) const {
    return {GrantKind::bind, (root / below).string(), writable};
  }
  Code refusal(const std::string& app, const std::string& grant) const {
    const auto answer = grants->allow(app, {grant}, "ada");
    return answer ? Code{} : answer.error().code;
  }
  bool may(const std::string& app, const Grant& wanted) const {
    return grants->check(app, std::vector{wanted}).has_value();
  }

  SystemClock clock;
  fs::path root = fs::path("/tmp") / ("naru-grants-" + secure_random_hex(6));
  std::unique_ptr<Grants> grants;
  const Grant net_admin{GrantKind::capability, "NET_ADMIN", false};
};

TEST_F(GrantsTest, AreOneApplicationsAndNamedInTheRefusal) {
  const auto refused = grants->check("shop", std::vector{net_admin});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::forbidden);
  EXPECT_EQ(refused.error().message(), "shop is not allowed cap:NET_ADMIN");
  EXPECT_EQ(refused.error().hint(), "on this machine, as root: naru app allow shop cap:NET_ADMIN");
  ASSERT_TRUE(grants->allow("shop", {"cap:net_admin"}, "ada"));
  EXPECT_TRUE(may("shop", net_admin));
  EXPECT_FALSE(may("blog", net_admin));
  EXPECT_FALSE(may("", net_admin));
  ASSERT_TRUE(grants->disallow("shop", {"cap:NET_ADMIN"}, "ada"));
  EXPECT_FALSE(may("shop", net_admin));
  EXPECT_EQ(grants->disallow("shop", {"cap:NET_ADMIN"}, "ada").error().code, Code::not_found);
}

TEST_F(GrantsTest, OutliveTheLauncherInAFileOfRootAlone) {
  ASSERT_TRUE(grants->allow("shop", {"cap:NET_ADMIN", bind("photos")}, "ada"));
  const fs::path file = root / "data/grants.json";
  EXPECT_EQ(fs::status(file).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  grants = Grants::open(root / "data", clock);
  EXPECT_TRUE(may("shop", net_admin));
  EXPECT_TRUE(may("shop", need("photos", false)));
  ASSERT_EQ(grants->list().size(), 1u);
  EXPECT_EQ(grants->list()[0].grants[0].by, "ada");
  ASSERT_TRUE(grants->drop("shop"));
  grants = Grants::open(root / "data", clock);
  EXPECT_FALSE(may("shop", net_admin));
  EXPECT_TRUE(grants->list().empty());
}

TEST_F(GrantsTest, AreOnTheDiskBeforeTheyAreAnswered) {
  ASSERT_TRUE(grants->allow("shop", {"cap:NET_ADMIN"}, "ada"));
  const int files = os::synced.files, folders = os::synced.folders;
  ASSERT_TRUE(grants->disallow("shop", {"cap:NET_ADMIN"}, "ada"));
  EXPECT_EQ(os::synced.files, files + 1);
  EXPECT_EQ(os::synced.folders, folders + 1);
}

TEST_F(GrantsTest, ADamagedFileGivesNothing) {
  ASSERT_TRUE(grants->allow("shop", {"cap:NET_ADMIN"}, "ada"));
  std::ofstream(root / "data/grants.json") << R"({"apps": [{"app": "shop", "grants": 7}]})";
  grants = Grants::open(root / "data", clock);
  EXPECT_FALSE(may("shop", net_admin));
}

TEST_F(GrantsTest, AFolderIsGivenWithWhatLiesInItAndToBeReadUnlessItSaysMore) {
  ASSERT_TRUE(grants->allow("shop", {bind("photos")}, "ada"));
  EXPECT_TRUE(may("shop", need("photos", false)));
  EXPECT_TRUE(may("shop", need("photos/2024", false)));
  EXPECT_FALSE(may("shop", need("photos", true)));
  EXPECT_FALSE(may("shop", need("photos2", false)));
  EXPECT_FALSE(may("shop", need("photos/../data", false)));
  EXPECT_FALSE(may("shop", need("", false)));
  ASSERT_TRUE(grants->allow("shop", {bind("photos", ":rw")}, "ada"));
  EXPECT_TRUE(may("shop", need("photos/2024", true)));
}

TEST_F(GrantsTest, AFolderMustBeThereAndReachedWithoutALink) {
  fs::create_directory_symlink(root / "photos", root / "link");
  fs::create_directory_symlink(root / "photos", root / "photos/again");
  EXPECT_EQ(refusal("shop", bind("none")), Code::not_found);
  EXPECT_EQ(refusal("shop", bind("link")), Code::forbidden);
  EXPECT_EQ(refusal("shop", bind("photos/again/2024")), Code::forbidden);
  ASSERT_EQ(::mkfifo((root / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(refusal("shop", bind("pipe")), Code::forbidden);
}

TEST_F(GrantsTest, WhatGivesTheMachineAwayIsGivenToNobody) {
  fs::create_directory_symlink(root / "data", root / "other-name");
  const auto named_otherwise = Grants::open(root / "other-name", clock);
  for (const std::string& grant : {std::string("cap:SYS_ADMIN"),
                                   std::string("cap:SYS_PTRACE"),
                                   std::string("cap:ALL"),
                                   std::string("cap:CHOWN"),
                                   std::string("bind:/"),
                                   std::string("bind:/etc"),
                                   std::string("bind:/etc/ssl"),
                                   std::string("bind:/proc/1"),
                                   std::string("bind:/sys"),
                                   std::string("bind:/dev/shm"),
                                   std::string("bind:/root"),
                                   std::string("bind:/var"),
                                   std::string("bind:/var/run/docker.sock"),
                                   std::string("bind:/run/containerd"),
                                   std::string("bind:/var/lib/lxc"),
                                   std::string("bind:/var/lib/lxd/storage-pools"),
                                   std::string("bind:/var/lib/incus"),
                                   std::string("bind:/var/lib/machines"),
                                   std::string("bind:/var/lib/libvirt/images"),
                                   std::string("bind:/var/lib/rancher"),
                                   std::string("bind:/var/snap/docker"),
                                   std::string("bind:/var/spool/at"),
                                   std::string("bind:/var/spool"),
                                   std::string("bind:/var/lib/dpkg:rw"),
                                   std::string("bind:/var/lib/systemd/linger:rw"),
                                   std::string("bind:/usr:rw"),
                                   std::string("bind:/usr/local:rw"),
                                   bind("data"),
                                   bind("data/control"),
                                   bind(".", ":rw")}) {
    EXPECT_EQ(refusal("shop", grant), Code::forbidden) << grant;
    EXPECT_FALSE(named_otherwise->allow("shop", {grant}, "ada")) << grant;
  }
  for (const char* grant : {"", "cap:", "cap:NET ADMIN", "bind:", "bind:srv", "bind:/srv/../etc", "bind:/a:b",
                            "bind:/srv\n", "privileged", "device:/dev/kvm"})
    EXPECT_EQ(refusal("shop", grant), Code::invalid_argument) << grant;
  // Nor is it started, whatever the file says.
  std::ofstream(root / "data/grants.json")
      << R"({"apps": [{"app": "shop", "grants": [{"grant": "cap:SYS_ADMIN"}, {"grant": "bind:/"}]}]})";
  grants = Grants::open(root / "data", clock);
  EXPECT_FALSE(may("shop", {GrantKind::capability, "SYS_ADMIN", false}));
  EXPECT_FALSE(may("shop", {GrantKind::bind, "/srv", false}));
}

// `mount --bind /big/naru /var/lib/naru`, with what lies on a disk of its own in it. In a child with mounts
// of its own.
TEST_F(GrantsTest, TheDataFolderIsNobodysByTheOtherNamesOfItsDisk) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounts need root";
  for (const char* folder : {"big/naru/control", "big/else", "volumes/shop", "var/volumes"})
    fs::create_directories(root / folder);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto bind_on = [&](const char* from, const char* to) {
      return ::mount((root / from).c_str(), (root / to).c_str(), nullptr, MS_BIND, nullptr) == 0;
    };
    fs::create_directories(root / "big/naru/volumes");
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        !bind_on("big/naru", "data") || !bind_on("volumes", "data/volumes"))
      ::_exit(100);
    grants = Grants::open(root / "data", clock);
    int wrong = 0;
    for (const char* folder : {"big", "big/naru", "big/naru/control", "volumes", "volumes/shop"})
      for (const char* how : {"", ":rw"})
        wrong += refusal("shop", bind(folder, how)) == Code::forbidden &&
                         !grants->open_folder(need(folder, how[0] != 0))
                     ? 0
                     : 1;
    wrong += grants->allow("shop", {bind("big/else"), bind("photos")}, "ada") ? 0 : 10;
    ::_exit(wrong);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0) << WEXITSTATUS(status) % 10 << " folders of Naru's could be granted";
}

TEST_F(GrantsTest, OneApplicationAloneWritesInAFolder) {
  ASSERT_TRUE(grants->allow("shop", {bind("photos", ":rw")}, "ada"));
  const auto refused = grants->allow("blog", {bind("photos/2024", ":rw")}, "ada");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::conflict);
  EXPECT_NE(refused.error().message().find("shop writes there already"), std::string::npos)
      << refused.error().message();
  EXPECT_EQ(refusal("blog", bind(".", ":rw")), Code::forbidden);  // the data folder lies in it, too
  EXPECT_TRUE(grants->allow("blog", {bind("photos")}, "ada")) << "reading is no second writer";
  EXPECT_TRUE(grants->allow("shop", {bind("photos/2024", ":rw")}, "ada"));
}

TEST_F(GrantsTest, AreNotWrittenLargerThanTheyAreReadAgain) {
  const std::string path(1000, 'x');
  std::string text = R"({"apps": [)";
  for (int app = 0; app < 252; ++app) {
    text += fmt::format(R"({}{{"app": "app-{}", "grants": [)", app == 0 ? "" : ", ", app);
    for (int i = 0; i < 64; ++i)
      text += fmt::format(R"({}{{"grant": "bind:/srv/{}-{}"}})", i == 0 ? "" : ", ", i, path);
    text += "]}";
  }
  std::ofstream(root / "data/grants.json") << text << "]}";
  grants = Grants::open(root / "data", clock);
  ASSERT_EQ(grants->list().size(), 252U);
  EXPECT_EQ(refusal("shop", "cap:NET_ADMIN"), Code::too_large);
  EXPECT_EQ(grants->list().size(), 252U);
  EXPECT_EQ(Grants::open(root / "data", clock)->list().size(), 252U);
}

TEST_F(GrantsTest, AreAllGivenOrNone) {
  EXPECT_FALSE(grants->allow("shop", {"cap:NET_ADMIN", "bind:/etc"}, "ada"));
  EXPECT_FALSE(may("shop", net_admin));
  ASSERT_TRUE(grants->allow("shop", {"cap:NET_ADMIN"}, "ada"));
  EXPECT_FALSE(grants->disallow("shop", {"cap:NET_ADMIN", "cap:IPC_LOCK"}, "ada"));
  EXPECT_TRUE(may("shop", net_admin));
  std::vector<std::string> many(kMaxGrants + 1, "cap:IPC_LOCK");
  EXPECT_FALSE(grants->allow("shop", many, "ada"));
}

}  // namespace
}  // namespace naru::launcher
