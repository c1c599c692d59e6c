// A program's copy in memory that nobody can change any more (memfd_create(2), fcntl(2) F_ADD_SEALS).
//
// Whoever can open /proc/<pid>/exe of a process can write to its file once nobody executes it
// (CVE-2019-5736). A process that stands close to hostile ones is therefore run from such a copy, by
// execveat(2) with AT_EMPTY_PATH.
#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace naru::os {

// `name` is what /proc/<pid>/exe shows: "/memfd:<name> (deleted)". O_CLOEXEC. Errors: not_found, system (also
// where the machine forbids to execute memory files: vm.memfd_noexec).
Result<Fd> sealed_copy(const std::string& path, const std::string& name);

}  // namespace naru::os
