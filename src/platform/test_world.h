// A tiny world for the deciders, in which every action succeeds at once unless a test says otherwise.
#pragma once

#include <gtest/gtest.h>

#include "platform/platform.h"
#include "route/table.h"

namespace naru::platform {

inline ServiceSpec service(std::string name, std::vector<Dependency> depends_on = {}) {
  ServiceSpec spec;
  spec.name = std::move(name);
  spec.depends_on = std::move(depends_on);
  return spec;
}

inline ApplicationSpec two_services() {
  ApplicationSpec spec;
  spec.services = {service("web", {{"api", DependencyCondition::healthy}}), service("api")};
  spec.rollout.bake = 1s;
  return spec;
}

// A tiny world in which every action succeeds at once, unless a test says otherwise.
class World {
 public:
  World() {
    must(command::ChooseSecret{"nobody knows it"});
    must(command::CreateApp{"shop"});
    settle();
  }

  Result<void> send(Command command) {
    Changes changes(state, now);
    auto result = decide(changes, command);
    for (const Event& event : changes.events()) names.emplace_back(event_name(event));
    return result;
  }
  void must(Command command) {
    const auto result = send(std::move(command));
    ASSERT_TRUE(result) << result.error().message();
  }

  // Of an application whose first release, c1, serves everybody.
  static World released(ApplicationSpec application = two_services()) {
    World world;
    world.release(std::move(application));
    return world;
  }
  // Commits are c1, c2 and so on.
  void push(ApplicationSpec application) {
    spec = std::move(application);
    must(command::Push{"shop", "refs/heads/main", fmt::format("c{}", ++pushes), "a change", "ada"});
  }
  void release(ApplicationSpec application) {
    push(std::move(application));
    settle();
  }
  // The same application, but for the image of one service.
  void release_new(const std::string& service) {
    images[service] = fmt::format("after c{}", pushes);
    release(spec);
  }

  // Carries out the outbox until nothing is left to do, with time passing.
  void settle(int rounds = 200) {
    for (int i = 0; i < rounds; ++i) {
      const auto outbox = state.outbox;
      for (const auto& [id, action] : outbox) carry_out(action);
      for (const auto& [id, instance] : std::map(state.instances)) probe(instance);
      for (const auto& [id, rollout] : std::map(state.rollouts))
        if (judge_looks && rollout.slow_us < 0) must(command::LatencyBaseline{id, 0});
      now += 500ms;
      must(command::Tick{});
      most_databases = std::max(most_databases, count("db"));
    }
  }

  const Instance* oneshot() const {
    for (const auto& [id, instance] : state.instances)
      if (instance.oneshot) return &instance;
    return nullptr;
  }

  void judge(command::Outcome outcome, std::string reason = "because") {
    const Rollout& rollout = current();
    must(command::Judged{rollout.id, rollout.step, outcome, std::move(reason), {}, {}});
  }
  const Rollout& current() const { return state.rollouts.rbegin()->second; }
  const Environment& production() const { return state.environments.at("shop/production"); }
  int count(const std::string& name) const {
    return static_cast<int>(
        std::ranges::count_if(containers, [&](const auto& c) { return c.second == name; }));
  }
  bool happened(const std::string& name) const { return std::ranges::find(names, name) != names.end(); }

  State state;
  WallTime now = from_epoch_ms(1'000'000);
  ApplicationSpec spec;
  std::map<std::string, ApplicationSpec> elsewhere;  // of environments besides production
  int pushes = 0;
  int broken_with = 1;                            // their exit status
  bool judge_looks = true;                        // at how slow the old release is
  std::set<std::string> broken;                   // services whose new containers end
  std::set<std::string> sick;                     // services whose health check fails
  std::map<std::string, std::string> images;      // service -> what its image's digest is of
  std::vector<std::string> declared_volumes;      // by every image
  std::vector<std::uint16_t> exposed;             // by every image
  std::map<std::string, std::string> containers;  // id -> service
  std::vector<std::string> names;
  std::vector<std::string> started;  // services of containers, in order
  bool acknowledges = true;          // the gateway
  bool stoppable = true;             // containers
  std::string unreadable;            // why a plan fails; "" = it does not
  std::string no_network;            // why it cannot be made
  bool launcher_sets_udp = true;
  std::string no_udp;  // why it refuses to
  UdpRoutes udp;       // of the environment that was set last
  std::vector<std::string> removed_networks;
  int most_databases = 0;

 private:
  void carry_out(const Action& action) {
    switch (action.kind) {
      case ActionKind::plan_pipeline:
        return must(command::PlanFinished{action.id,
                                          std::stoull(action.subject),
                                          unreadable,
                                          spec,
                                          {},
                                          elsewhere,
                                          unreadable.empty() ? "" : "mend it"});
      case ActionKind::build_service: {
        ImageInfo image;
        image.manifest = Digest::of_sha256(images[action.detail] + action.detail);
        image.volumes = declared_volumes;
        image.exposed = exposed;
        return must(
            command::BuildFinished{action.id, std::stoull(action.subject), action.detail, false, "", image});
      }
      case ActionKind::ensure_network:
        if (!no_network.empty()) return must(command::NetworkFailed{action.subject, no_network});
        return must(
            command::NetworkReady{action.id,
                                  action.subject,
                                  {action.subject, "br0", "10.88.0.0/23", "10.88.0.1", "10.88.2.0/23", 9}});
      case ActionKind::remove_network:
        removed_networks.push_back(action.subject);
        return must(command::NetworkRemoved{action.id});
      case ActionKind::start_instance:
        return start(action);
      case ActionKind::stop_instance:
        if (!stoppable) return must(command::InstanceStopFailed{action.subject, "a process of it hangs"});
        containers.erase(action.subject);
        return must(command::InstanceStopped{action.id, action.subject});
      case ActionKind::remove_container:
        return must(command::ContainerRemoved{action.id});
      case ActionKind::publish_routes:
        if (!acknowledges) return;
        return must(command::RoutesAcked{action.id, state.counters.routes_revision});
      case ActionKind::set_udp_routes:
        if (!launcher_sets_udp) return;
        if (!no_udp.empty()) return must(command::UdpRoutesRefused{action.subject, no_udp});
        udp = route::udp_routes_of(state, action.subject);
        return must(command::UdpRoutesSet{action.id, action.subject, route::digest_of(udp)});
    }
  }
  void start(const Action& action) {
    const auto attempt = static_cast<std::uint32_t>(std::stoul(action.detail));
    const auto found = state.instances.find(action.subject);
    if (found == state.instances.end())
      return must(command::InstanceStarted{action.id, action.subject, attempt, "", 0});
    const Instance instance = found->second;
    containers[instance.id] = instance.service;
    started.push_back(instance.service);
    must(command::InstanceStarted{action.id, instance.id, attempt,
                                  fmt::format("10.88.0.{}", 1 + started.size()), 42});
    const bool bad = broken.contains(instance.service);
    if (!instance.oneshot && !bad) return;
    containers.erase(instance.id);
    must(command::ContainerExited{instance.container(), bad ? broken_with : 0, false});
  }
  void probe(const Instance& instance) {
    const bool well = !sick.contains(instance.service);
    if (instance.phase == InstancePhase::running)
      must(command::Probed{instance.id, instance.attempt, well, well ? "" : "nobody answers on 8080"});
  }
};

}  // namespace naru::platform
