#include "platform/platform.h"

#include <cassert>

#include "pipeline/pipeline.h"
#include "platform/retention.h"
#include "rollout/rollout.h"
#include "route/table.h"

namespace naru::platform {

namespace {

constexpr std::size_t kMaxApps = 200;
constexpr std::size_t kMaxVariables = 500;

Result<void> check_name(std::string_view name, std::string_view whose) {
  if (is_valid_name(name)) return {};
  return fail(Code::invalid_argument,
              "'{}' cannot be {} name: it takes 1 to 24 of a-z, 0-9 and '-', beginning with a letter",
              name.substr(0, 64), whose);
}

std::vector<std::string> only_in(const std::vector<GrantRecord>& some,
                                 const std::vector<GrantRecord>& others) {
  std::vector<std::string> grants;
  for (const GrantRecord& record : some)
    if (std::ranges::find(others, record.grant, &GrantRecord::grant) == others.end())
      grants.push_back(record.grant);
  return grants;
}

class Dispatch {
 public:
  explicit Dispatch(Changes& changes) : changes_(changes) {}

  Result<void> operator()(const command::ChooseSecret& c) {
    if (changes_.state().secret.empty()) changes_.emit(event::SecretChosen{c.secret});
    return {};
  }
  Result<void> operator()(const command::ControlStarted&) {
    changes_.emit(event::ControlStarted{});
    return {};
  }
  Result<void> operator()(const command::CreateApp& c) {
    TRY(check_name(c.app, "an application's"));
    if (changes_.state().apps.contains(c.app))
      return fail(Code::already_exists, "there is an application '{}' already", c.app);
    if (changes_.state().apps.size() >= kMaxApps)
      return fail(Code::too_large, "{} applications is the most that one Naru takes", kMaxApps);
    App app;
    app.name = c.app;
    app.created = changes_.now();
    app.first_id = changes_.next_id();
    changes_.emit(event::AppCreated{app});
    Environment production;
    production.app = c.app;
    production.name = kProduction;
    changes_.emit(event::EnvironmentCreated{production});
    return {};
  }

  Result<void> operator()(const command::RemoveApp& c) {
    if (!changes_.state().apps.contains(c.app))
      return fail(Code::not_found, "there is no application '{}'", c.app);
    for (const auto& [id, instance] : changes_.state().instances)
      if (instance.app == c.app)
        return fail(Code::conflict, "{} has containers; stop it first with `naru app stop {}`", c.app, c.app);
    pipeline::cancel(changes_, c.app, "the application is removed");
    const std::vector<EnvKey> environments = environments_of(c.app);
    for (const EnvKey& key : environments) drop_network_actions(key);
    changes_.emit(event::AppRemoved{c.app});
    for (const EnvKey& key : environments) changes_.queue(ActionKind::remove_network, key);
    return {};
  }

  Result<void> operator()(const command::RemoveEnvironment& c) {
    const auto found = changes_.state().environments.find(c.environment);
    if (found == changes_.state().environments.end())
      return fail(Code::not_found, "there is no environment '{}'", c.environment);
    const std::string app = found->second.app;
    if (found->second.name == kProduction)
      return std::unexpected(
          Error{Code::conflict, fmt::format("production of {} is not removed alone", app), 0,
                fmt::format("`naru app stop {}` stops it; `naru app rm {}` removes the whole application",
                            app, app)});
    for (const auto& [id, instance] : changes_.state().instances)
      if (env_key(instance.app, instance.environment) == c.environment)
        return fail(Code::conflict, "{} has containers; stop it first with `naru app stop {}`", c.environment,
                    c.environment);
    drop_network_actions(c.environment);
    changes_.emit(event::EnvironmentRemoved{c.environment});
    changes_.queue(ActionKind::remove_network, c.environment);
    return {};
  }

  // Those of applications that are no more are nobody's.
  Result<void> operator()(const command::GrantsListed& c) {
    for (const auto& [name, app] : std::map(changes_.state().apps)) {
      const auto listed = std::ranges::find(c.apps, name, &AppGrants::app);
      event::GrantsChanged changed{name, {}, {}, {}, "root"};
      if (listed != c.apps.end()) changed.grants = listed->grants;
      if (listed != c.apps.end() && !listed->by.empty()) changed.by = listed->by;
      if (changed.grants == app.grants) continue;
      changed.allowed = only_in(changed.grants, app.grants);
      changed.disallowed = only_in(app.grants, changed.grants);
      changes_.emit(std::move(changed));
    }
    return {};
  }

  Result<void> operator()(const command::SetVariables& c) {
    TRY(make_environment(c.environment));
    const auto found = changes_.state().environments.find(c.environment);
    if (found->second.variables.size() + c.set.size() > kMaxVariables)
      return fail(Code::too_large, "{}: {} variables is the most", c.environment, kMaxVariables);
    // What is so already is no change, and brings nothing to users again.
    event::VariablesSet changed{c.environment, c.set, c.unset};
    const auto& now = found->second.variables;
    const auto is_so = [&](const auto& wanted) {
      const auto there = now.find(wanted.first);
      return there != now.end() && there->second == wanted.second;
    };
    std::erase_if(changed.set, is_so);
    std::erase_if(changed.unset, [&](const std::string& name) { return !now.contains(name); });
    if (changed.set.empty() && changed.unset.empty()) return {};
    changes_.emit(std::move(changed));
    const Pipeline* again = pipeline::to_rerun(changes_.state(), c.environment);
    if (again != nullptr && again->commit != c.unseen_by)
      pipeline::rerun(changes_, c.environment, "variables changed");
    return {};
  }

