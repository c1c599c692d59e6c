// The platform itself: version, tokens, logins, volumes, health, figures, and its end.
#include <sys/statvfs.h>

#include "control/api.h"
#include "control/api_metrics.h"
#include "control/checkout.h"
#include "control/disk_room.h"
#include "control/known_names.h"
#include "ipc/gateway_protocol.h"

namespace naru::control {

namespace {

constexpr std::uint64_t kLowDisk = 2ULL << 30;

// For other machines; "" without a TLS listener.
std::string url_elsewhere(const Context& context) {
  const auto standing = context.tls_standing();
  return standing ? standing->url : "";
}

Answer version(Call& call) {
  const Context& context = call.context;
  const auto standing = context.tls_standing();
  const bool unserved = standing && standing->names.empty();
  const Json answer{{"https_refused", unserved ? standing->refused : ""},
                    {"version", context.version},
                    {"data", context.data.root.string()},
                    {"gateway_port", context.gateway_port},
                    {"api_port", context.tcp_port},
                    {"https", url_elsewhere(context)},
                    {"started", context.started}};
  co_return co_await call.response.send_json(200, answer);
}

// ---- tokens and logins

Answer list_tokens(Call& call) {
  Json out = Json::array();
  for (const TokenInfo& token : call.context.tokens.list()) out.push_back(token);
  const Json reply{{"tokens", out}};
  co_return co_await call.response.send_json(200, reply);
}

Answer create_token(Call& call) {
  CO_TRY(const Json body, co_await read_json(call));
  CO_TRY(const std::string name, text_member(body, "name"));
  CO_TRY(const std::string app, text_member(body, "app", ""));
  if (!app.empty())
    CO_TRY_VOID(call.context.core.read([&](const State& state) { return check_app(state, app); }));
  auto job = [&tokens = call.context.tokens, name, app] { return tokens.create(name, app); };
  CO_TRY(const std::string token, co_await call.work(std::move(job)));
  call.response.header("Cache-Control", "no-store");
  const Json reply{{"name", name}, {"app", app}, {"token", token}};
  co_return co_await call.response.send_json(201, reply);
}

// By path, or by ?name=: older Narus took names that no path can carry ("../x").
Answer delete_token(Call& call) {
  const std::string name = call.parameters.empty() ? call.query("name") : call.parameters.front();
  auto job = [&tokens = call.context.tokens, name] { return tokens.remove(name); };
  CO_TRY_VOID(co_await call.work(std::move(job)));
  const Json reply{{"removed", name}};
  co_return co_await call.response.send_json(200, reply);
}

Answer login_link(Call& call) {
  const std::string path = "/login?code=" + call.context.tokens.make_code();
  Json reply{{"url", fmt::format("http://localhost:{}{}", call.context.tcp_port, path)}};
  if (const std::string elsewhere = url_elsewhere(call.context); !elsewhere.empty())
    reply["https"] = elsewhere + path;
  co_return co_await call.response.send_json(200, reply);
}

Answer login(Call& call) {
  if (call.request.method() != "GET")  // HEAD: a program that looks at links; the code is a person's
    co_return fail(Code::unauthorized, "a login link is for a person's browser");
  auto job = [&tokens = call.context.tokens, code = call.query("code"), address = call.request.peer().ip()] {
    return tokens.redeem(code, address);
  };
  CO_TRY(const std::string session, co_await call.work(std::move(job)));
  call.response.header(
      "Set-Cookie",
      fmt::format("{}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{}", ipc::kSessionCookie, session,
                  Tokens::kSessionLife.count() / 1000, call.request.is_tls() ? "; Secure" : ""));
  call.response.header("Location", "/")
      .header("Cache-Control", "no-store")
      .header("Referrer-Policy", "no-referrer");
  co_return co_await call.response.send(303, "You are logged in.\n");
}

Answer down(Call& call) {
  CO_TRY(const Json body, co_await read_json(call));
  const bool all = body.value("all", Json(false)).is_boolean() && body.value("all", false);
  auto job = [&context = call.context, all] { return context.down(all); };
  CO_TRY(const std::vector<std::string> left, co_await call.work(std::move(job)));
  const Json reply{{"stopping", true}, {"all", all}, {"left", left}};
  co_return co_await call.response.send_json(202, reply);
}

// ---- volumes: "<app>.<environment>.<name>"

Result<Json> volumes_json(Context& context) {
  const auto volumes = TRY(context.launcher.list_volumes());
  return context.core.read([&](const State& state) -> Result<Json> {
    Json out = Json::array();
    for (const ipc::VolumeInfo& volume : volumes) {
      const auto first = volume.name.find('.'), second = volume.name.find('.', first + 1);
      const std::string app = volume.name.substr(0, first);
      const std::string environment =
          second == std::string::npos ? "" : volume.name.substr(first + 1, second - first - 1);
      const std::string name = second == std::string::npos ? volume.name : volume.name.substr(second + 1);
      Json mounted = Json::array();
      for (const auto& [id, instance] : state.instances) {
        const Release* release = state.release(instance.release);
        const ReleaseService* service = release == nullptr ? nullptr : release->find(instance.service);
        if (service == nullptr || instance.app != app || instance.environment != environment) continue;
        for (const MountSpec& mount : service->spec.mounts)
          if (mount.kind == MountKind::volume && mount.source == name) mounted.push_back(id);
      }
      out.push_back({{"name", volume.name},
                     {"bytes", volume.bytes},
                     {"app", app},
                     {"env", environment},
                     {"mounted_by", std::move(mounted)}});
    }
    return Json{{"volumes", std::move(out)}};
  });
}

Answer volumes(Call& call) {
  auto job = [&context = call.context] { return volumes_json(context); };
  CO_TRY(const Json view, co_await call.work(std::move(job)));
  co_return co_await call.response.send_json(200, view);
}

// The launcher knows what is mounted now; that a service waits for its next start, or has not begun yet, is
// known here only.
Result<void> check_idle(const State& state, const std::string& volume) {
  for (const auto& [key, environment] : state.environments) {
    const std::string prefix = network_id(environment.app, environment.name) + ".";
    if (environment.stopped || !volume.starts_with(prefix)) continue;
    const Rollout* rollout = state.active_rollout(environment);
    for (const Release* release : {state.release(environment.stable), state.release(environment.pending),
                                   rollout == nullptr ? nullptr : state.release(rollout->to)}) {
      if (release == nullptr) continue;
      for (const ReleaseService& service : release->services)
        for (const MountSpec& mount : service.spec.mounts)
          if (mount.kind == MountKind::volume && prefix + mount.source == volume)
            return std::unexpected(Error{Code::conflict,
                                         fmt::format("volume {} belongs to {} of {}, v{}", volume,
                                                     service.spec.name, key, release->version),
                                         0,
                                         fmt::format("stop it first: naru app stop {}",
                                                     target_of(environment.app, environment.name))});
    }
  }
  return {};
}

Answer delete_volume(Call& call) {
  const std::string name = call.query("name");
  if (name.empty()) co_return fail(Code::invalid_argument, "?name= is missing");
  auto job = [&context = call.context, name]() -> Result<void> {
    TRY(context.core.read([&](const State& state) { return check_idle(state, name); }));
    // For the launcher removing is done when nothing is there; a person who mistyped must hear of it.
    const auto volumes = TRY(context.launcher.list_volumes());
    std::vector<std::string_view> names;
    for (const ipc::VolumeInfo& volume : volumes) names.push_back(volume.name);
    if (std::ranges::find(names, name) == names.end())
      return no_such("volume", name, names, "naru volume ls");
    return context.launcher.remove_volume(name);
  };
  CO_TRY_VOID(co_await call.long_work(std::move(job)));
  const Json reply{{"removed", name}};
  co_return co_await call.response.send_json(200, reply);
}

// ---- housekeeping

Answer prune(Call& call) {
  CO_TRY(const Json body, co_await read_json(call));
  Housekeeping::Options options;
  const Json dry_run = body.value("dry_run", Json(false)), keep = body.value("keep", Json());
  if (!dry_run.is_boolean()) co_return fail(Code::invalid_argument, "'dry_run' must be true or false");
  options.dry_run = dry_run.get<bool>();
  if (!keep.is_null()) {
    if (!keep.is_number_unsigned() || keep.get<std::uint64_t>() < 1 ||
        keep.get<std::uint64_t>() > Housekeeping::kMostReleasesKept)
      co_return fail(Code::invalid_argument, "'keep' must be a number of releases, 1 to {}",
                     Housekeeping::kMostReleasesKept);
    options.keep_releases = keep.get<std::size_t>();
  }
  auto job = [&housekeeping = call.context.housekeeping, options] {
    return housekeeping.run_by_hand(options);
  };
  CO_TRY(const HousekeepingReport report, co_await call.long_work(std::move(job)));
  const Json reply = report;
  co_return co_await call.response.send_json(200, reply);
}

// ---- doctor

struct Checks {
  Json list = Json::array();
  void add(std::string_view name, bool ok, std::string detail, std::string_view remedy = "") {
    list.push_back({{"name", name}, {"ok", ok}, {"detail", std::move(detail)}, {"remedy", ok ? "" : remedy}});
  }
};

// Only the launcher, which is root, sees them.
void check_firewall(const ipc::LauncherHello& hello, Checks& checks) {
  if (!hello.forward_drops) return;
  const bool none = hello.forward_drops->empty();
  checks.add("firewall", none,
             none ? "no other firewall stops what is forwarded"
                  : fmt::format("what their rules do not allow, chains of another firewall stop: {}",
                                fmt::join(*hello.forward_drops, ", ")),
             "allow Naru's bridges there (Docker: the chain DOCKER-USER; ufw: `ufw route allow`; firewalld: "
             "zone trusted)");
}

void check_launcher(Context& context, Checks& checks) {
  const auto hello = context.launcher.hello();
  if (!hello) return checks.add("launcher", false, hello.error().message(), hello.error().hint());
  checks.add("launcher", true,
             fmt::format("version {}, boot {}", hello->version, hello->boot_id.substr(0, 8)));
  checks.add("cgroups", hello->cgroup != "none", hello->cgroup,
             "mount cgroups: without them there are no limits");
  for (const std::string& notice : hello->notices) checks.add("notice", true, notice);
  check_firewall(*hello, checks);
}

void check_disk(const Context& context, Checks& checks) {
  struct statvfs info{};
  if (::statvfs(context.data.root.c_str(), &info) != 0)
    return checks.add("disk", false, "the data folder's disk cannot be asked");
  const std::uint64_t free = static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
  checks.add(
      "disk", free >= kLowDisk,
      fmt::format("{:.1f} GiB are free below {}", static_cast<double>(free) / (1U << 30),
                  context.data.root.string()),
      "`naru prune` frees what nobody needs; remove images and volumes that are not used: `naru image ls`, "
      "`naru volume ls`");
}

// Nothing bounds what a container writes into its own files and its volumes: at least it is told.
void check_largest(Context& context, Checks& checks) {
  std::vector<std::pair<std::string, std::uint64_t>> sizes;
  if (const auto volumes = context.launcher.list_volumes())
    for (const auto& [name, bytes] : *volumes) sizes.emplace_back("volume " + name, bytes);
  if (const auto containers = context.launcher.container_sizes())
    for (const auto& [name, bytes] : *containers) sizes.emplace_back("container " + name, bytes);
  if (std::string text = largest(std::move(sizes)); !text.empty())
    checks.add("largest", true, "written by applications: " + text);
}

void check_certificate(const Context& context, Checks& checks) {
  if (context.tls == nullptr) return;
  const auto standing = context.tls_standing();
  if (!standing)
    return checks.add("certificate", false, "the supervisor has not given one", "see the log of control");
  const std::string remedy =
      "mend the files that `naru up --tls-cert --tls-key` named; they are read again when they change, and "
      "when "
      "the supervisor gets SIGHUP";
  if (standing->names.empty())
    return checks.add("certificate", false,
                      fmt::format("there is none, and other machines are not served: {}", standing->refused),
                      remedy);
  std::string detail =
      fmt::format("for {}, until {}", fmt::join(standing->names, ", "), to_rfc3339(standing->not_after));
  if (!standing->refused.empty())
    return checks.add(
        "certificate", false,
        fmt::format("{}; its files have changed and were refused: {}", detail, standing->refused), remedy);
  checks.add("certificate", standing->not_after - context.clock.wall() >= standing->renewal(),
             std::move(detail), "renew it in its file, which is read again when it changes");
}

Result<Json> doctor_json(Context& context) {
  Checks checks;
  check_launcher(context, checks);
  check_certificate(context, checks);
  const ipc::GatewayStats stats = context.gateway.stats();
  const auto routes = context.core.read([](const State& state) {
    return std::pair(state.counters.routes_revision, state.counters.routes_acked);
  });
  checks.add(
      "gateway", routes.first == routes.second,
      fmt::format("routes {} are wanted, {} are in use; {} connections, {} requests held, {} malformed "
                  "requests refused",
                  routes.first, routes.second, stats.connections, stats.held_requests, stats.refused_heads),
      "the gateway has not acknowledged the newest routes; see its log");
  for (const auto& [key, why] : context.core.read([](const State& state) {
         std::map<EnvKey, std::string> failed;
         for (const auto& [name, environment] : state.environments)
           if (!environment.network && !environment.network_error.empty())
             failed[name] = environment.network_error;
         return failed;
       }))
    checks.add("network " + key, false, why,
               "it is tried again; without it nothing of this environment starts. Remove what the message "
               "names, or see the launcher's log");
  for (const auto& [key, why] : context.core.read([](const State& state) {
         std::map<EnvKey, std::string> refused;
         for (const auto& [name, environment] : state.environments)
           if (!environment.udp_error.empty()) refused[name] = environment.udp_error;
         return refused;
       }))
    checks.add("udp " + key, false, why,
               "it is tried again; until then datagrams between services of this environment are refused or "
               "reach an older instance. See the launcher's log");
  for (const auto& [name, why] : context.executor.listener_errors())
    checks.add("listener " + name, false, why, "free the port, or choose another one in compose.yaml");
  for (const std::string& what : context.executor.left_out())
    checks.add("routes", false, what, "everything else is routed; push a smaller application, or remove it");
  check_disk(context, checks);
  if (context.launcher.hello()) check_largest(context, checks);
  const auto git = run_program({"git", "--version"}, {}, 4096, 5s);
  checks.add("git", git.has_value(), git ? git->substr(0, git->find('\n')) : git.error().message(),
             "install the package git");
  const auto outbox = context.core.read([](const State& state) { return state.outbox.size(); });
  checks.add("outbox", outbox < 100, fmt::format("{} actions are under way", outbox),
             "see the logs of control and launcher");
  return Json{{"checks", std::move(checks.list)}};
}

Answer doctor(Call& call) {
  auto job = [&context = call.context] { return doctor_json(context); };
  CO_TRY(const Json view, co_await call.work(std::move(job)));
  co_return co_await call.response.send_json(200, view);
}

Answer metrics(Call& call) {
  auto job = [&context = call.context]() -> Result<std::string> { return metrics_text(context); };
  CO_TRY(const std::string text, co_await call.work(std::move(job)));
  co_return co_await call.response.send(200, text, "text/plain; version=0.0.4; charset=utf-8");
}

constexpr Route kRoutes[] = {
    {"GET", "/v1/version", Access::any_token, version},
    {"GET", "/v1/tokens", Access::admin, list_tokens},
    {"POST", "/v1/tokens", Access::admin, create_token},
    {"DELETE", "/v1/tokens", Access::admin, delete_token},
    {"DELETE", "/v1/tokens/{*}", Access::admin, delete_token},
    {"POST", "/v1/login-link", Access::local, login_link},
    {"GET", "/login", Access::anybody, login},
    {"POST", "/v1/down", Access::local, down},
    {"GET", "/v1/volumes", Access::admin, volumes},
    {"DELETE", "/v1/volumes", Access::admin, delete_volume},
    {"POST", "/v1/prune", Access::admin, prune},
    {"GET", "/v1/doctor", Access::admin, doctor},
    {"GET", "/metrics", Access::admin, metrics},
};

}  // namespace

std::span<const Route> platform_routes() {
  return kRoutes;
}

}  // namespace naru::control
