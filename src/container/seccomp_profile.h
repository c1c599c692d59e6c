// The default system call filter of containers.
#pragma once

#include "os/seccomp.h"

namespace naru::container {

// The names that moby allows to containers with its default capabilities: moby/moby,
// profiles/seccomp/default.json, less io_uring (as moby does since 25.0), on this architecture. As there:
// namespaces by clone answer EPERM, clone3 answers ENOSYS since its flags lie behind a pointer that a filter
// cannot read.
os::SeccompProfile default_seccomp_profile();

}  // namespace naru::container
