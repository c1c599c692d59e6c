#include "supervisor/process_log.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "base/fd.h"

namespace naru::supervisor {

Result<void> bound_log(const std::filesystem::path& path, std::uint64_t max_bytes) {
  const Fd log(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat info{};
  if (!log || ::fstat(log.get(), &info) != 0 || !S_ISREG(info.st_mode)) return {};
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size <= max_bytes) return {};
  const std::string old = path.string() + ".1", fresh = old + ".new";
  const Fd copy(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640));
  if (!copy) return fail_errno(Code::system, "{}: open", fresh);
  // Of one that grew far beyond the bound between two looks, the end.
  off_t from = static_cast<off_t>(size - max_bytes);
  while (from < info.st_size) {
    const ssize_t sent =
        ::sendfile(copy.get(), log.get(), &from, static_cast<std::size_t>(info.st_size - from));
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) break;  // a full disk: emptying the log is the remedy
  }
  if (::rename(fresh.c_str(), old.c_str()) != 0) return fail_errno(Code::system, "{}: rename", old);
  if (::ftruncate(log.get(), 0) != 0) return fail_errno(Code::system, "{}: truncate", path.string());
  return {};
}

}  // namespace naru::supervisor
