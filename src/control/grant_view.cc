#include "control/grant_view.h"

namespace naru::control {

std::set<std::string> users_of(const State& state, const std::string& app, const Grant& grant) {
  std::set<std::string> users;
  for (const auto& [id, instance] : state.instances) {
    const Release* release = instance.app == app ? state.release(instance.release) : nullptr;
    const ReleaseService* service = release == nullptr ? nullptr : release->find(instance.service);
    if (service == nullptr || instance.phase == InstancePhase::completed ||
        instance.phase == InstancePhase::failed)
      continue;
    const auto needs = needs_of(service->spec);
    if (std::ranges::any_of(needs, [&](const Grant& need) { return grant.covers(need); }))
      users.insert(fmt::format("{}/{}", instance.environment, instance.service));
  }
  return users;
}

Json grants_view(const State& state, const App& app) {
  Json out = Json::array();
  for (const GrantRecord& record : app.grants) {
    const auto grant = parse_grant(record.grant);
    out.push_back({{"grant", record.grant},
                   {"by", record.by},
                   {"at", record.at},
                   {"used_by", grant ? users_of(state, app.name, *grant) : std::set<std::string>()}});
  }
  return out;
}

}  // namespace naru::control
