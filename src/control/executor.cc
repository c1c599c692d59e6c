#include "control/executor.h"

#include <fstream>
#include <set>

#include "base/log.h"
#include "control/checkout.h"
#include "control/credentials.h"
#include "control/disk_room.h"
#include "control/failed_requests.h"
#include "control/git_check.h"
#include "control/how_built.h"
#include "control/launcher_bench.h"
#include "control/plan.h"
#include "control/probing.h"
#include "image/pull.h"
#include "pipeline/pipeline.h"
#include "route/snapshot.h"
#include "route/table.h"

namespace naru::control {

namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kOldLogBytes = 1U << 20;

std::map<std::string, std::string> host_proxies() {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  return build::host_proxy_variables(environment);
}

// The variables of the application, and what a build is handed of the host's.
std::vector<std::string> secrets_of_build(const Core& core, const std::string& app) {
  auto secrets = core.read([&](const State& state) { return secrets_of(state, app); });
  std::ranges::move(host_credentials(host_proxies()), std::back_inserter(secrets));
  return secrets;
}

std::optional<Pipeline> pipeline_of(const Core& core, const Action& action) {
  return core.read([&](const State& state) -> std::optional<Pipeline> {
    const auto found = state.pipelines.find(std::stoull(action.subject));
    if (found == state.pipelines.end()) return std::nullopt;
    return found->second;
  });
}

ImageInfo info_of(const image::Image& image) {
  ImageInfo info;
  info.manifest = image.manifest;
  for (const image::Layer& layer : image.layers) info.layers.push_back(layer.diff_id);
  info.entrypoint = image.config.entrypoint;
  info.command = image.config.cmd;
  info.env = image.config.env;
  info.working_dir = image.config.working_dir;
  info.user = image.config.user;
  info.stop_signal = image.config.stop_signal;
  info.health = image.config.health;
  info.volumes = image.config.volumes;
  for (const std::string& port : image.config.exposed_ports)
    if (port.find("/udp") == std::string::npos)
      info.exposed.push_back(static_cast<std::uint16_t>(std::strtoul(port.c_str(), nullptr, 10)));
  return info;
}

std::string network_of(const EnvKey& key) {
  const auto slash = key.find('/');
  return network_id(key.substr(0, slash), key.substr(slash + 1));
}

std::vector<std::string> environment_of(const ServiceSpec& spec, const ImageInfo& image) {
  std::map<std::string, std::string> merged;
  for (const std::string& entry : image.env)
    merged[entry.substr(0, entry.find('='))] = entry.substr(entry.find('=') + 1);
  for (const auto& [name, value] : spec.environment) merged[name] = value;
  std::vector<std::string> environment;
  for (const auto& [name, value] : merged) environment.push_back(name + "=" + value);
  return environment;
}

// Compose: an entrypoint of the service's own drops the image's command.
std::vector<std::string> argv_of(const ServiceSpec& spec, const ImageInfo& image) {
  std::vector<std::string> argv = spec.entrypoint ? *spec.entrypoint : image.entrypoint;
  const std::vector<std::string> command = spec.command      ? *spec.command
                                           : spec.entrypoint ? std::vector<std::string>()
                                                             : image.command;
  argv.insert(argv.end(), command.begin(), command.end());
  return argv;
}

// Why an instance did not start, with what to do about it where that is more than what stands for every
// error.
std::string with_remedy(const Error& error) {
  const bool of_the_program =
      error.code == Code::command_not_found || error.code == Code::command_not_executable;
  if (error.remedy.empty() && !of_the_program) return error.message();
  return fmt::format("{} ({})", error.message(), error.hint());
}

}  // namespace

bool is_transient(const Error& error) {
  return error.code == Code::unavailable || error.code == Code::closed || error.code == Code::busy;
}

std::string retry_of(const Error& error, const std::string& app) {
  switch (error.code) {
    case Code::base_image_missing:
    case Code::image_unknown:
    case Code::registry_refused:
    case Code::digest_mismatch:
    case Code::unreachable:
    case Code::tls_failure:
    case Code::timeout:
    case Code::disk_full:
    case Code::network_exhausted:
    case Code::worker_failed:
    case Code::port_taken:
      return "then, without a new commit: naru pipeline retry " + app;
    default:
      return {};
  }
}

std::string retry_hint(const Error& error, const std::string& app) {
  const std::string retry = retry_of(error, app);
  return retry.empty() ? std::string(error.hint()) : fmt::format("{}; {}", error.hint(), retry);
}

