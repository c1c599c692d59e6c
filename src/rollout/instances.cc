#include "rollout/rollout.h"

namespace naru::rollout {

namespace {

using Phase = InstancePhase;

// A status of 128 and a signal's number is that signal's, as shells have it; 255 is a program's own.
constexpr std::int32_t kLastSignal = 64;

bool belongs(const Instance& instance, const Environment& environment) {
  return instance.app == environment.app && instance.environment == environment.name;
}

milliseconds back_off(std::uint32_t restarts) {
  const milliseconds doubled(500LL << std::min<std::uint32_t>(restarts, 10));
  return std::min(doubled, kMaxBackOff);
}

// One environment's instances, brought to what is wanted.
class Converger {
 public:
  Converger(Changes& changes, const Environment& environment)
      : changes_(changes),
        environment_(environment),
        wanted_(wanted_instances(changes.state(), environment)) {}

  void run() {
    for (const std::string& id : ids()) settle(changes_.state().instances.at(id));
    if (!environment_.network) return;
    for (const auto& [key, want] : wanted_) create_missing(key.first, key.second, want);
  }

 private:
  std::vector<std::string> ids() const {
    std::vector<std::string> ids;
    for (const auto& [id, instance] : changes_.state().instances)
      if (belongs(instance, environment_)) ids.push_back(id);
    return ids;
  }

  bool is_wanted(const Instance& instance) const {
    const auto found = wanted_.find({instance.service, instance.revision});
    return found != wanted_.end() && found->second.oneshot == instance.oneshot &&
           instance.replica < found->second.count;
  }

  void settle(const Instance& instance) {
    const bool wanted = is_wanted(instance);
    switch (instance.phase) {
      case Phase::waiting:
        if (!wanted) return remove(instance);
        if (changes_.now() >= instance.retry_at && may_occupy(instance)) start_again(instance);
        return;
      case Phase::completed:
      case Phase::failed:
        if (!wanted) remove(instance);
        return;
      case Phase::ready:
        if (!wanted) changes_.emit(event::InstanceRetired{instance.id});
        return;
      case Phase::running:
        if (!wanted) stop(instance);
        return;
      case Phase::retiring:  // it goes even when wanted again; a new one follows
        if (drained(instance)) stop(instance);
        return;
      case Phase::starting:  // their action is under way, its result tells
      case Phase::stopping:
        return;
    }
  }

  // Out of the gateway's routes, and the requests under way have had their time. New requests of a stateful
  // service are held by the gateway meanwhile: it goes at once.
  bool drained(const Instance& instance) const {
    if (environment_.stopped &&
        changes_.now() - watched_since(changes_.state(), environment_, instance.retired_at) >=
            kRoutesPatience)
      return true;  // nobody is to be served here, whatever the gateway still says
    if (datagrams_on_their_way()) return false;
    const Counters& counters = changes_.state().counters;
    const milliseconds time = spec_of(instance)->stateful() ? milliseconds(0) : kDrain;
    if (instance.out_of_routes != WallTime{}) return changes_.now() - instance.out_of_routes >= time;
    // No table since has been acknowledged: either one is on its way, or none ever named it.
    return counters.routes_acked == counters.routes_revision && changes_.now() - instance.retired_at >= time;
  }

  // The kernel may still send them to who is going. Where it takes no such rules it never did.
  bool datagrams_on_their_way() const {
    return environment_.udp_error.empty() &&
           std::ranges::any_of(changes_.state().outbox, [&](const auto& row) {
             return row.second.kind == ActionKind::set_udp_routes &&
                    row.second.subject == env_key(environment_.app, environment_.name);
           });
  }

  void stop(const Instance& instance) {
    const std::string id = instance.id;
    changes_.emit(event::InstanceStopping{id});
    changes_.queue(ActionKind::stop_instance, id, std::to_string(instance.attempt));
  }

  void remove(const Instance& instance) {
    const std::string id = instance.id, container = instance.container();
    changes_.emit(event::InstanceRemoved{id});
    changes_.queue(ActionKind::remove_container, container);
  }

