// May this push come in? Asked by the pre-receive hook while the new objects are in quarantine
// (git-receive-pack(1)).
#pragma once

#include <string>
#include <vector>

#include "control/checkout.h"
#include "control/plan.h"

namespace naru::control {

struct RefUpdate {
  std::string old_commit, commit, ref;
  bool deletes() const { return commit.find_first_not_of('0') == std::string::npos; }
};

struct PushVerdict {
  bool accepted = true;
  std::vector<std::string> lines;  // for the person who pushes, in order
};

inline constexpr std::size_t kMaxRefUpdates = 1000;
inline constexpr std::string_view kHeads = "refs/heads/";

// Names that Naru can show and keep: heads and tags of letters, digits, '.', '_', '-', '/' and at most 100
// bytes.
Result<void> check_ref_name(std::string_view ref);

// What somebody can do whose push came after another one to `ref`, a branch.
std::string second_push_remedy(std::string_view ref);

// Blocks (git, files). Every fault is a line; the first one refuses the whole push.
PushVerdict check_push(const Core& core, const ipc::DataFolder& data, const std::string& app,
                       const std::vector<RefUpdate>& updates, const GitEnvironment& quarantine);

// port_taken: another application's, or somebody else on this machine listens there.
Result<void> check_host_ports(const State& state, const std::string& app, const Plan& plan);

}  // namespace naru::control