Executor::Executor(Parts parts)
    : parts_(std::move(parts)),
      bench_(std::make_unique<LauncherBench>(parts_.launcher)),
      reach_(parts_.core, parts_.allowed_registries),
      http_([this](const io::Url& url, const io::Address& address) { return reach_.check(url, address); }),
      store_images_(parts_.images,
                    [this](const format::ImageReference& reference, const build::Images::Progress& progress,
                           std::stop_token) {
                      image::PullOptions options;
                      options.progress = progress;
                      auto pulled = image::pull(parts_.images, http_, reference, options);
                      // A registry that is away has been tried often enough: only an absent launcher is
                      // waited for.
                      if (!pulled && is_transient(pulled.error()))
                        pulled.error().code = Code::registry_refused;
                      return pulled;
                    }),
      listening_(parts_.supervisor, parts_.clock) {}

Executor::~Executor() = default;

std::optional<Command> Executor::execute(const Action& action, std::stop_token stop) {
  switch (action.kind) {
    case ActionKind::plan_pipeline:
      return plan(action);
    case ActionKind::build_service:
      return build(action, stop);
    case ActionKind::ensure_network:
      return ensure_network(action);
    case ActionKind::remove_network:
      return remove_network(action);
    case ActionKind::set_udp_routes:
      return set_udp_routes(action);
    case ActionKind::start_instance:
      return start(action);
    case ActionKind::stop_instance:
      return this->stop(action);
    case ActionKind::remove_container:
      return remove(action);
    case ActionKind::publish_routes:
      if (auto revision = publish_routes())
        return command::RoutesAcked{action.id, *revision};
      else
        log_event(Level::warn, "control.publish_routes", {{"error", revision.error().message()}});
      return std::nullopt;
  }
  return std::nullopt;
}

std::optional<Command> Executor::plan(const Action& action) {
  const auto pipeline = pipeline_of(parts_.core, action);
  command::PlanFinished result;
  result.action = action.id;
  result.pipeline = std::stoull(action.subject);
  if (!pipeline) return result;
  parts_.log.append(pipeline->id,
                    fmt::format("commit {} {}", pipeline->commit.substr(0, 10), pipeline->subject));
  const auto refuse = [&](const Error& error) {
    result.error = error.message();
    // Errors of the file bring their hints with each line.
    const bool told = result.error.find("hint: ") != std::string::npos;
    result.hint = told ? retry_of(error, pipeline->app) : retry_hint(error, pipeline->app);
    parts_.log.append(pipeline->id,
                      result.hint.empty() ? result.error : result.error + "\nhint: " + result.hint);
  };
  const auto read = [&]() -> Result<Plan> {
    const fs::path checkout = TRY(check_out(parts_.data, pipeline->app, pipeline->commit));
    return read_plan(parts_.core, checkout, pipeline->app);
  };
  if (auto made = read()) {
    // Checked at the push already; variables or another push may have changed what it asks for since.
    if (auto ports = parts_.core.read(
            [&](const State& state) { return check_host_ports(state, pipeline->app, *made); });
        !ports)
      refuse(ports.error());
    result.spec = std::move(made->spec);
    result.elsewhere = std::move(made->elsewhere);
    result.warnings = std::move(made->warnings);
  } else {
    refuse(made.error());
  }
  return result;
}

std::optional<Command> Executor::build(const Action& action, std::stop_token stop) {
  const auto pipeline = pipeline_of(parts_.core, action);
  command::BuildFinished result{action.id, std::stoull(action.subject), action.detail, false, {}, {}};
  const ServiceSpec* service = pipeline ? pipeline->spec.find(action.detail) : nullptr;
  if (service == nullptr) return result;
  const auto using_images = parts_.gate.use();
  auto built = within(deadline_of(pipeline->id), parts_.clock, stop, [&](std::stop_token until) {
    auto room = check_room(parts_.data.root, service->build ? "a build" : "a pull");
    return room ? build_image(*pipeline, *service, std::move(until), result.cached)
                : Result<ImageInfo>(std::unexpected(room.error()));
  });
  if (!built && (is_transient(built.error()) || stop.stop_requested())) return std::nullopt;
  if (built) {
    result.image = std::move(*built);
    for (const std::string& warning : pipeline::volume_warnings(*service, result.image))
      parts_.log.append(pipeline->id, "warning: " + warning);
    parts_.log.append(pipeline->id, parts_.core.read([&](const State& state) {
      return fmt::format("[{}] {}", service->name,
                         how_built(state, *pipeline, *service, result.image.manifest, result.cached));
    }));
    if (const std::string notice = probe_notice(*service, result.image); !notice.empty())
      parts_.log.append(pipeline->id, fmt::format("[{}] {}", service->name, notice));
  } else {
    auto secrets = secrets_of_build(parts_.core, pipeline->app);
    if (service->build)
      for (const auto& [name, value] : service->build->args) secrets.push_back(value);
    result.error = mask(built.error().message(), secrets);
    result.hint = retry_hint(built.error(), pipeline->app);
    parts_.log.append(pipeline->id,
                      fmt::format("[{}] {}\nhint: {}", service->name, result.error, result.hint));
  }
  return result;
}

