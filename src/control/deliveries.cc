#include "control/deliveries.h"

namespace naru::control {

Result<std::optional<CommitInfo>> Deliveries::hand_in(const std::string& app, bool recovered) {
  const auto branch = core_.read([&](const State& state) -> std::optional<std::string> {
    const auto found = state.apps.find(app);
    if (found == state.apps.end()) return std::nullopt;
    return found->second.branch;
  });
  if (!branch) return fail(Code::not_found, "there is no application '{}'", app.substr(0, 64));
  const std::string delivered = "refs/heads/" + *branch;
  // From reading the branch to the commit of the command nobody else may hand in an older or newer one.
  const std::lock_guard turn(turns_.at(std::hash<std::string>()(app) % turns_.size()));
  for (const auto& [ref, commit] : TRY(refs_of(data_, app))) {
    if (ref != delivered) continue;
    CommitInfo info = TRY(commit_info(data_, app, commit));
    TRY(core_.submit(command::Push{app, ref, info.commit, info.subject, info.author, recovered}));
    return std::optional(std::move(info));
  }
  return std::optional<CommitInfo>();
}

}  // namespace naru::control
