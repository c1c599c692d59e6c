// From a spec to what the child needs: everything resolved, opened and laid out, so that the child allocates
// nothing.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "base/fd.h"
#include "container/child.h"
#include "container/engine.h"
#include "container/user.h"
#include "os/capability.h"
#include "os/seccomp.h"

namespace naru::container {

// Owns the strings and pointer arrays that a plan points to.
class Arena {
 public:
  const char* text(std::string value);
  const char* const* list(const std::vector<std::string>& values);
  // "/a/b" -> {"/a", "/a/b"}; "/" -> {}.
  const char* const* prefixes(const std::string& path);

 private:
  std::deque<std::string> texts_;
  std::deque<std::vector<const char*>> lists_;
};

struct PreparedStart {
  Arena arena;
  std::vector<Fd> held;  // open for the child
  std::vector<int> join;
  std::vector<Attachment> mounts;
  std::vector<std::string> targets;  // of `mounts`, in order
  Identity identity;
  StartPlan plan;
};

struct PreparedEnter {
  Arena arena;
  std::vector<Fd> held;
  std::vector<int> join;
  Identity identity;
  EnterPlan plan;
};

struct FinishInput {
  const std::vector<std::string>& argv;
  std::vector<std::string> env;
  std::string cwd;
  const Identity& identity;
  os::CapabilitySet capabilities;
  const os::SeccompProgram& seccomp;  // outlives the plan
  bool build = false;                 // the first to go when memory ends
};
void fill_finish(Finish& finish, Arena& arena, const FinishInput& input);

// model/capabilities.h, less cap_drop, plus cap_add ("ALL" works in cap_drop). invalid_argument; forbidden:
// one of cap_add is neither there nor granted.
Result<os::CapabilitySet> capabilities_of(const ContainerSpec& spec,
                                          const std::vector<std::string>& granted = {});
// The spec's environment, with PATH, HOME and HOSTNAME where it has none.
std::vector<std::string> environment_of(const ContainerSpec& spec, const Identity& identity,
                                        const std::vector<std::string>& extra);

// Mounts the root and prepares all other mounts. `folder` is the bundle, made already.
Result<std::unique_ptr<PreparedStart>> prepare_start(const Paths& paths, const std::filesystem::path& folder,
                                                     const ContainerSpec& spec, const StartOptions& options,
                                                     const os::SeccompProgram& seccomp, bool cgroup2);

}  // namespace naru::container
