// What only shows when all services are known.
#include "format/compose_parts.h"

namespace naru::format {
namespace {

using Drafts = std::vector<ServiceDraft>;

std::vector<std::string_view> names_of(const Drafts& services) {
  std::vector<std::string_view> names;
  for (const ServiceDraft& draft : services) names.push_back(draft.spec.name);
  return names;
}

const ServiceDraft* find(const Drafts& services, std::string_view name) {
  for (const ServiceDraft& draft : services)
    if (draft.spec.name == name) return &draft;
  return nullptr;
}

void check_dependencies(ComposeReading& reading, const Drafts& services) {
  for (const ServiceDraft& draft : services)
    for (std::size_t i = 0; i < draft.spec.depends_on.size(); ++i) {
      const std::string& name = draft.spec.depends_on[i].service;
      const At& at = draft.dependency_places[i];
      if (at.node == nullptr || find(services, name) != nullptr) continue;
      reading.error(at, fmt::format("found \"{}\", which is no service of this file", name.substr(0, 60)),
                    {did_you_mean(name, names_of(services))});
    }
}

// Depth-first over depends_on; every cycle is told once, as it runs.
class CycleSearch {
 public:
  CycleSearch(ComposeReading& reading, const Drafts& services) : reading_(reading), services_(services) {}

  void visit(const ServiceDraft& draft) {
    const std::string& name = draft.spec.name;
    if (done_.contains(name)) return;
    way_.push_back(name);
    for (std::size_t i = 0; i < draft.spec.depends_on.size(); ++i) {
      const std::string& next = draft.spec.depends_on[i].service;
      const auto on_way = std::find(way_.begin(), way_.end(), next);
      if (on_way != way_.end()) {
        std::string cycle;
        for (auto it = on_way; it != way_.end(); ++it) cycle += *it + " -> ";
        reading_.error(place(draft, i), fmt::format("the dependencies run in a circle: {}{}", cycle, next),
                       {"take one of them out"});
      } else if (const ServiceDraft* found = find(services_, next)) {
        visit(*found);
      }
    }
    way_.pop_back();
    done_.insert(name);
  }

