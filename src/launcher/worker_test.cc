#include "launcher/worker.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <thread>

namespace naru::launcher {
namespace {

Result<Json> look_around(const Json&, const std::vector<Fd>&) {
  Json seen;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/", error))
    seen["root"].push_back(entry.path().string());
  seen["pid"] = ::getpid();
  seen["shadow"] = ::open("/etc/shadow", O_RDONLY) >= 0;
  seen["up"] = ::open("/../../../etc/shadow", O_RDONLY) >= 0;
  seen["socket"] = ::socket(AF_INET, SOCK_STREAM, 0) >= 0;
  seen["mount"] = ::mount("none", "/tmp", "tmpfs", 0, nullptr) == 0;
  seen["fork"] = ::fork() >= 0;
  seen["chroot"] = ::chroot("/tmp") == 0;
  seen["write_ro"] = ::open("/given/x", O_WRONLY | O_CREAT, 0600) >= 0;
  seen["write_rw"] = ::open("/made/x", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0;
  const int node = ::mknod("/made/null", S_IFCHR | 0666, 0x103);
  seen["open_device"] = node == 0 && ::open("/made/null", O_RDWR) >= 0;
  seen["sysrq"] = ::open("/proc/sysrq-trigger", O_WRONLY) >= 0;
  seen["core_pattern"] = ::open("/proc/sys/kernel/core_pattern", O_WRONLY) >= 0;
  return seen;
}
Result<Json> crash(const Json&, const std::vector<Fd>&) {
  std::abort();
}
Result<Json> hang(const Json&, const std::vector<Fd>&) {
  while (true) ::pause();
}
Result<Json> eat(const Json&, const std::vector<Fd>&) {
  std::vector<std::unique_ptr<char[]>> eaten;  // address space is what is bounded: no need to touch it
  while (true) eaten.emplace_back(new char[256U << 20]);
}
Result<Json> refuse(const Json& arguments, const std::vector<Fd>&) {
  return fail(Code::layer_escape, "{}", arguments.value("what", ""));
}
Result<Json> read_fd(const Json&, const std::vector<Fd>& fds) {
  char buffer[16];
  const ssize_t got = ::read(fds.at(0).get(), buffer, sizeof buffer);
  return Json(std::string(buffer, static_cast<std::size_t>(std::max<ssize_t>(got, 0))));
}

Result<Json> list_fds(const Json&, const std::vector<Fd>& fds) {
  Json seen = Json::array();
  std::error_code error;
  for (int fd = 0; fd < 1024; ++fd) {
    const auto target = std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", fd), error);
    if (!error) seen.push_back({{"fd", fd}, {"target", target.string()}});
  }
  return Json{{"open", seen}, {"given", fds.size()}};
}

class WorkerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/naru-worker-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder = name;
    std::filesystem::create_directories(folder + "/given");
    std::filesystem::create_directories(folder + "/made");
    auto made = Nursery::open({{"look", look_around},
                               {"crash", crash},
                               {"hang", hang},
                               {"eat", eat},
                               {"refuse", refuse},
                               {"read", read_fd},
                               {"fds", list_fds}});
    ASSERT_TRUE(made);
    nursery = std::move(*made);
  }
  void TearDown() override {
    nursery.reset();
    std::filesystem::remove_all(folder);
  }
  Job job(const std::string& kind) const {
    Job made;
    made.kind = kind;
    made.arguments = Json::object();
    return made;
  }
  WorkerFolder bind(const std::string& place, FolderAccess access, const std::string& path) const {
    WorkerFolder made;
    made.place = place;
    made.access = access;
    made.root = folder;
    made.path = path;
    return made;
  }

