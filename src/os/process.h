// Processes by pid, start time and pidfd. A pid alone names nothing for long: it is reused.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"

namespace naru::os {

// Field 22 of /proc/<pid>/stat: clock ticks since boot, fixed for a process's life. not_found when there is
// none.
Result<std::uint64_t> process_start_time(pid_t pid);
// A zombie, or gone.
bool process_ended(pid_t pid, std::uint64_t start_time);
// /proc/sys/kernel/random/boot_id: new at every boot.
Result<std::string> boot_id();

Result<Fd> pidfd_open(pid_t pid);
Result<void> pidfd_send_signal(int pidfd, int signal);
// True when the process ended within the timeout.
Result<bool> pidfd_wait(int pidfd, milliseconds timeout);
// Our own child: its wait status (as waitpid gives it) once it ended; none while it runs. Not our child:
// not_found.
Result<std::optional<int>> pidfd_reap(int pidfd);
// Anybody's process that was reaped by its parent while we held the pidfd (PIDFD_INFO_EXIT, Linux 6.15); none
// elsewhere.
std::optional<int> pidfd_exit_status(int pidfd);

// When memory runs out the kernel's killer takes it, and what it starts from now on, before Naru's own
// processes. Best effort: it may have ended.
void give_up_first(pid_t pid);

// 128 + signal, or the exit code.
int exit_code_of(int wait_status);

}  // namespace naru::os