MonoTime Executor::deadline_of(PipelineId pipeline) {
  const std::lock_guard lock(deadlines_mutex_);
  return deadlines_.of(pipeline, parts_.clock.mono());
}

Result<ImageInfo> Executor::build_image(const Pipeline& pipeline, const ServiceSpec& service,
                                        std::stop_token stop, bool& cached) {
  const auto secrets = secrets_of_build(parts_.core, pipeline.app);
  // Tests and image are two builds that share most steps: what was there already is said once.
  std::set<std::string, std::less<>> cached_lines;
  const auto progress = [&](std::string_view line) {
    if (line.ends_with(": cached") && !cached_lines.emplace(line).second) return;
    parts_.log.append(pipeline.id, line, secrets);
  };
  if (!service.build) {
    const auto reference = TRY(format::ImageReference::parse(service.image));
    cached = parts_.images.resolve(reference).has_value();
    return unpacked(TRY(store_images_.resolve(reference, progress, stop)));
  }
  const fs::path checkout = TRY(check_out(parts_.data, pipeline.app, pipeline.commit));
  build::BuildRequest request;
  request.id = fmt::format("p{}-{}", pipeline.id, service.name).substr(0, 40);
  request.name = service.name;
  request.checkout = checkout;
  request.checkout_path = pipeline.app + "/" + pipeline.commit;
  request.context = service.build->context;
  request.dockerfile = service.build->dockerfile;
  request.args = service.build->args;
  request.proxy = host_proxies();
  const build::Builder builder(*bench_, store_images_, parts_.cache, parts_.clock);
  bool tests_cached = true;  // they share steps with the image: what they built is built
  if (!service.test_target.empty() && service.test_target != service.build->target) {
    build::BuildRequest test = request;
    test.target = service.test_target;
    test.missing_target_is_fine = true;
    tests_cached = TRY(builder.build(test, progress, stop)).cached;
  }
  request.target = service.build->target;
  const build::BuildResult result = TRY(builder.build(request, progress, stop));
  cached = result.cached && tests_cached;
  const auto tag = format::ImageReference::parse(
      fmt::format("{}/{}:{}", pipeline.app, service.name, pipeline.commit.substr(0, 12)));
  if (tag) TRY(parts_.images.tag(*tag, result.manifest, pipeline.app));
  return unpacked(result.image);
}

Result<ImageInfo> Executor::unpacked(const image::Image& image) {
  for (const image::Layer& layer : image.layers)
    TRY(parts_.launcher.unpack_layer(layer.blob, layer.diff_id, layer.media_type));
  return info_of(image);
}

std::optional<Command> Executor::ensure_network(const Action& action) {
  auto network = parts_.launcher.ensure_network(network_of(action.subject));
  if (network) return command::NetworkReady{action.id, action.subject, *network};
  log_event(Level::warn, "control.network",
            {{"environment", action.subject}, {"error", network.error().message()}});
  // Told where people look; tried again all the same.
  if (!is_transient(network.error()))
    (void)parts_.core.submit(command::NetworkFailed{
        action.subject, fmt::format("{} ({})", network.error().message(), network.error().hint())});
  return std::nullopt;
}

// Of an application that is no more. Its last containers may be about to go: then once more.
std::optional<Command> Executor::remove_network(const Action& action) {
  auto removed = parts_.launcher.remove_network(network_of(action.subject));
  if (removed || removed.error().code == Code::not_found) return command::NetworkRemoved{action.id};
  if (removed.error().code != Code::conflict)
    log_event(Level::warn, "control.remove_network",
              {{"environment", action.subject}, {"error", removed.error().message()}});
  return std::nullopt;
}

// What was read first is sent first: never older ones after newer ones.
Result<std::string> Executor::send_udp_routes(const EnvKey& environment) {
  const std::lock_guard lock(udp_mutex_);
  const UdpRoutes routes =
      parts_.core.read([&](const State& state) { return route::udp_routes_of(state, environment); });
  TRY(parts_.launcher.set_udp_routes(network_of(environment), routes));
  return route::digest_of(routes);
}