  std::string folder;
  std::unique_ptr<Nursery> nursery;
};

TEST_F(WorkerTest, SeesOnlyItsFoldersAndCanDoNothingElse) {
  Job looking = job("look");
  looking.folders = {bind("given", FolderAccess::read_only, "given"),
                     bind("made", FolderAccess::read_write, "made")};
  auto seen = nursery->run(looking);
  ASSERT_TRUE(seen) << seen.error().message();
  const auto root = (*seen)["root"].get<std::set<std::string>>();
  EXPECT_EQ(root, (std::set<std::string>{"/given", "/made", "/proc", "/tmp"}));
  EXPECT_EQ((*seen)["pid"], 1);
  for (const char* refused : {"shadow", "up", "socket", "mount", "fork", "chroot", "write_ro", "open_device",
                              "sysrq", "core_pattern"})
    EXPECT_FALSE((*seen)[refused].get<bool>()) << refused;
  EXPECT_TRUE((*seen)["write_rw"].get<bool>());
  EXPECT_TRUE(std::filesystem::exists(folder + "/made/x"));
}

TEST_F(WorkerTest, ACrashAndAnEndlessAppetiteAreNamedAndHurtNobodyElse) {
  const auto crashed = nursery->run(job("crash"));
  ASSERT_FALSE(crashed);
  EXPECT_EQ(crashed.error().code, Code::worker_failed);
  const auto ate = nursery->run(job("eat"));
  ASSERT_FALSE(ate);
  EXPECT_EQ(ate.error().code, Code::too_large);
  EXPECT_TRUE(nursery->run(job("look")));
}

TEST_F(WorkerTest, IsKilledAtItsDeadline) {
  Job hanging = job("hang");
  hanging.timeout = 100ms;
  const auto late = nursery->run(hanging);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::timeout);
}

TEST_F(WorkerTest, ErrorsAndDescriptorsGoThrough) {
  Job refusing = job("refuse");
  refusing.arguments = {{"what", "../etc"}};
  const auto refused = nursery->run(refusing);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::layer_escape);
  EXPECT_EQ(refused.error().context, "../etc");
  std::ofstream(folder + "/text") << "hello";
  const Fd file(::open((folder + "/text").c_str(), O_RDONLY | O_CLOEXEC));
  Job reading = job("read");
  reading.fds = {file.get()};
  EXPECT_EQ(nursery->run(reading).value_or(Json("none")), "hello");
  EXPECT_EQ(nursery->run(job("none such")).error().code, Code::internal);
}

TEST_F(WorkerTest, SeesNoDescriptorButItsOwn) {
  std::ofstream(folder + "/text") << "hello";
  const Fd file(::open((folder + "/text").c_str(), O_RDONLY | O_CLOEXEC));
  Job hanging = job("hang");  // its descriptors are in the nursery's hands meanwhile
  hanging.fds = {file.get()};
  hanging.timeout = 500ms;
  std::thread other([&] { EXPECT_FALSE(nursery->run(hanging)); });
  Job listing = job("fds");
  listing.fds = {file.get()};
  const auto listed = nursery->run(listing);
  other.join();
  ASSERT_TRUE(listed) << listed.error().message();
  std::vector<std::string> beyond_standard;
  for (const Json& each : (*listed)["open"])
    if (each["fd"] > 2) beyond_standard.push_back(each["target"]);
  ASSERT_EQ(beyond_standard.size(), 2U) << listed->dump();  // its answer's socket, and the file
  EXPECT_EQ(std::ranges::count_if(beyond_standard, [](const auto& t) { return t.starts_with("socket:"); }), 1)
      << listed->dump();
}

TEST_F(WorkerTest, AFolderBehindASymbolicLinkIsRefused) {
  std::filesystem::create_directory_symlink("/etc", folder + "/link");
  for (const char* path : {"link", "link/apt", "../..", "given/../link"}) {
    Job looking = job("look");
    looking.folders = {bind("given", FolderAccess::read_only, path)};
    EXPECT_FALSE(nursery->run(looking)) << path;
  }
}

TEST_F(WorkerTest, ADeadNurseryIsSeen) {
  ::kill(nursery->pid(), SIGKILL);
  pollfd entry{nursery->fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&entry, 1, 60'000), 1);
  EXPECT_FALSE(nursery->run(job("look")));
}

}  // namespace
}  // namespace naru::launcher