  void start_again(const Instance& instance) {
    const std::string id = instance.id, old = instance.container();
    const std::uint32_t attempt = instance.attempt + 1;
    changes_.emit(event::InstanceStarting{id, attempt});
    changes_.queue(ActionKind::remove_container, old);
    changes_.queue(ActionKind::start_instance, id, std::to_string(attempt));
  }

  // State is never run twice: nobody else may hold a volume that it writes.
  bool may_occupy(const Instance& candidate) const {
    return volumes_free(*changes_.state().release(candidate.release), *spec_of(candidate), candidate.id);
  }
  const ServiceSpec* spec_of(const Instance& instance) const {
    return &changes_.state().release(instance.release)->find(instance.service)->spec;
  }
  bool volumes_free(const Release& release, const ServiceSpec& spec, const std::string& except) const {
    return std::ranges::none_of(changes_.state().instances, [&](const auto& row) {
      const Instance& other = row.second;
      return other.id != except && belongs(other, environment_) && occupies(other) &&
             excludes(release, spec, *changes_.state().release(other.release), *spec_of(other));
    });
  }

  void create_missing(const std::string& service, const Digest& revision, const Wanted& want) {
    const Release& release = *changes_.state().release(want.release);
    const ReleaseService& spec = *release.find(service);
    if (oneshot_stops(service, want)) return;
    for (std::uint32_t replica = 0; replica < want.count; ++replica) {
      if (exists(service, revision, want.oneshot, replica)) continue;
      if (!volumes_free(release, spec.spec, "") || !dependencies_met(release, spec, want)) return;
      create(release, spec, want, replica);
    }
  }

  bool exists(const std::string& service, const Digest& revision, bool oneshot, std::uint32_t replica) const {
    return std::ranges::any_of(changes_.state().instances, [&](const auto& row) {
      const Instance& i = row.second;
      return belongs(i, environment_) && i.service == service && i.revision == revision &&
             i.oneshot == oneshot && i.replica == replica && i.phase != Phase::retiring &&
             i.phase != Phase::stopping;
    });
  }
  // Never two of a release at once; and it may turn out that it was done before it was stopped.
  bool oneshot_stops(const std::string& service, const Wanted& want) const {
    return want.oneshot && std::ranges::any_of(changes_.state().instances, [&](const auto& row) {
             const Instance& i = row.second;
             return belongs(i, environment_) && i.service == service && i.oneshot &&
                    i.release == want.release && i.phase == Phase::stopping;
           });
  }

  void create(const Release& release, const ReleaseService& service, const Wanted& want,
              std::uint32_t replica) {
    Instance instance;
    instance.id = fmt::format("{}-{}-{}", environment_.app, service.spec.name, changes_.next_id());
    instance.app = environment_.app;
    instance.environment = environment_.name;
    instance.service = service.spec.name;
    instance.revision = service.revision;
    instance.release = release.id;
    instance.replica = replica;
    instance.oneshot = want.oneshot;
    instance.created = changes_.now();
    const std::string id = instance.id;
    changes_.emit(event::InstanceCreated{std::move(instance)});
    changes_.queue(ActionKind::start_instance, id, "1");
  }

  // depends_on orders the first start; a restart later does not wait.
  bool dependencies_met(const Release& release, const ReleaseService& service, const Wanted& want) const {
    const Rollout* rollout = changes_.state().active_rollout(environment_);
    const bool rolling =
        rollout != nullptr && rollout->to == release.id && rollout->phase == RolloutPhase::preparing;
    if (!rolling) return true;
    if (!want.oneshot && !service.spec.stateful() && !may_go_before_oneshots(release, *rollout, service))
      return false;
    return std::ranges::all_of(service.spec.depends_on, [&](const Dependency& dependency) {
      return is_met(changes_.state(), environment_, release, *rollout, dependency);
    });
  }
  // When they are done, or one that is not needs it.
  static bool may_go_before_oneshots(const Release& release, const Rollout& rollout,
                                     const ReleaseService& service) {
    const auto left = oneshots_left(release, rollout);
    return left.empty() || std::ranges::any_of(left, [&](const ReleaseService* oneshot) {
             return depends_transitively(release, oneshot->spec.name, service.spec.name);
           });
  }

