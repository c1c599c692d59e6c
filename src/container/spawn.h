// clone(2) of the children of child.h: memory shared, the caller suspended until exec or exit.
#pragma once

#include <sys/types.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "container/child.h"

namespace naru::container {

struct Spawned {
  pid_t pid = 0;
  Fd pidfd;
};

// A failed step of the child comes back as the error; the child is reaped then. `what` names the container. A
// child that has not come to its program within the patience is killed; one that waits for a disk or for a
// file system that does not answer ends only when that does.
Result<Spawned> spawn(StartPlan& plan, std::string_view what, milliseconds patience);
Result<Spawned> spawn(EnterPlan& plan, std::string_view what, milliseconds patience);

}  // namespace naru::container