std::optional<Command> Executor::set_udp_routes(const Action& action) {
  auto sent = send_udp_routes(action.subject);
  if (sent) return command::UdpRoutesSet{action.id, action.subject, *sent};
  log_event(Level::warn, "control.udp", {{"environment", action.subject}, {"error", sent.error().message()}});
  // Told where people look; tried again all the same.
  if (!is_transient(sent.error()))
    (void)parts_.core.submit(command::UdpRoutesRefused{
        action.subject, fmt::format("{} ({})", sent.error().message(), sent.error().hint())});
  return std::nullopt;
}

void Executor::set_udp_routes_again() {
  const auto keys = parts_.core.read([](const State& state) {
    std::vector<EnvKey> out;
    for (const auto& [key, environment] : state.environments)
      if (!environment.udp_digest.empty()) out.push_back(key);
    return out;
  });
  for (const EnvKey& key : keys)
    if (auto sent = send_udp_routes(key); !sent)
      log_event(Level::warn, "control.udp", {{"environment", key}, {"error", sent.error().message()}});
}

std::optional<Command> Executor::start(const Action& action) {
  const auto attempt = static_cast<std::uint32_t>(std::stoul(action.detail));
  struct Wanted {
    Instance instance;
    Release release;
  };
  const auto wanted = parts_.core.read([&](const State& state) -> std::optional<Wanted> {
    const auto found = state.instances.find(action.subject);
    if (found == state.instances.end() || found->second.attempt != attempt) return std::nullopt;
    return Wanted{found->second, *state.release(found->second.release)};
  });
  if (!wanted)
    return command::InstanceStartFailed{action.id, action.subject, attempt, "it is no longer wanted"};
  const auto using_images = parts_.gate.use();
  auto spec = container_spec(wanted->instance, wanted->release);
  auto started = spec ? parts_.launcher.start(*spec) : Result<ContainerStatus>(std::unexpected(spec.error()));
  if (!started) {
    // timeout: it may run by now; the start is idempotent, so the next one tells.
    if (is_transient(started.error()) || started.error().code == Code::timeout) return std::nullopt;
    return command::InstanceStartFailed{
        action.id, action.subject, attempt,
        mask(with_remedy(started.error()), secrets_of(parts_.core, wanted->instance.app))};
  }
  if (started->state == ContainerState::running)
    return command::InstanceStarted{action.id, action.subject, attempt, started->address, started->pid};
  // It ended before we could look: its exit comes with the result, since the event may have been missed.
  if (auto begun = parts_.core.submit(
          command::InstanceStarted{action.id, action.subject, attempt, started->address, 0});
      !begun)
    return std::nullopt;
  return command::ContainerExited{started->id, started->exit_code, started->out_of_memory};
}

Result<ContainerSpec> Executor::container_spec(const Instance& instance, const Release& release) {
  const ReleaseService& service = *release.find(instance.service);
  const ServiceSpec& spec = service.spec;
  ContainerSpec container;
  container.id = instance.container();
  container.app = instance.app;
  container.hostname = spec.hostname.empty() ? instance.id : spec.hostname;
  container.layers = service.image.layers;
  container.argv = argv_of(spec, service.image);
  if (container.argv.empty())
    return fail(Code::invalid_argument, "{}: neither the image nor the service names a command", spec.name);
  container.env = environment_of(spec, service.image);
  container.env.push_back(fmt::format("NARU_RELEASE=v{}", release.version));
  container.cwd = !spec.working_dir.empty()           ? spec.working_dir
                  : service.image.working_dir.empty() ? "/"
                                                      : service.image.working_dir;
  container.user = spec.user.empty() ? service.image.user : spec.user;
  container.resources = spec.resources;
  container.read_only_root = spec.read_only;
  container.cap_add = spec.cap_add;
  container.cap_drop = spec.cap_drop;
  container.network = network_id(instance.app, instance.environment);
  container.segments = spec.networks;
  container.internal = spec.internal;
  container.dns_search = {
      fmt::format("{}.{}", instance.environment, instance.app)};  // as the gateway answers
  container.stop_signal = spec.stop_signal                    ? *spec.stop_signal
                          : service.image.stop_signal.empty() ? "SIGTERM"
                                                              : service.image.stop_signal;
  container.stop_grace = spec.stop_grace;
  container.labels = {{"app", instance.app},
                      {"environment", instance.environment},
                      {"service", instance.service},
                      {"release", fmt::format("v{}", release.version)},
                      {"instance", instance.id}};
  for (const MountSpec& mount : spec.mounts) {
    ContainerMount out{mount.kind, mount.source, mount.target, mount.read_only, mount.tmpfs_bytes, false};
    if (mount.kind == MountKind::volume) {
      out.source = fmt::format("{}.{}.{}", instance.app, instance.environment, mount.source);
      out.shared = spec.shared || written_by_another(release, spec, mount);
      TRY(parts_.launcher.ensure_volume(out.source));
    } else if (mount.of_machine()) {
      out.shared = spec.shared || written_by_another(release, spec, mount);
    } else if (mount.kind == MountKind::bind) {
      const fs::path checkout = TRY(check_out(parts_.data, instance.app, release.commit));
      out.source = (checkout / mount.source).lexically_normal().string();
    }
    container.mounts.push_back(std::move(out));
  }
  const image::Image image = TRY(parts_.images.image(service.image.manifest));
  TRY(unpacked(image));
  return container;
}