  Result<void> operator()(const command::Push& c) { return pipeline::decide(changes_, c); }
  Result<void> operator()(const command::RetryPipeline& c) { return pipeline::decide(changes_, c); }
  Result<void> operator()(const command::Promote& c) { return rollout::decide(changes_, c); }
  Result<void> operator()(const command::Abort& c) { return rollout::decide(changes_, c); }
  Result<void> operator()(const command::Rollback& c) { return rollout::decide(changes_, c); }
  Result<void> operator()(const command::StopEnvironment& c) { return rollout::decide(changes_, c); }

  Result<void> operator()(const command::Housekeep& c) {
    for (const auto& [name, app] : std::map(changes_.state().apps)) {
      event::HistoryRemoved removed = forgettable(changes_.state(), name, c.keep_releases);
      if (!removed.rollouts.empty() || !removed.releases.empty() || !removed.pipelines.empty())
        changes_.emit(std::move(removed));
    }
    return {};
  }
  Result<void> operator()(const command::NetworkRemoved& c) {
    changes_.done(c.action);
    return {};
  }
  Result<void> operator()(const command::ContainerRemoved& c) {
    changes_.done(c.action);
    return {};
  }
  Result<void> operator()(const command::RoutesAcked& c) {
    changes_.done(c.action);
    if (c.revision > changes_.state().counters.routes_acked) changes_.emit(event::RoutesAcked{c.revision});
    // The table changed again while this one was on its way.
    if (c.revision < changes_.state().counters.routes_revision)
      changes_.queue(ActionKind::publish_routes, std::to_string(changes_.state().counters.routes_revision));
    return {};
  }
  Result<void> operator()(const command::PortTaken& c) {
    route::decide(changes_, c);
    return {};
  }
  Result<void> operator()(const command::UdpRoutesSet& c) {
    route::decide(changes_, c);
    return {};
  }
  Result<void> operator()(const command::UdpRoutesRefused& c) {
    route::decide(changes_, c);
    return {};
  }
  Result<void> operator()(const command::Tick&) { return {}; }

  template <class C>
    requires requires(Changes& changes, const C& c) { pipeline::decide(changes, c); } ||
             requires(Changes& changes, const C& c) { rollout::decide(changes, c); }
  Result<void> operator()(const C& c) {
    if constexpr (requires { pipeline::decide(changes_, c); })
      pipeline::decide(changes_, c);
    else
      rollout::decide(changes_, c);
    return {};
  }

 private:
  std::vector<EnvKey> environments_of(const std::string& app) const {
    std::vector<EnvKey> keys;
    for (const auto& [key, environment] : changes_.state().environments)
      if (environment.app == app) keys.push_back(key);
    return keys;
  }
  void drop_network_actions(const EnvKey& key) {
    for (const auto& [id, action] : std::map(changes_.state().outbox))
      if (action.subject == key &&
          (action.kind == ActionKind::ensure_network || action.kind == ActionKind::set_udp_routes))
        changes_.done(id);
  }
  // An environment may be given its variables before the first push that declares it.
  Result<void> make_environment(const EnvKey& key) {
    const State& state = changes_.state();
    if (state.environments.contains(key)) return {};
    const auto slash = key.find('/');
    Environment fresh;
    fresh.app = key.substr(0, slash);
    if (!state.apps.contains(fresh.app))
      return fail(Code::not_found, "there is no application '{}'", fresh.app);
    fresh.name = slash == EnvKey::npos ? std::string() : key.substr(slash + 1);
    TRY(check_name(fresh.name, "an environment's"));
    const auto count = std::ranges::count_if(state.environments,
                                             [&](const auto& row) { return row.second.app == fresh.app; });
    if (static_cast<std::size_t>(count) >= kMaxEnvironments)
      return fail(Code::too_large, "{}: {} environments is the most", fresh.app, kMaxEnvironments);
    changes_.emit(event::EnvironmentCreated{std::move(fresh)});
    return {};
  }

  Changes& changes_;
};

}  // namespace

Result<void> decide(Changes& changes, const Command& command) {
  TRY(std::visit(Dispatch(changes), command));
  std::vector<EnvKey> environments;
  for (const auto& [key, environment] : changes.state().environments) environments.push_back(key);
  for (int pass = 0; pass < kMaxPasses; ++pass) {
    const std::size_t before = changes.events().size();
    for (const EnvKey& key : environments) {
      pipeline::hand_on(changes, key);
      rollout::reconcile(changes, key);
    }
    route::reconcile(changes);
    if (changes.events().size() == before) return {};
  }
  assert(!"the deciders do not come to rest");
  return fail(Code::internal, "the deciders do not come to rest");
}

}  // namespace naru::platform