 private:
  static At place(const ServiceDraft& draft, std::size_t i) {
    return draft.dependency_places[i].node != nullptr ? draft.dependency_places[i] : draft.at;
  }
  ComposeReading& reading_;
  const Drafts& services_;
  std::vector<std::string> way_;
  std::set<std::string> done_;
};

void check_host_ports(ComposeReading& reading, const Drafts& services) {
  struct Taken {
    const PortSpec* port;
    const ServiceDraft* by;
  };
  std::multimap<std::uint16_t, Taken> taken;
  for (const ServiceDraft& draft : services)
    for (std::size_t i = 0; i < draft.spec.ports.size(); ++i) {
      const PortSpec& port = draft.spec.ports[i];
      if (!port.host) continue;
      if (port.transport == Transport::udp) {
        reading.error(draft.port_places[i],
                      fmt::format("found the host port {} for UDP, which is not served", *port.host),
                      {fmt::format("write \"{}/udp\": the other services reach it there by the name {}",
                                   port.container, draft.spec.name),
                       Code::unsupported});
        continue;
      }
      const auto [begin, end] = taken.equal_range(*port.host);
      const auto clash = std::find_if(begin, end, [&](const auto& other) {
        const PortSpec& o = *other.second.port;
        return o.transport == port.transport &&
               (o.host_ip == port.host_ip || o.host_ip.empty() || port.host_ip.empty());
      });
      if (clash != end)
        reading.error(
            draft.port_places[i],
            fmt::format("the host port {} is taken by services.{} of this file already", *port.host,
                        clash->second.by->spec.name),
            {"give each service a host port of its own, or none: services reach each other by name"});
      taken.emplace(*port.host, Taken{&port, &draft});
    }
}

// What all applications share: each UDP port is an entry of the kernel's tables, each host port a socket,
// each port a line of the one route table, for as long as the application runs.
void check_ports(ComposeReading& reading, const Drafts& services) {
  std::size_t udp = 0, host = 0, all = 0;
  for (const ServiceDraft& draft : services)
    for (std::size_t i = 0; i < draft.spec.ports.size(); ++i) {
      const PortSpec& port = draft.spec.ports[i];
      const auto bound = [&](std::size_t& count, std::size_t most, std::string_view what, const char* hint) {
        if (++count == most + 1)
          reading.error(draft.port_places[i], fmt::format("found more than {} {} in this file", most, what),
                        {hint, Code::too_large});
      };
      if (port.transport == Transport::udp)
        bound(udp, kMaxUdpPorts, "UDP ports", "name those only that other services send to");
      else if (port.host)
        bound(host, kMaxHostPorts, "host ports",
              "publish those only that are asked from outside; services reach each other without");
      bound(all, kMaxPorts, "ports", "other services reach each port of a service without naming it");
    }
}

void check_networks(ComposeReading& reading, const Drafts& services, const ApplicationSpec& spec) {
  std::vector<std::string_view> known(spec.networks.begin(), spec.networks.end());
  known.emplace_back("default");
  for (const ServiceDraft& draft : services)
    for (std::size_t i = 0; i < draft.spec.networks.size(); ++i)
      if (const std::string& name = draft.spec.networks[i];
          std::find(known.begin(), known.end(), name) == known.end())
        reading.error(draft.network_places[i],
                      fmt::format("found the network \"{}\", which is not declared", name.substr(0, 60)),
                      {did_you_mean(name, known).empty()
                           ? fmt::format("declare it at the end of the file: networks: {{{}: {{}}}}",
                                         name.substr(0, 60))
                           : did_you_mean(name, known)});
}

void check_volumes(ComposeReading& reading, const Drafts& services, const ApplicationSpec& spec) {
  const std::vector<std::string_view> known(spec.volumes.begin(), spec.volumes.end());
  std::vector<const ServiceDraft*> writers;
  for (const ServiceDraft& draft : services) {
    for (std::size_t i = 0; i < draft.spec.mounts.size(); ++i) {
      const MountSpec& mount = draft.spec.mounts[i];
      const At& at = draft.mount_places[i];
      if (mount.kind == MountKind::volume &&
          std::find(known.begin(), known.end(), mount.source) == known.end()) {
        std::string hint = did_you_mean(mount.source, known);
        if (hint.empty())
          hint = fmt::format("declare it at the end of the file: volumes: {{{}: {{}}}}", mount.source);
        reading.error(at, fmt::format("found the volume \"{}\", which is not declared", mount.source),
                      {hint});
      }
      if (!mount.keeps_state() || draft.spec.shared) continue;
      const auto other = std::ranges::find_if(
          writers, [&](const ServiceDraft* writer) { return writer->spec.writes(mount); });
      if (other != writers.end())
        reading.warn(at,
                     fmt::format("the {} \"{}\" is written by services.{} too",
                                 mount.kind == MountKind::volume ? "volume" : "folder", mount.source,
                                 (*other)->spec.name),
                     {"mount it :ro in one of them, or say x-naru.shared: true in both when their programs "
                      "agree on it"});
    }
    if (!draft.spec.shared) writers.push_back(&draft);
  }
}

void check_replicas(ComposeReading& reading, const ServiceDraft& draft) {
  if (draft.spec.replicas > 1 && draft.spec.stateful())
    reading.error(
        draft.replicas_at,
        fmt::format("found {} replicas of a service that writes to a {}; state is never run twice",
                    draft.spec.replicas,
                    std::ranges::any_of(draft.spec.mounts,
                                        [](const MountSpec& m) { return m.of_machine() && !m.read_only; })
                        ? "folder of the machine"
                        : "named volume"),
        {fmt::format("run one, or say services.{}.x-naru.shared: true when its program shares the volume",
                     draft.spec.name)});
}

void check_one_shots(ComposeReading& reading, const Drafts& services) {
  std::set<std::string> told;
  for (const ServiceDraft& draft : services)
    for (const Dependency& dependency : draft.spec.depends_on) {
      const ServiceDraft* target = dependency.condition == DependencyCondition::completed
                                       ? find(services, dependency.service)
                                       : nullptr;
      if (target == nullptr || !target->has_restart || !told.insert(dependency.service).second) continue;
      const RestartMode mode = target->spec.restart.mode;
      if (mode == RestartMode::always || mode == RestartMode::unless_stopped)
        reading.warn(
            target->restart_at,
            fmt::format("services.{} waits for this one to complete, which a restarting service never does",
                        draft.spec.name),
            {"take `restart` out, or say on-failure"});
    }
}

}  // namespace

void check_application(ComposeReading& reading, const std::vector<ServiceDraft>& services,
                       const ApplicationSpec& spec, const At& root) {
  if (services.empty() && root.node->kind == YamlKind::mapping)
    reading.error(root.child_or_self("services"), "found no services, expected at least one");
  check_dependencies(reading, services);
  CycleSearch cycles(reading, services);
  for (const ServiceDraft& draft : services) cycles.visit(draft);
  check_host_ports(reading, services);
  check_ports(reading, services);
  check_networks(reading, services, spec);
  check_volumes(reading, services, spec);
  for (const ServiceDraft& draft : services) check_replicas(reading, draft);
  check_one_shots(reading, services);
}

}  // namespace naru::format