std::optional<Command> Executor::stop(const Action& action) {
  auto stopped = parts_.launcher.stop(action.subject + "." + action.detail);
  if (!stopped && stopped.error().code != Code::not_found) {
    log_event(Level::warn, "control.stop",
              {{"instance", action.subject}, {"error", stopped.error().message()}});
    if (!is_transient(stopped.error()))
      (void)parts_.core.submit(command::InstanceStopFailed{action.subject, stopped.error().message()});
    return std::nullopt;
  }
  const bool by_itself = stopped && !stopped->stop_asked;
  return command::InstanceStopped{action.id, action.subject, by_itself ? stopped->exit_code : std::nullopt};
}

std::optional<Command> Executor::remove(const Action& action) {
  keep_log(action.subject);
  auto removed = parts_.launcher.remove(action.subject);
  if (!removed && removed.error().code == Code::conflict) {
    // Nobody wants it and it runs: an answer to its start or stop was lost.
    log_event(Level::warn, "control.remove_running", {{"container", action.subject}});
    if (auto stopped = parts_.launcher.stop(action.subject); stopped)
      removed = parts_.launcher.remove(action.subject);
  }
  if (!removed && removed.error().code != Code::not_found) return std::nullopt;
  return command::ContainerRemoved{action.id};
}

// The end of what a container said stays readable after it is gone: control/logs/<container>.log.
void Executor::keep_log(const std::string& container) {
  std::ifstream file(parts_.data.logs() / container / "current.log", std::ios::binary | std::ios::ate);
  if (!file) return;
  const auto size = static_cast<std::uintmax_t>(file.tellg());
  file.seekg(static_cast<std::streamoff>(size > kOldLogBytes ? size - kOldLogBytes : 0));
  std::ofstream(parts_.data.old_logs() / (container + ".log"), std::ios::binary) << file.rdbuf();
}

void Executor::note_left_out(const std::vector<std::string>& left_out) {
  const std::lock_guard lock(left_out_mutex_);
  if (left_out_ != left_out)
    for (const std::string& what : left_out) log_event(Level::error, "control.left_out", {{"error", what}});
  left_out_ = left_out;
}

std::vector<std::string> Executor::left_out() const {
  const std::lock_guard lock(left_out_mutex_);
  return left_out_;
}

Result<std::uint64_t> Executor::publish_routes() {
  const std::lock_guard lock(publish_mutex_);
  RouteTable table;
  std::vector<ListenerSpec> listeners;
  std::map<std::string, std::uint32_t> slots;
  std::vector<ipc::StepEvidence> steps;
  parts_.core.read([&](const State& state) {
    for (const auto& [id, rollout] : state.rollouts)
      if (rollout.phase == RolloutPhase::stepping) steps.push_back(evidence_of(rollout));
    table = route::table_of(state);
    table.revision = state.counters.routes_revision;
    listeners = route::listeners_of(state);
    slots = state.slots;
  });
  // Slots in use go on counting, also over a restart of control; one that changed hands starts at zero.
  for (const auto& [key, slot] : slots) parts_.telemetry.give_service(slot, ipc::slot_owner(key));
  for (const ipc::StepEvidence& step : steps) parts_.telemetry.give_evidence(step);
  note_left_out(route::Snapshot::compile(table)->left_out());
  TRY(listening_.set(std::move(listeners)));
  TRY(parts_.gateway.publish(table));
  for (const auto& [name, why] : listening_.errors())
    if (name.starts_with("host:"))
      (void)parts_.core.submit(
          command::PortTaken{static_cast<std::uint16_t>(std::strtoul(name.c_str() + 5, nullptr, 10))});
  return table.revision;
}

}  // namespace naru::control
