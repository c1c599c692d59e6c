// `naru doctor`: control's own checks, or, when it is down, what can be found out without it.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "cli/program.h"
#include "cli/verbs.h"
#include "ipc/data_folder.h"

namespace naru::cli {

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLowDisk = 2ULL << 30;
constexpr int kTailBytes = 600;

struct Checks {
  Json list = Json::array();
  void add(std::string_view name, bool ok, std::string_view detail, std::string_view remedy = "") {
    list.push_back({{"name", name}, {"ok", ok}, {"detail", detail}, {"remedy", ok ? "" : remedy}});
  }
};

void check_supervisor(const ipc::DataFolder& folder, Checks& checks) {
  const bool usual = folder.root.string() == ControlPlace{}.data;
  const std::string start =
      usual ? "sudo naru up" : fmt::format("sudo naru up --data {}", folder.root.string());
  const Fd lock(::open(folder.lock().c_str(), O_RDONLY | O_CLOEXEC));
  if (!lock)
    return checks.add(
        "supervisor", false,
        fmt::format("nobody has run `naru up` on {}, or it may not be read", folder.root.string()), start);
  const bool held = ::flock(lock.get(), LOCK_SH | LOCK_NB) != 0;
  checks.add("supervisor", held,
             held ? "`naru up` runs, though control does not answer" : "`naru up` does not run",
             held ? "see the last lines below; else stop it and start it again: " + start : start);
}

std::string tail_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return {};
  const auto size = static_cast<std::int64_t>(file.tellg());
  file.seekg(std::max<std::int64_t>(0, size - kTailBytes));
  std::string tail{std::istreambuf_iterator<char>(file), {}};
  while (tail.ends_with('\n')) tail.pop_back();
  return tail.substr(tail.rfind('\n') == std::string::npos ? 0 : tail.rfind('\n') + 1);
}

void check_logs(const ipc::DataFolder& folder, Checks& checks) {
  for (const char* process : {"supervisor", "launcher", "gateway", "control"})
    if (const std::string line = tail_of(folder.process_log(process)); !line.empty())
      checks.add(fmt::format("last of {}", process), true, clean(line));
}

void check_machine(const ipc::DataFolder& folder, Checks& checks) {
  utsname kernel{};
  ::uname(&kernel);
  const int major = std::atoi(kernel.release);
  checks.add("kernel", major >= 6, kernel.release, "Linux 6.1 or newer is needed");
  checks.add("root", ::geteuid() == 0,
             ::geteuid() == 0 ? "this is root" : "this is not root, so not everything can be seen",
             "run it with sudo");
  std::error_code error;
  checks.add(
      "cgroups",
      fs::exists("/sys/fs/cgroup/cgroup.controllers", error) || fs::exists("/sys/fs/cgroup/memory", error),
      "/sys/fs/cgroup", "mount cgroups: without them there are no limits");
  for (const char* program : {"git", "nft", "tar"}) {
    const auto ran = run_program({program, "--version"});
    checks.add(program, ran.has_value(),
               ran ? clean(ran->output.substr(0, ran->output.find('\n'))) : ran.error().message(),
               fmt::format("install the package that has {}", program));
  }
  fs::path existing = folder.root;
  while (!existing.empty() && !fs::exists(existing, error) && existing != existing.root_path())
    existing = existing.parent_path();
  struct statvfs disk{};
  if (::statvfs(existing.c_str(), &disk) != 0) return;
  const std::uint64_t free = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
  checks.add("disk", free >= kLowDisk,
             fmt::format("{} free at {}", bytes_text(static_cast<double>(free)), existing.string()),
             "free some space");
}

Json look_alone(const ControlPlace& place, const Error& why) {
  Checks checks;
  checks.add("control", false, why.message(), why.hint());
  if (!place.local()) return {{"checks", checks.list}};
  const ipc::DataFolder folder{place.data};
  check_supervisor(folder, checks);
  check_machine(folder, checks);
  check_logs(folder, checks);
  return {{"checks", checks.list}};
}

// What is only told (a notice of the launcher, the last words of a log) was not found to be well.
std::string mark_of(const Session& session, const Json& check) {
  const std::string name = text(check, "name");
  if (!flag(check, "ok")) return session.paint(Tone::bad, "✗");
  if (name == "notice" || name.starts_with("last of ")) return session.paint(Tone::warn, "!");
  return session.paint(Tone::good, "✓");
}

}  // namespace

Done doctor(const Session& session) {
  const ControlPlace place = session.place();
  const auto asked = ControlClient(place).get("/v1/doctor");
  // A refusal (a wrong token) is an answer; silence is what a doctor is for.
  if (!asked && asked.error().code != Code::unavailable && asked.error().code != Code::timeout &&
      asked.error().code != Code::forbidden)
    return std::unexpected(asked.error());
  const Json answer = asked ? *asked : look_alone(place, asked.error());
  bool well = true;
  Table table({"", "CHECK", "FINDING"});
  for (const Json& check : list(answer, "checks")) {
    const bool ok = flag(check, "ok");
    well = well && ok;
    table.row({mark_of(session, check), text(check, "name"), text(check, "detail")});
    if (!ok && !text(check, "remedy").empty())
      table.row({"", "", session.paint(Tone::accent, "→ ") + text(check, "remedy")});
  }
  if (session.json)
    session.document(answer);
  else
    session.say(table.text(session.terminal.style));
  return well ? 0 : 1;
}

}  // namespace naru::cli
