// What a test asked the disk to keep: fsync(2) and fdatasync(2) of the whole test program and its libraries,
// counted. In one file of it alone.
#pragma once

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

namespace naru::os {

struct Synced {
  std::atomic<int> files{0}, folders{0}, data{0};  // data: by fdatasync, as SQLite does
};
inline Synced synced;

}  // namespace naru::os

extern "C" int fsync(int fd) {
  struct stat about{};
  if (::fstat(fd, &about) == 0)
    ++(S_ISDIR(about.st_mode) ? naru::os::synced.folders : naru::os::synced.files);
  return static_cast<int>(::syscall(SYS_fsync, fd));
}

extern "C" int fdatasync(int fd) {
  ++naru::os::synced.data;
  return static_cast<int>(::syscall(SYS_fdatasync, fd));
}
