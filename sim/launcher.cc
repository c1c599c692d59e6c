#include "sim/launcher.h"

namespace naru::sim {

using State = Container::State;

milliseconds Launcher::duration(std::int64_t usual_ms) {
  return rng_.chance(faults_.slow) ? between(rng_, usual_ms, usual_ms * 40) : between(rng_, 1, usual_ms);
}

// An answer that the launcher, restarted since, no longer knows of.
Launcher::Done Launcher::guarded(Done done) {
  return [this, connection = connection_, done = std::move(done)](const Answer& answer) {
    done(connection == connection_ ? answer : Answer{});
  };
}

Container* Launcher::find(const std::string& id) {
  const auto found = containers_.find(id);
  return found == containers_.end() ? nullptr : &found->second;
}

void Launcher::start(Container wanted, Done done) {
  if (!available_) return timeline_.in(50ms, [done] { done({}); });
  done = guarded(std::move(done));
  const std::string id = wanted.id;
  if (const Container* there = find(id)) {  // asked again
    if (there->state == State::creating) return starters_[id].push_back(std::move(done));
    const Answer answer{there->state == State::exited ? Outcome::exited : Outcome::running, there->address,
                        there->pid, there->exit_code};
    return timeline_.in(duration(20), [done, answer] { done(answer); });
  }
  wanted.state = State::creating;
  wanted.pid = next_pid_++;
  wanted.address = fmt::format("10.88.{}.{}", wanted.pid / 250, wanted.pid % 250 + 2);
  containers_[id] = std::move(wanted);
  starters_[id].push_back(std::move(done));
  on_creating(containers_[id]);
  timeline_.in(duration(100), [this, id, boot = boot_] {
    if (boot == boot_) finish_start(id);
  });
}

void Launcher::finish_start(const std::string& id) {
  Container* container = find(id);
  if (container == nullptr || container->state != State::creating) return;
  const std::vector<Done> waiting = std::move(starters_[id]);
  starters_.erase(id);
  Answer answer{Outcome::failed, "", 0, std::nullopt};
  if (rng_.chance(faults_.start_failure)) {
    containers_.erase(id);
  } else {
    container->state = State::running;
    container->started = timeline_.now();
    answer = {Outcome::running, container->address, container->pid, std::nullopt};
    live(*container);
  }
  for (const Done& done : waiting) timeline_.in(duration(20), [done, answer] { done(answer); });
}

void Launcher::live(Container& container) {
  container.healthy_at = timeline_.now() + (rng_.chance(faults_.late_health) ? between(rng_, 5'000, 40'000)
                                                                             : between(rng_, 50, 2'000));
  const bool crashes = container.behaviour == Behaviour::crashes_at_start;
  if (container.oneshot) return exit_in(container.id, between(rng_, 100, 3'000), crashes ? 1 : 0);
  if (crashes) return exit_in(container.id, between(rng_, 20, 1'000), 1);
  if (container.behaviour == Behaviour::crashes_later)
    exit_in(container.id, between(rng_, 5'000, 20'000), 139);
}

void Launcher::exit_in(const std::string& id, milliseconds delay, std::int32_t code) {
  timeline_.in(delay, [this, id, code, boot = boot_] {
    Container* container = find(id);
    if (container != nullptr && container->alive() && boot == boot_) exit(*container, code, true);
  });
}

void Launcher::exit(Container& container, std::optional<std::int32_t> code, bool by_itself) {
  container.state = State::exited;
  container.exit_code = code;
  container.faulty = container.faulty || by_itself;
  const std::vector<Done> waiting = std::move(stoppers_[container.id]);
  stoppers_.erase(container.id);
  for (const Done& done : waiting)
    timeline_.in(duration(20), [done] { done({Outcome::gone, "", 0, std::nullopt}); });
  if (on_exit) on_exit(container);
}

void Launcher::stop(const std::string& id, Done done) {
  if (!available_) return timeline_.in(50ms, [done] { done({}); });
  done = guarded(std::move(done));
  Container* container = find(id);
  if (container == nullptr || container->state == State::exited) {
    const bool by_itself = container != nullptr && !container->stop_asked;
    const Answer answer{Outcome::gone, "", 0, by_itself ? container->exit_code : std::nullopt};
    return timeline_.in(duration(20), [done, answer] { done(answer); });
  }
  if (container->state == State::creating) return timeline_.in(50ms, [done] { done({}); });
  stoppers_[id].push_back(std::move(done));
  if (container->state == State::stopping) return;
  on_stop_asked(*container);
  container->state = State::stopping;
  container->stop_asked = true;
  timeline_.in(duration(500), [this, id, boot = boot_] {
    Container* found = find(id);
    if (found != nullptr && found->alive() && boot == boot_) exit(*found, 143, false);
  });
}

void Launcher::remove(const std::string& id, Done done) {
  if (!available_) return timeline_.in(50ms, [done] { done({}); });
  done = guarded(std::move(done));
  const Container* container = find(id);
  const bool conflict = container != nullptr && container->alive();
  if (container != nullptr && !conflict) containers_.erase(id);
  timeline_.in(duration(20), [done, conflict] {
    done({conflict ? Outcome::unavailable : Outcome::gone, "", 0, std::nullopt});
  });
}

void Launcher::set_udp_routes(const EnvKey& environment, UdpRoutes routes, Done done) {
  if (!available_) return timeline_.in(50ms, [done] { done({}); });
  done = guarded(std::move(done));
  udp_routes_[environment] = std::move(routes);
  timeline_.in(duration(20), [done] { done({Outcome::gone, "", 0, std::nullopt}); });
}

std::vector<ContainerStatus> Launcher::list() const {
  std::vector<ContainerStatus> listed;
  for (const auto& [id, container] : containers_) {
    ContainerStatus status;
    status.id = id;
    status.state = container.state == State::creating ? ContainerState::created
                   : container.alive()                ? ContainerState::running
                   : container.exit_code              ? ContainerState::exited
                                                      : ContainerState::lost;
    status.pid = container.pid;
    status.address = container.address;
    status.exit_code = container.exit_code;
    listed.push_back(std::move(status));
  }
  return listed;
}

std::vector<std::string> Launcher::running() const {
  std::vector<std::string> ids;
  for (const auto& [id, container] : containers_)
    if (container.state == State::running) ids.push_back(id);
  return ids;
}

void Launcher::go_away(milliseconds how_long) {
  if (!available_) return;
  available_ = false;
  ++connection_;
  // Starts under way end half-way: nothing is left of them. Who asked learns that the launcher is away.
  for (auto& [id, waiting] : std::exchange(starters_, {})) {
    containers_.erase(id);
    for (const Done& done : waiting) timeline_.in(1ms, [done] { done({}); });
  }
  for (auto& [id, waiting] : std::exchange(stoppers_, {}))
    for (const Done& done : waiting) timeline_.in(1ms, [done] { done({}); });
  timeline_.in(how_long, [this] {
    available_ = true;
    if (on_connected) on_connected();
  });
}

void Launcher::reboot() {
  ++boot_;
  for (const std::string& id : running()) {
    exit(containers_.at(id), std::nullopt, true);
  }
  for (auto& [id, container] : containers_)
    if (container.state == State::stopping) exit(container, std::nullopt, true);
  go_away(2s);
}

void Launcher::kill_one() {
  const auto ids = running();
  if (!ids.empty()) exit(containers_.at(ids[rng_.below(ids.size())]), 137, true);
}

void Launcher::upset_one() {
  const auto ids = running();
  if (ids.empty()) return;
  Container& container = containers_.at(ids[rng_.below(ids.size())]);
  container.unhealthy_until = timeline_.now() + between(rng_, 1'000, 8'000);
  container.faulty = true;
  if (on_upset) on_upset(container);
}

}  // namespace naru::sim
