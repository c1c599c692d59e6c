#include "launcher/worker.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace naru::launcher {

namespace {
constexpr milliseconds kHandOver{5'000};
}

Result<std::unique_ptr<Nursery>> Nursery::open(const JobTable& table) {
  auto [ours, theirs] = TRY(ipc::Channel::pair());
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno(Code::system, "fork the nursery of workers");
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    ours.close();
    run_nursery(std::move(theirs), table);
  }
  return std::unique_ptr<Nursery>(new Nursery(std::move(ours), pid));
}

Nursery::~Nursery() {
  channel_.close();
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Result<Json> Nursery::run(const Job& job) {
  auto [ours, theirs] = TRY(ipc::Channel::pair());
  std::vector<int> fds{theirs.fd()};
  fds.insert(fds.end(), job.fds.begin(), job.fds.end());
  std::uint64_t number = 0;
  {
    const std::scoped_lock lock(mutex_);
    number = next_++;
    TRY(channel_.send(
        {{"job", number}, {"kind", job.kind}, {"arguments", job.arguments}, {"folders", job.folders}},
        kHandOver, fds));
  }
  theirs.close();
  auto answer = ours.receive(job.timeout);
  if (!answer) {
    const std::scoped_lock lock(mutex_);
    TRY(channel_.send({{"kill", number}}, kHandOver));
    if (answer.error().code == Code::timeout)
      return fail(Code::timeout, "the {} worker did not end within {} and was killed", job.kind,
                  humanize(job.timeout));
    return fail(Code::worker_failed, "the {} worker ended without an answer ({})", job.kind,
                answer.error().message());
  }
  if (const auto error = answer->body.find("error"); error != answer->body.end())
    return std::unexpected(ipc::error_from_json(*error));
  return answer->body.value("result", Json::object());
}

NARU_JSON_NAMES(FolderAccess, {{FolderAccess::read_only, "ro"}, {FolderAccess::read_write, "rw"}})
NARU_JSON_FIELDS(WorkerFolder, place, access, root, path, lower, upper, work)
}  // namespace naru::launcher
