// Applications: what they are, where they stand, what people do with them.
#include "base/log.h"
#include "control/api.h"
#include "control/git_repository.h"
#include "control/grant_view.h"
#include "control/known_names.h"
#include "control/variable_use.h"
#include "control/views.h"

namespace naru::control {

namespace {

constexpr std::uint64_t kMaxListed = 500;
constexpr milliseconds kStopPatience{90'000};

std::string environment_name(const Call& call) {
  std::string name = call.query("env");
  return name.empty() ? "production" : name;
}

// f(state, environment) -> Json, or not_found.
template <class F>
Result<Json> with_environment(Core& core, const std::string& app, const std::string& name, F f) {
  return core.read([&](const State& state) -> Result<Json> {
    TRY(check_environment(state, app, name));
    return f(state, state.environments.at(env_key(app, name)));
  });
}

Answer list_apps(Call& call) {
  const auto around = call.context.around();
  const Json apps = call.context.core.read([&](const State& state) {
    Json out = Json::array();
    for (const auto& [name, app] : state.apps)
      if (call.who.may(name)) out.push_back(app_summary(state, app, around));
    return out;
  });
  const Json reply{{"apps", apps}};
  co_return co_await call.response.send_json(200, reply);
}

// `origin`: as the caller reaches us.
Result<Json> make_app(Context& context, const std::string& app, const std::string& origin) {
  const auto held = context.housekeeping.names();
  const bool exists = context.core.read([&](const State& state) { return state.apps.contains(app); });
  // One without a token was cut short between its making and its token: it is finished now.
  if (!exists || context.tokens.has(app)) {
    // A predecessor whose removal was cut short leaves nothing to the new one.
    context.housekeeping.remove_strays();
    TRY(context.grants_to_drop.make_room(app));
    TRY(context.core.submit(command::CreateApp{app}));
  }
  const auto finish = [&]() -> Result<std::string> {
    TRY(create_repository(context.data, app));
    return context.tokens.create_for(app);
  };
  const auto token = finish();
  if (!token) {
    if (!exists) (void)context.core.submit(command::RemoveApp{app});
    return std::unexpected(token.error());
  }
  return Json{{"app", app}, {"token", *token}, {"git_url", fmt::format("{}/git/{}.git", origin, app)}};
}

Answer create_app(Call& call) {
  CO_TRY(const Json body, co_await read_json(call));
  CO_TRY(const std::string app, text_member(body, "app"));
  const std::string origin = call.request.is_tls()
                                 ? fmt::format("https://{}", call.request.authority())
                                 : fmt::format("http://localhost:{}", call.context.tcp_port);
  auto job = [&context = call.context, app, origin] { return make_app(context, app, origin); };
  CO_TRY(const Json made, co_await call.work(std::move(job)));
  co_return co_await call.response.send_json(201, made);
}

// Stops the environments and waits until their containers are gone. `whose`: for people.
Result<void> stop_and_wait(Context& context, const std::string& whose,
                           const std::vector<EnvKey>& environments) {
  for (const EnvKey& key : environments) TRY(context.core.submit(command::StopEnvironment{key, true}));
  const MonoTime deadline = context.clock.mono() + kStopPatience;
  const auto is_of_them = [&](const auto& row) {
    const EnvKey key = env_key(row.second.app, row.second.environment);
    return std::ranges::find(environments, key) != environments.end();
  };
  const auto left = [&] {
    return context.core.read(
        [&](const State& state) { return std::ranges::count_if(state.instances, is_of_them); });
  };
  while (left() > 0) {
    if (context.stopping) return fail(Code::unavailable, "control is stopping");
    if (context.clock.mono() > deadline)
      return fail(Code::timeout, "{}: {} containers have not stopped within {}", whose, left(),
                  humanize(kStopPatience));
    std::this_thread::sleep_for(100ms);
  }
  return {};
}

Json volumes_of(Context& context, const std::string& prefix) {
  Json volumes = Json::array();
  if (const auto all = context.launcher.list_volumes())
    for (const ipc::VolumeInfo& volume : *all)
      if (volume.name.starts_with(prefix)) volumes.push_back(volume.name);
  return volumes;
}

// All of the application but its volumes, which the answer names.
Result<Json> remove_app(Context& context, const std::string& app) {
  const auto environments = TRY(context.core.read([&](const State& state) -> Result<std::vector<EnvKey>> {
    TRY(check_app(state, app));
    std::vector<EnvKey> keys;
    for (const auto& [key, environment] : state.environments)
      if (environment.app == app) keys.push_back(key);
    return keys;
  }));
  TRY(stop_and_wait(context, app, environments));
  {
    const auto held = context.housekeeping.names();
    // One that stays keeps its tokens and its grants; the next one of the name has neither.
    TRY(context.grants_to_drop.begin(app));
    const auto removed = context.core.submit(command::RemoveApp{app});
    context.grants_to_drop.end(app, removed.has_value());
    if (!removed) return std::unexpected(removed.error());
    if (const auto gone = context.tokens.remove_app(app); !gone)  // they are for nothing now
      log_event(Level::warn, "control.tokens_left", {{"app", app}, {"error", gone.error().message()}});
    if (const auto dropped = context.grants_to_drop.settle(); !dropped)  // when the launcher is back
      log_event(Level::warn, "control.grants_to_drop", {{"error", dropped.error().message()}});
    context.housekeeping.remove_strays();  // its images follow in the background
  }
  return Json{{"app", app}, {"removed", true}, {"volumes", volumes_of(context, app + ".")}};
}

// One environment beside production, but its volumes.
Result<Json> remove_environment(Context& context, const std::string& app, const std::string& name) {
  const EnvKey key = env_key(app, name);
  TRY(context.core.read([&](const State& state) { return check_environment(state, app, name); }));
  // Production is refused by the command: before it is stopped.
  if (name != kProduction) TRY(stop_and_wait(context, key, {key}));
  TRY(context.core.submit(command::RemoveEnvironment{key}));
  return Json{{"app", app},
              {"env", name},
              {"removed", true},
              {"volumes", volumes_of(context, network_id(app, name) + ".")}};
}

Answer delete_environment(Call& call) {
  auto job = [&context = call.context, app = call.app(), name = call.parameters.at(1)] {
    return remove_environment(context, app, name);
  };
  CO_TRY(const Json removed, co_await call.long_work(std::move(job)));
  co_return co_await call.response.send_json(200, removed);
}

Answer delete_app(Call& call) {
  auto job = [&context = call.context, app = call.app()] { return remove_app(context, app); };
  CO_TRY(const Json removed, co_await call.long_work(std::move(job)));
  co_return co_await call.response.send_json(200, removed);
}

Result<Json> status_json(Context& context, const std::string& app, const std::string& name) {
  const auto around = context.around();
  return with_environment(context.core, app, name,
                          [&](const State& state, const Environment& environment) -> Result<Json> {
                            return status_view(state, environment, around);
                          });
}

Answer status(Call& call) {
  CO_TRY(const Json view, status_json(call.context, call.app(), environment_name(call)));
  co_return co_await call.response.send_json(200, view);
}

// They are given on the machine alone, by the launcher: docs/decisions/0011.
Answer grants(Call& call) {
  if (const std::string of = call.query("of"); !of.empty()) {
    // Also of one that nobody could be given any more: then nobody uses it.
    const auto grant = parse_grant(of);
    CO_TRY(const Json users, call.context.core.read([&](const State& state) -> Result<Json> {
      TRY(check_app(state, call.app()));
      const auto used_by = grant ? users_of(state, call.app(), *grant) : std::set<std::string>();
      return Json{{"app", call.app()}, {"grant", of}, {"used_by", used_by}};
    }));
    co_return co_await call.response.send_json(200, users);
  }
  CO_TRY(const Json view, call.context.core.read([&](const State& state) -> Result<Json> {
    TRY(check_app(state, call.app()));
    return Json{{"app", call.app()}, {"grants", grants_view(state, state.apps.at(call.app()))}};
  }));
  co_return co_await call.response.send_json(200, view);
}

Answer releases(Call& call) {
  CO_TRY(const std::uint64_t limit, call.number("limit", 50, kMaxListed));
  const std::string environment = environment_name(call);
  CO_TRY(const Json view, call.context.core.read([&](const State& state) -> Result<Json> {
    TRY(check_app(state, call.app()));
    Json out = Json::array();
    for (auto at = state.releases.rbegin(); at != state.releases.rend() && out.size() < limit; ++at)
      if (at->second.app == call.app() && at->second.environment == environment)
        out.push_back(release_view(state, at->second));
    return Json{{"releases", std::move(out)}};
  }));
  co_return co_await call.response.send_json(200, view);
}

Answer rollouts(Call& call) {
  CO_TRY(const std::uint64_t limit, call.number("limit", 20, kMaxListed));
  const auto around = call.context.around();
  const std::string environment = call.query("env");
  CO_TRY(const Json view, call.context.core.read([&](const State& state) -> Result<Json> {
    TRY(check_app(state, call.app()));
    Json out = Json::array();
    for (auto at = state.rollouts.rbegin(); at != state.rollouts.rend() && out.size() < limit; ++at) {
      if (at->second.app != call.app() || (!environment.empty() && at->second.environment != environment))
        continue;
      out.push_back(rollout_view(state, at->second, around));
    }
    return Json{{"rollouts", std::move(out)}};
  }));
  co_return co_await call.response.send_json(200, view);
}

Answer rollout(Call& call) {
  const auto around = call.context.around();
  const std::string name = environment_name(call);
  CO_TRY(const Json view,
         with_environment(call.context.core, call.app(), name,
                          [&](const State& state, const Environment& environment) -> Result<Json> {
                            const Rollout* newest = newest_rollout(state, environment);
                            if (newest == nullptr)
                              return std::unexpected(
                                  Error{Code::not_found,
                                        fmt::format("{} has had no rollout yet", env_key(call.app(), name)),
                                        0, "push a commit: git push naru main"});
                            return rollout_view(state, *newest, around);
                          }));
  co_return co_await call.response.send_json(200, view);
}

// The commands that people give: body {env?, ...}, answer Status.
template <class MakeCommand>
Answer command_answer(Call& call, MakeCommand make) {
  CO_TRY(const Json body, co_await read_json(call));
  CO_TRY(const std::string name, text_member(body, "env", "production"));
  const EnvKey key = env_key(call.app(), name);
  CO_TRY(Command wanted, make(body, key, call.who.name));
  auto job = [&context = call.context, app = call.app(), name, wanted = std::move(wanted)]() -> Result<Json> {
    TRY(context.core.read([&](const State& state) { return check_environment(state, app, name); }));
    TRY(context.core.submit(wanted));
    return status_json(context, app, name);
  };
  CO_TRY(const Json view, co_await call.work(std::move(job)));
  co_return co_await call.response.send_json(200, view);
}

// As 3 for v3; none when it is left out.
Result<std::optional<std::uint64_t>> version_member(const Json& body) {
  const auto version = body.find("version");
  if (version == body.end() || version->is_null()) return std::nullopt;
  if (!version->is_number_unsigned())
    return fail(Code::invalid_argument, "'version' must be a number, as 3 for v3");
  return version->get<std::uint64_t>();
}

Result<Command> promote_command(const Json& body, const EnvKey& key, const std::string& by) {
  const auto version = TRY(version_member(body));
  return Command(command::Promote{key, by, version});
}
Result<Command> abort_command(const Json&, const EnvKey& key, const std::string& by) {
  return Command(command::Abort{key, by});
}
Result<Command> rollback_command(const Json& body, const EnvKey& key, const std::string& by) {
  const auto version = TRY(version_member(body));
  return Command(command::Rollback{key, version, by});
}
Result<Command> stop_command(const Json&, const EnvKey& key, const std::string&) {
  return Command(command::StopEnvironment{key, true});
}
Result<Command> start_command(const Json&, const EnvKey& key, const std::string&) {
  return Command(command::StopEnvironment{key, false});
}

Answer promote(Call& call) {
  return command_answer(call, promote_command);
}
Answer abort_rollout(Call& call) {
  return command_answer(call, abort_command);
}
Answer rollback(Call& call) {
  return command_answer(call, rollback_command);
}
Answer stop(Call& call) {
  return command_answer(call, stop_command);
}
Answer start(Call& call) {
  return command_answer(call, start_command);
}

Answer variables(Call& call) {
  const bool reveal = call.flag("reveal");
  CO_TRY(const Json view,
         with_environment(call.context.core, call.app(), environment_name(call),
                          [&](const State&, const Environment& environment) -> Result<Json> {
                            Json out = Json::array();
                            for (const auto& [name, value] : environment.variables)
                              out.push_back({{"name", name}, {"value", reveal ? value : "***"}});
                            return Json{{"variables", std::move(out)}};
                          }));
  call.response.header("Cache-Control", "no-store");
  co_return co_await call.response.send_json(200, view);
}

constexpr std::size_t kMaxValue = 64 << 10;

bool is_variable_name(std::string_view name) {
  return !name.empty() && name.size() <= 200 && std::isdigit(static_cast<unsigned char>(name.front())) == 0 &&
         std::ranges::all_of(name, [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
}

Result<command::SetVariables> variables_command(const Json& body, const EnvKey& key, const std::string& by) {
  command::SetVariables wanted{key, {}, {}, by};
  const Json set = body.value("set", Json::object()), unset = body.value("unset", Json::array());
  if (!set.is_object() || !unset.is_array())
    return fail(Code::invalid_argument, "'set' must be an object and 'unset' a list of names");
  for (const auto& [name, value] : set.items()) {
    if (!is_variable_name(name))
      return fail(Code::invalid_argument, "'{}' cannot be a variable's name", name.substr(0, 80));
    if (!value.is_string()) return fail(Code::invalid_argument, "the value of {} must be a text", name);
    if (value.get_ref<const std::string&>().size() > kMaxValue ||
        value.get_ref<const std::string&>().find('\0') != std::string::npos)
      return fail(Code::invalid_argument, "the value of {} is longer than {} bytes, or holds a NUL", name,
                  kMaxValue);
    wanted.set[name] = value;
  }
  for (const Json& name : unset) {
    if (!name.is_string()) return fail(Code::invalid_argument, "'unset' must be a list of names");
    wanted.unset.push_back(name);
  }
  if (wanted.set.empty() && wanted.unset.empty())
    return fail(Code::invalid_argument, "there is nothing to set or unset");
  return wanted;
}

// What is as it is wanted already.
Json without_change(const State& state, const command::SetVariables& wanted) {
  Json unchanged = Json::array(), not_set = Json::array();
  const auto found = state.environments.find(wanted.environment);
  const auto value_of = [&](const std::string& name) -> const std::string* {
    if (found == state.environments.end()) return nullptr;
    const auto variable = found->second.variables.find(name);
    return variable == found->second.variables.end() ? nullptr : &variable->second;
  };
  for (const auto& [name, value] : wanted.set)
    if (const std::string* now = value_of(name); now != nullptr && *now == value) unchanged.push_back(name);
  for (const std::string& name : wanted.unset)
    if (value_of(name) == nullptr) not_set.push_back(name);
  return {{"unchanged", std::move(unchanged)}, {"not_set", std::move(not_set)}};
}

Answer set_variables(Call& call) {
  CO_TRY(const Json body, co_await read_json(call));
  CO_TRY(const std::string name, text_member(body, "env", "production"));
  CO_TRY(auto wanted, variables_command(body, env_key(call.app(), name), call.who.name));
  auto job = [&context = call.context, app = call.app(), wanted = std::move(wanted)]() -> Result<Json> {
    const auto newest = [&] {
      return context.core.read([&](const State& state) {
        const Pipeline* pipeline = newest_pipeline(state, app);
        return pipeline == nullptr ? PipelineId{0} : pipeline->id;
      });
    };
    TRY(context.core.read([&](const State& state) { return check_app(state, app); }));
    Json answer = context.core.read([&](const State& state) { return without_change(state, wanted); });
    command::SetVariables change = wanted;
    change.unseen_by = commit_that_does_not_see(context.core, context.data, wanted);
    const PipelineId before = newest();
    TRY(context.core.submit(std::move(change)));
    const PipelineId after = newest();
    std::vector<std::string> names;
    for (const auto& [name, value] : wanted.set) names.push_back(name);
    answer["used_by"] = services_that_see(context.core, context.data, wanted.environment, names);
    if (after != before)
      answer["pipeline"] = after;
    else if (!answer["unchanged"].empty() || !answer["not_set"].empty())
      answer["hint"] =
          context.core.read([&](const State& state) { return way_to_deliver(state, wanted.environment); });
    return answer;
  };
  CO_TRY(const Json answer, co_await call.work(std::move(job)));
  co_return co_await call.response.send_json(200, answer);
}

Answer instances(Call& call) {
  const std::string app = call.query("app");
  if (!app.empty() && !call.who.may(app))
    co_return fail(Code::forbidden, "the token '{}' is for the application {} only", call.who.name,
                   call.who.app);
  const std::string environment = call.query("env");
  const auto around = call.context.around();
  CO_TRY(const Json out, call.context.core.read([&](const State& state) -> Result<Json> {
    if (!app.empty()) TRY(check_app(state, app));
    if (!app.empty() && !environment.empty()) TRY(check_environment(state, app, environment));
    Json list = Json::array();
    for (const auto& [id, instance] : state.instances)
      if ((app.empty() || instance.app == app) && call.who.may(instance.app) &&
          (environment.empty() || instance.environment == environment))
        list.push_back(instance_view(state, instance, around));
    return list;
  }));
  const Json reply{{"instances", out}};
  co_return co_await call.response.send_json(200, reply);
}

constexpr Route kRoutes[] = {
    {"GET", "/v1/apps", Access::any_token, list_apps},
    {"POST", "/v1/apps", Access::admin, create_app},
    {"DELETE", "/v1/apps/{}", Access::app, delete_app},
    {"DELETE", "/v1/apps/{}/environments/{}", Access::app, delete_environment},
    {"GET", "/v1/apps/{}/status", Access::app, status},
    {"GET", "/v1/apps/{}/grants", Access::app, grants},
    {"GET", "/v1/apps/{}/releases", Access::app, releases},
    {"GET", "/v1/apps/{}/rollouts", Access::app, rollouts},
    {"GET", "/v1/apps/{}/rollout", Access::app, rollout},
    {"POST", "/v1/apps/{}/promote", Access::app, promote},
    {"POST", "/v1/apps/{}/abort", Access::app, abort_rollout},
    {"POST", "/v1/apps/{}/rollback", Access::app, rollback},
    {"POST", "/v1/apps/{}/stop", Access::app, stop},
    {"POST", "/v1/apps/{}/start", Access::app, start},
    {"GET", "/v1/apps/{}/env", Access::app, variables},
    {"POST", "/v1/apps/{}/env", Access::app, set_variables},
    {"GET", "/v1/ps", Access::any_token, instances},
};

}  // namespace

std::span<const Route> app_routes() {
  return kRoutes;
}

}  // namespace naru::control
