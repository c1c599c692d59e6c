#include "os/capability.h"

#include <sys/capability.h>
#include <sys/prctl.h>

namespace naru::os {

Result<int> capability_number(std::string_view name) {
  std::string full(name.substr(0, 64));
  std::ranges::transform(full, full.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (!full.starts_with("cap_")) full = "cap_" + full;
  cap_value_t value = 0;
  if (::cap_from_name(full.c_str(), &value) != 0)
    return fail(Code::invalid_argument, "'{}' is not a capability", name.substr(0, 64));
  return value;
}

int last_capability() {
  int last = 0;
  while (last < 63 && ::prctl(PR_CAPBSET_READ, last + 1, 0, 0, 0) >= 0) ++last;
  return last;
}

}  // namespace naru::os
