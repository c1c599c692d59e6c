// A system call filter, compiled once into the program that the kernel runs.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace naru::os {

struct SeccompRule {
  std::string_view call;
  int error = 0;      // 0 = allow; else the call answers with this errno
  int argument = -1;  // -1 = whatever the arguments are
  enum class Compare { equal, not_equal, masked_equal } compare = Compare::equal;
  std::uint64_t value = 0;  // masked_equal: the mask, compared with zero
};

struct SeccompProfile {
  std::string_view allowed;  // names separated by white space
  std::vector<SeccompRule> rules;
};

using SeccompProgram = std::vector<sock_filter>;

// Everything not allowed answers EPERM; calls newer than this library knows answer ENOSYS, so that programs
// fall back. Names that this architecture does not have are skipped.
Result<SeccompProgram> compile_seccomp(const SeccompProfile& profile);

}  // namespace naru::os