  Changes& changes_;
  const Environment& environment_;
  WantedSet wanted_;
};

const Instance* find_instance(const State& state, const std::string& id) {
  const auto found = state.instances.find(id);
  return found == state.instances.end() ? nullptr : &found->second;
}

const ServiceSpec* spec_of(const State& state, const Instance& instance) {
  const Release* release = state.release(instance.release);
  const ReleaseService* service = release == nullptr ? nullptr : release->find(instance.service);
  return service == nullptr ? nullptr : &service->spec;
}

InstancePhase phase_after_exit(const Instance& instance, const ServiceSpec& spec, bool clean, WallTime now) {
  if (instance.oneshot) return clean ? Phase::completed : Phase::failed;
  switch (spec.restart.mode) {
    case RestartMode::no:
      return clean ? Phase::completed : Phase::failed;
    case RestartMode::on_failure:
      if (clean) return Phase::completed;
      return spec.restart.max_attempts != 0 && instance.restarts_by(now) >= spec.restart.max_attempts
                 ? Phase::failed
                 : Phase::waiting;
    case RestartMode::always:
    case RestartMode::unless_stopped:
      break;
  }
  return Phase::waiting;
}

std::string in_mib(std::uint64_t bytes) {
  constexpr std::uint64_t kMib = 1 << 20;
  return bytes % kMib == 0 ? fmt::format("{} MiB", bytes / kMib) : fmt::format("{} bytes", bytes);
}

std::string why_exited(std::optional<std::int32_t> code, bool out_of_memory, std::uint64_t limit) {
  if (out_of_memory)
    return limit == 0 ? "killed: the machine's memory was used up (it has no memory limit of its own)"
                      : fmt::format(
                            "killed: it reached its memory limit of {} (raise "
                            "deploy.resources.limits.memory)",
                            in_mib(limit));
  if (!code) return "its exit status is lost (reboot, or everything was killed at once)";
  if (*code > 128 && *code <= 128 + kLastSignal) return fmt::format("killed by signal {}", *code - 128);
  return fmt::format("exited with {}", *code);
}

void exited(Changes& changes, const Instance& instance, std::optional<std::int32_t> code, bool out_of_memory,
            std::string error) {
  const std::string id = instance.id, container = instance.container();
  if (instance.phase == Phase::stopping || instance.phase == Phase::retiring) {
    changes.emit(event::InstanceRemoved{id});
    changes.queue(ActionKind::remove_container, container);
    return;
  }
  const ServiceSpec* spec = spec_of(changes.state(), instance);
  const bool clean = code == 0 && error.empty();
  const Phase next =
      spec == nullptr ? Phase::failed : phase_after_exit(instance, *spec, clean, changes.now());
  if (error.empty() && !clean)
    error = why_exited(code, out_of_memory, spec == nullptr ? 0 : spec->resources.memory_bytes);
  changes.emit(event::InstanceExited{id, code, out_of_memory, std::move(error), next,
                                     changes.now() + back_off(instance.restarts_by(changes.now()))});
}

}  // namespace

void converge_instances(Changes& changes, const EnvKey& key) {
  const Environment& environment = changes.state().environments.at(key);
  const bool asked = std::ranges::any_of(changes.state().outbox, [&](const auto& row) {
    return row.second.kind == ActionKind::ensure_network && row.second.subject == key;
  });
  if (!environment.network && !asked && !wanted_instances(changes.state(), environment).empty())
    changes.queue(ActionKind::ensure_network, key);
  Converger(changes, environment).run();
}

void decide(Changes& changes, const command::NetworkReady& result) {
  // Dropped meanwhile: the application went, and perhaps another of its name has come, for which a network of
  // its own is made.
  if (!changes.state().outbox.contains(result.action)) return;
  changes.done(result.action);
  if (changes.state().environments.contains(result.environment))
    changes.emit(event::NetworkReady{result.environment, result.network});
}

void decide(Changes& changes, const command::NetworkFailed& observation) {
  const auto found = changes.state().environments.find(observation.environment);
  if (found == changes.state().environments.end() || found->second.network) return;
  if (found->second.network_error != observation.error)  // each try says the same: one event tells it
    changes.emit(event::NetworkFailed{observation.environment, observation.error});
}

void decide(Changes& changes, const command::InstanceStopFailed& observation) {
  const Instance* instance = find_instance(changes.state(), observation.instance);
  if (instance == nullptr || instance->phase != Phase::stopping || instance->error == observation.error)
    return;
  changes.emit(event::InstanceStopFailed{observation.instance, observation.error});
}

void decide(Changes& changes, const command::InstanceStarted& result) {
  changes.done(result.action);
  const Instance* instance = find_instance(changes.state(), result.instance);
  if (instance == nullptr || instance->attempt != result.attempt || instance->phase != Phase::starting)
    return;
  changes.emit(event::InstanceStarted{result.instance, result.address, result.pid});
}

void decide(Changes& changes, const command::InstanceStartFailed& result) {
  changes.done(result.action);
  const Instance* instance = find_instance(changes.state(), result.instance);
  if (instance == nullptr || instance->attempt != result.attempt || instance->phase != Phase::starting)
    return;
  exited(changes, *instance, std::nullopt, false, result.error);
}

void decide(Changes& changes, const command::InstanceStopped& result) {
  changes.done(result.action);
  const Instance* instance = find_instance(changes.state(), result.instance);
  if (instance == nullptr || instance->phase != Phase::stopping) return;
  // It had ended before it was asked to: done is done, whoever heard of it when.
  if (instance->oneshot && result.exit_code == 0)
    return changes.emit(
        event::InstanceExited{result.instance, 0, false, {}, Phase::completed, changes.now()});
  exited(changes, *instance, 0, false, {});
}

void decide(Changes& changes, const command::ContainerExited& observation) {
  for (const auto& [id, instance] : changes.state().instances) {
    if (instance.container() != observation.container) continue;
    const bool alive = instance.phase == Phase::running || instance.phase == Phase::ready ||
                       instance.phase == Phase::starting || instance.phase == Phase::retiring;
    if (alive) exited(changes, instance, observation.exit_code, observation.out_of_memory, {});
    return;
  }
}

void decide(Changes& changes, const command::ContainersListed& observation) {
  std::map<std::string, const ContainerStatus*> listed;
  for (const ContainerStatus& status : observation.containers) listed[status.id] = &status;
  std::vector<std::string> ids;
  for (const auto& [id, instance] : changes.state().instances) ids.push_back(id);
  for (const std::string& id : ids) {
    const Instance& instance = changes.state().instances.at(id);
    // starting and stopping have an action under way, whose result tells.
    if (instance.phase != Phase::running && instance.phase != Phase::ready &&
        instance.phase != Phase::retiring)
      continue;
    const auto found = listed.find(instance.container());
    // Started after the list was asked for: not in it, or not yet as what it is.
    const bool unseen = found == listed.end() || found->second->state == ContainerState::created;
    if (unseen && instance.started >= observation.asked) continue;
    if (found == listed.end())
      exited(changes, instance, std::nullopt, false, {});
    else if (found->second->state != ContainerState::running)
      exited(changes, instance, found->second->exit_code, found->second->out_of_memory, {});
  }
}

void decide(Changes& changes, const command::Probed& observation) {
  const Instance* instance = find_instance(changes.state(), observation.instance);
  if (instance == nullptr || instance->attempt != observation.attempt || instance->oneshot) return;
  if (observation.healthy && instance->phase == Phase::running)
    changes.emit(event::InstanceReady{observation.instance});
  else if (!observation.healthy && instance->phase == Phase::ready)
    changes.emit(event::InstanceUnready{observation.instance, observation.reason});
  else if (!observation.healthy && instance->phase == Phase::running && instance->error != observation.reason)
    changes.emit(event::InstanceUnready{observation.instance, observation.reason});
}

}  // namespace naru::rollout
