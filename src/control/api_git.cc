// git over HTTP, and what its hooks ask: may this push come in, and how does it go on?
#include "base/utf8.h"
#include "control/api.h"
#include "control/api_pipelines.h"
#include "control/git_cgi.h"
#include "control/git_check.h"
#include "control/git_repository.h"
#include "control/how_built.h"
#include "control/views.h"

namespace naru::control {

namespace {

constexpr std::uint64_t kMaxBody =
    2ULL << 30;  // read and thrown away beyond git's own bound, so that its message arrives
constexpr int kMaxGit = 32;

std::vector<std::string> cgi_environment(const Call& call, const std::string& rest) {
  const io::Request& request = call.request;
  const Context& context = call.context;
  std::vector<std::string> out{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                               "LC_ALL=C.UTF-8",
                               "HOME=" + context.data.control().string(),
                               "GIT_CONFIG_NOSYSTEM=1",
                               "GIT_CONFIG_GLOBAL=/dev/null",
                               "GIT_TERMINAL_PROMPT=0",
                               "GIT_PROJECT_ROOT=" + context.data.git().string(),
                               "GIT_HTTP_EXPORT_ALL=1",
                               "GIT_HTTP_MAX_REQUEST_BUFFER=100M",
                               "PATH_INFO=/" + call.app() + ".git/" + rest,
                               "REQUEST_METHOD=" + std::string(request.method()),
                               "QUERY_STRING=" + std::string(request.query()),
                               "REMOTE_USER=" + call.who.name,
                               "REMOTE_ADDR=" + request.peer().ip(),
                               "SERVER_PROTOCOL=HTTP/1.1",
                               "GATEWAY_INTERFACE=CGI/1.1",
                               "NARU_DATA=" + context.data.root.string(),
                               "NARU_APP=" + call.app(),
                               "NARU_EXECUTABLE=" + context.executable};
  const auto pass = [&](std::string_view field, std::string_view name) {
    if (const auto value = request.header(field)) out.push_back(fmt::format("{}={}", name, *value));
  };
  pass("content-type", "CONTENT_TYPE");
  pass("content-encoding", "HTTP_CONTENT_ENCODING");
  pass("git-protocol", "GIT_PROTOCOL");
  // No CONTENT_LENGTH: with it git http-backend (2.39) spins for ever on a body that ends early; without, the
  // end of its input is the end of the body.
  const std::pair<std::string_view, std::string> config[] = {
      {"http.receivepack", "true"},
      {"receive.maxInputSize", std::to_string(context.max_push_bytes)},
      {"receive.autogc", "false"},
      {"receive.denyNonFastForwards", "false"},
      {"receive.denyDeletes", "false"},
      {"receive.advertisePushOptions", "false"},
      {"core.protectNTFS", "true"},
      {"safe.directory", "*"},
      {"receive.keepAlive", "5"},
      {"receive.unpackLimit", "1"},
      {"core.bigFileThreshold", "16m"},
      {"pack.threads", "1"},  // large files as a stream, not in memory
      // Of two pushes at once the later one waits for the lock, and meets the commit that came first.
      {"core.filesRefLockTimeout", "5000"}};
  std::size_t count = 0;
  for (const auto& [key, value] : config) {
    out.push_back(fmt::format("GIT_CONFIG_KEY_{}={}", count, key));
    out.push_back(fmt::format("GIT_CONFIG_VALUE_{}={}", count++, value));
  }
  out.push_back(fmt::format("GIT_CONFIG_COUNT={}", count));
  return out;
}

// The smart protocol's three addresses; everything else of a repository is nobody's business.
bool is_smart(const io::Request& request, std::string_view rest) {
  if (rest == "info/refs") {
    const auto service = request.query("service");
    return request.method() == "GET" && service &&
           (*service == "git-upload-pack" || *service == "git-receive-pack");
  }
  return request.method() == "POST" && (rest == "git-upload-pack" || rest == "git-receive-pack");
}

struct Counted {  // runs of git at once
  explicit Counted(int& counter) : counter_(counter) { ++counter_; }
  ~Counted() { --counter_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  int& counter_;
};

Answer serve_git(Call& call) {
  const std::string rest = call.parameters.at(1);
  const bool known =
      call.context.core.read([&](const State& state) { return state.apps.contains(call.app()); });
  if (!known)
    co_return std::unexpected(
        Error{Code::not_found, fmt::format("there is no application '{}'", call.app().substr(0, 64)), 0,
              fmt::format("create it with `naru app create {}`", call.app().substr(0, 64))});
  if (!is_smart(call.request, rest))
    co_return fail(Code::not_found, "there is no {} here; any git client of this century works",
                   call.request.path().substr(0, 200));
  if (call.request.content_length().value_or(0) > kMaxBody)
    co_return std::unexpected(Error{
        Code::too_large,
        fmt::format("a push of {} bytes; {} is what is read at all", *call.request.content_length(),
                    kMaxBody),
        0,
        fmt::format("take large files out of its commits; a push has {} MiB at most (naru up --max-push-mb)",
                    call.context.max_push_bytes >> 20)});
  if (call.context.git_running >= kMaxGit)
    co_return fail(Code::busy, "{} pushes and fetches run already", kMaxGit);
  const Counted counted(call.context.git_running);
  auto prepare = [&data = call.context.data, app = call.app()] { return create_repository(data, app); };
  CO_TRY_VOID(co_await call.work(std::move(prepare)));
  call.request.limit_body(kMaxBody);
  const auto environment = cgi_environment(call, rest);
  const PushBounds bounds{call.context.max_push_bytes, call.context.data.git().string()};
  co_return co_await run_git(call.request, call.response, environment, bounds);
}

// ---- the hooks' side

struct HookCall {
  std::string app;
  std::vector<RefUpdate> updates;
  GitEnvironment quarantine;
};

bool is_object_id(std::string_view text) {
  return (text.size() == 40 || text.size() == 64) &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Result<HookCall> hook_call(const Json& body, const ipc::DataFolder& data) {
  HookCall out;
  out.app = TRY(text_member(body, "app"));
  const Json updates = body.value("updates", Json::array());
  if (!updates.is_array() || updates.size() > kMaxRefUpdates)
    return fail(Code::too_large, "more than {} refs are pushed at once", kMaxRefUpdates);
  for (const Json& row : updates) {
    if (!row.is_object()) return fail(Code::malformed, "an update of a ref is not an object");
    RefUpdate update;
    update.old_commit = TRY(text_member(row, "old"));
    update.commit = TRY(text_member(row, "new"));
    update.ref = TRY(text_member(row, "ref"));
    if (!is_object_id(update.old_commit) || !is_object_id(update.commit))
      return fail(Code::malformed, "'{}' is not an object's id", update.commit.substr(0, 80));
    out.updates.push_back(std::move(update));
  }
  const std::string repository = data.repository(out.app).string() + "/";
  const auto add = [&](const char* member, const char* variable) -> Result<void> {
    const std::string path = TRY(text_member(body, member, ""));
    if (path.empty()) return {};
    if (!path.starts_with(repository) || path.find("/../") != std::string::npos)
      return fail(Code::forbidden, "{} does not lie in the repository", member);
    out.quarantine.push_back(fmt::format("{}={}", variable, path));
    return {};
  };
  TRY(add("object_directory", "GIT_OBJECT_DIRECTORY"));
  TRY(add("alternates", "GIT_ALTERNATE_OBJECT_DIRECTORIES"));
  TRY(add("quarantine", "GIT_QUARANTINE_PATH"));
  return out;
}

Answer check(Call& call) {
  CO_TRY(const Json body, co_await read_json(call, 2U << 20));
  CO_TRY(const HookCall hook, hook_call(body, call.context.data));
  auto job = [&context = call.context, hook]() -> Result<PushVerdict> {
    return check_push(context.core, context.data, hook.app, hook.updates, hook.quarantine);
  };
  CO_TRY(const PushVerdict verdict,
         co_await io::offload(call.context.reactor, call.context.pushes, std::move(job)));
  const Json reply{{"accepted", verdict.accepted}, {"lines", verdict.lines}};
  co_return co_await call.response.send_json(200, reply);
}

struct Started {
  std::vector<std::string> remarks;  // about refs that are only kept
  std::optional<PipelineId> pipeline;
};

Result<Started> start_pipeline(Context& context, const HookCall& hook) {
  Started started;
  const auto branch = context.core.read([&](const State& state) {
    const auto found = state.apps.find(hook.app);
    return found == state.apps.end() ? std::string("main") : found->second.branch;
  });
  for (const RefUpdate& update : hook.updates) {
    if (update.deletes()) continue;
    if (update.ref != "refs/heads/" + branch) {
      started.remarks.push_back(fmt::format("{} is kept; what is delivered is {}: git push naru HEAD:{}",
                                            update.ref, branch, branch));
      continue;
    }
    const auto handed_in = TRY(context.deliveries.hand_in(hook.app));
    if (!handed_in) continue;  // somebody removed the branch behind git's back
    const CommitInfo& info = *handed_in;
    if (info.commit != update.commit)
      started.remarks.push_back(fmt::format("{} was overtaken by another push: {} is delivered",
                                            update.commit.substr(0, 10), info.commit.substr(0, 10)));
    started.pipeline = context.core.read([&](const State& state) -> std::optional<PipelineId> {
      const Pipeline* newest = newest_pipeline(state, hook.app);
      if (newest == nullptr || newest->commit != info.commit) return std::nullopt;
      return newest->id;
    });
  }
  return started;
}

std::string duration_between(WallTime from, WallTime to) {
  return from == WallTime{} || to < from ? "" : humanize(to - from);
}

// Why it failed stands in its log, which the person has just read; a full disk may have kept it out of there.
bool is_told(const Pipeline& pipeline, std::string_view log) {
  const auto has = [&](const std::string& error) {
    return !error.empty() && log.find(error) != std::string_view::npos;
  };
  return has(pipeline.error) ||
         std::ranges::any_of(pipeline.builds, [&](const BuildStage& build) { return has(build.error); });
}

// Stages with their times, and what comes next.
std::string summary(const State& state, const Pipeline& pipeline, const Surroundings& around,
                    std::string_view log) {
  std::string out = "\n";
  for (const BuildStage& build : pipeline.builds) {
    const ServiceSpec* service = pipeline.spec.find(build.service);
    const std::string_view how =
        build.state == StageState::failed      ? "failed"
        : build.state == StageState::cancelled ? "cancelled"
        : service == nullptr || !build.image
            ? "built"
            : how_built(state, pipeline, *service, build.image->manifest, build.cached);
    out += fmt::format("  {:<16} {:<13} {}\n", build.service, how,
                       duration_between(build.started, build.finished));
  }
  const std::string took = duration_between(pipeline.pushed, pipeline.finished);
  if (pipeline.state == StageState::cancelled) return out + fmt::format("cancelled: {}\n", pipeline.error);
  const Release* release = state.release(pipeline.release);
  if (release == nullptr) {
    const std::string why = is_told(pipeline, log) ? "why stands above"
                            : pipeline.hint.empty()
                                ? pipeline.error
                                : fmt::format("{}\nhint: {}", pipeline.error, pipeline.hint);
    return out + fmt::format(
                     "no release was made: {}\nwhat runs goes on as before.\n"
                     "  its log again:                 naru pipeline {} {} --log\n"
                     "  once more, the same commit:    naru pipeline retry {}\n",
                     why, pipeline.app, pipeline.id, pipeline.app);
  }
  out += fmt::format("release v{} of {} is made, {} after the push\n", release->version, pipeline.app, took);
  if (!release->after.empty())
    out += fmt::format("it comes to production when {} serves it\n", release->after);
  else if (release->deploy == DeployMode::manual)
    out += fmt::format("it waits for a person: naru promote {}\n", pipeline.app);
  out += fmt::format("watch it go to the users: naru status {} --watch\n", pipeline.app);
  for (const auto& [id, made] : state.releases) {
    const auto environment = state.environments.find(env_key(made.app, made.environment));
    if (made.pipeline != pipeline.id || environment == state.environments.end()) continue;
    if (pipeline.spec.every_environment().size() > 1) out += made.environment + ":\n";
    for (const Address& address : addresses_of(state, environment->second, made, around.gateway_port))
      out += fmt::format("  {:<16} {}\n", address.service, address.url);
  }
  return out;
}

Answer pushed(Call& call) {
  CO_TRY(const Json body, co_await read_json(call, 2U << 20));
  CO_TRY(const HookCall hook, hook_call(body, call.context.data));
  auto job = [&context = call.context, hook] { return start_pipeline(context, hook); };
  CO_TRY(const Started started,
         co_await io::offload(call.context.reactor, call.context.pushes, std::move(job)));
  CO_TRY_VOID(co_await call.response.start(200, std::nullopt, "text/plain; charset=utf-8"));
  for (const std::string& remark : started.remarks)
    CO_TRY_VOID(co_await call.response.write(printable(remark) + "\n"));
  if (started.pipeline) {
    CO_TRY_VOID(co_await follow_pipeline(call, *started.pipeline));
    const auto around = call.context.around();
    auto read = [&log = call.context.log, id = *started.pipeline]() -> Result<std::string> {
      std::uint64_t offset = 0;
      return log.read(id, offset);
    };
    CO_TRY(const std::string log, co_await call.work(std::move(read)));
    const std::string end = call.context.core.read([&](const State& state) {
      const auto found = state.pipelines.find(*started.pipeline);
      return found == state.pipelines.end() ? std::string() : summary(state, found->second, around, log);
    });
    CO_TRY_VOID(co_await call.response.write(printable(end)));
  }
  co_return co_await call.response.finish();
}

constexpr Route kRoutes[] = {
    {"*", "/git/{}.git/{*}", Access::app, serve_git},
    {"POST", "/internal/check", Access::local, check},
    {"POST", "/internal/pushed", Access::local, pushed},
};

}  // namespace

std::span<const Route> git_routes() {
  return kRoutes;
}

}  // namespace naru::control
