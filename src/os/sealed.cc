#include "os/sealed.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "os/file.h"

namespace naru::os {

namespace {
// linux/memfd.h of Linux 6.3; older kernels refuse it, and need it not.
constexpr unsigned kMemfdExec = 0x10;

Fd memory_file(const std::string& name) {
  const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  Fd fd(::memfd_create(name.c_str(), flags | kMemfdExec));
  if (!fd && errno == EINVAL) fd.reset(::memfd_create(name.c_str(), flags));
  return fd;
}
}  // namespace

Result<Fd> sealed_copy(const std::string& path, const std::string& name) {
  const Fd source(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info{};
  if (!source || ::fstat(source.get(), &info) != 0) return fail_errno(file_code(errno), "open {}", path);
  Fd copy = memory_file(name);
  if (!copy) return fail_errno(Code::system, "make a memory file for {}", path);
  for (off_t left = info.st_size; left > 0;) {
    const ssize_t sent = ::sendfile(copy.get(), source.get(), nullptr, static_cast<std::size_t>(left));
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return fail_errno(Code::system, "copy {} to memory", path);
    left -= sent;
  }
  if (::fchmod(copy.get(), 0555) != 0 ||
      ::fcntl(copy.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return fail_errno(Code::system, "seal the copy of {}", path);
  return copy;
}

}  // namespace naru::os
