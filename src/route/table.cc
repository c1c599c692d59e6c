#include "route/table.h"

#include <set>

#include "model/address.h"
#include "model/json_text.h"
#include "route/bounds.h"
#include "route/reach.h"

namespace naru::route {

namespace {

std::string slot_key(const Environment& environment, const std::string& service, const Digest& revision) {
  return fmt::format("{}/{}/{}/{}", environment.app, environment.name, service, revision.short_hex());
}

// What users of one environment meet, by its phase.
struct View {
  const Release* stable = nullptr;
  const Release* canary = nullptr;  // while users meet both
  const Release* next = nullptr;    // the rollout's
  const Rollout* rollout = nullptr;
};

View view_of(const State& state, const Environment& environment) {
  View view;
  view.stable = state.release(environment.stable);
  view.rollout = state.active_rollout(environment);
  if (view.rollout != nullptr) view.next = state.release(view.rollout->to);
  if (view.rollout != nullptr && view.rollout->phase == RolloutPhase::stepping) view.canary = view.next;
  return view;
}

bool is_swapped(const View& view, const std::string& name) {
  return view.rollout != nullptr &&
         std::ranges::find(view.rollout->swapped, name) != view.rollout->swapped.end();
}

// Who of the new release has taken over the state of a service that it does not have any more: the same
// under a new name. Users of the old release, who know the old name, go on with it.
const ReleaseService* heir_of(const View& view, const std::string& name) {
  const Release* next = view.next;
  const ReleaseService* before = view.stable == nullptr ? nullptr : view.stable->find(name);
  if (next == nullptr || before == nullptr || next->find(name) != nullptr) return nullptr;
  for (const std::string& other : view.rollout->swapped)
    if (const ReleaseService* heir = next->find(other);
        heir != nullptr && view.stable->find(other) == nullptr &&
        excludes(*next, heir->spec, *view.stable, before->spec))
      return heir;
  return nullptr;
}

class TableBuilder {
 public:
  explicit TableBuilder(const State& state) : state_(state) {}

  RouteTable build() {
    for (const auto& [key, environment] : state_.environments)
      if (environment.network) add(environment);
    table_.user_key = user_key_of(state_);
    return std::move(table_);
  }
  const std::set<std::string>& slot_keys() const { return slot_keys_; }
  // Of every environment with a network; after build().
  const std::map<EnvKey, UdpRoutes>& udp() const { return udp_; }

 private:
  void add(const Environment& environment) {
    const View view = view_of(state_, environment);
    EnvironmentRoute route;
    route.app = environment.app;
    route.environment = environment.name;
    route.network = environment.network->id;
    if (view.canary != nullptr) route.split = split_of(*view.rollout);
    UdpRoutes& udp = udp_[env_key(environment.app, environment.name)];
    for (const std::string& name : names_of(view)) add_service(route, udp, environment, view, name);
    add_callers(route, udp, environment, view);
    if (!udp.canary.empty())
      for (const Caller& caller : route.callers)
        if (caller.release == view.canary->id) udp.canary_callers.push_back(caller.address);
    if (view.stable != nullptr) add_host_ports(environment, *view.stable);
    table_.environments.push_back(std::move(route));
  }

  static Split split_of(const Rollout& rollout) {
    Split split;
    split.rollout = rollout.id;
    split.stable_release = rollout.from.value_or(0);
    split.canary_release = rollout.to;
    split.salt = rollout.salt;
    split.weight = rollout.steps.back().weight;
    split.evidence_slot = rollout.evidence_slot;
    split.step = rollout.step;
    split.slow_us = std::max<std::int64_t>(rollout.slow_us, 0);
    split.cohort_cookie = rollout.policy.cohort_cookie;
    split.cohort_header = rollout.policy.cohort_header;
    return split;
  }

  // A release being prepared is not met by users, but its own instances already find each other.
  std::vector<std::string> names_of(const View& view) const {
    std::vector<std::string> names;
    for (const Release* release : {view.stable, view.next})
      if (release != nullptr)
        for (const ReleaseService& service : release->services)
          if (std::ranges::find(names, service.spec.name) == names.end()) names.push_back(service.spec.name);
    return names;
  }

  RouteSide side_of(const Environment& environment, const Release& release, const ReleaseService& service) {
    RouteSide side;
    side.release = release.id;
    const std::string key = slot_key(environment, service.spec.name, service.revision);
    slot_keys_.insert(key);
    const auto slot = state_.slots.find(key);
    side.slot = slot == state_.slots.end() ? ~0U : slot->second;
    for (const auto& [id, instance] : state_.instances)
      if (instance.app == environment.app && instance.environment == environment.name && !instance.oneshot &&
          instance.service == service.spec.name && instance.revision == service.revision &&
          instance.phase == InstancePhase::ready)
        side.endpoints.push_back({instance.id, instance.address});
    return side;
  }

  void add_service(EnvironmentRoute& route, UdpRoutes& udp, const Environment& environment, const View& view,
                   const std::string& name) {
    const auto address = environment.virtual_addresses.find(name);
    if (address == environment.virtual_addresses.end()) return;
    const ReleaseService* before = view.stable == nullptr ? nullptr : view.stable->find(name);
    const ReleaseService* after = view.next == nullptr ? nullptr : view.next->find(name);
    const ReleaseService* heir = heir_of(view, name);
    const ReleaseService* main = heir != nullptr                                ? heir
                                 : before != nullptr && !is_swapped(view, name) ? before
                                 : after != nullptr                             ? after
                                                                                : before;
    ServiceRoute service;
    service.name = name;
    service.virtual_address = address->second;
    service.ports = ports_of(*main);
    const bool alone =
        before != nullptr && (before->spec.stateful() || (after != nullptr && after->spec.stateful()));
    const bool only_new = before == nullptr && view.canary != nullptr;
    if (only_new)
      service.canary = side_of(environment, *view.next, *after);
    else
      service.stable = side_of(environment, before == main ? *view.stable : *view.next, *main);
    if (!only_new && !alone && view.canary != nullptr && after != nullptr &&
        after->revision != main->revision)
      service.canary = side_of(environment, *view.canary, *after);
    // Requests wait while a stateful service is recreated, or while the only instance restarts after an
    // orderly swap.
    service.hold = alone && service.stable.endpoints.empty() && view.rollout != nullptr;
    add_udp(udp.targets, service.virtual_address, *main, service.stable);
    if (service.canary) add_udp(udp.canary, service.virtual_address, *after, *service.canary);
    for (const ReleaseService* served : {main, service.canary ? after : nullptr})
      if (served != nullptr && served->spec.answers_udp())
        udp_served_.push_back({service.virtual_address, &served->spec});
    route.services.push_back(std::move(service));
  }

  // The first that is ready, not one after another: what it was told before may matter to what comes next.
  static void add_udp(std::vector<UdpTarget>& targets, const std::string& virtual_address,
                      const ReleaseService& service, const RouteSide& side) {
    if (side.endpoints.empty()) return;
    for (const PortSpec& port : service.spec.ports) {
      UdpTarget target{virtual_address, port.container, side.endpoints.front().address};
      if (port.transport == Transport::udp && std::ranges::find(targets, target) == targets.end())
        targets.push_back(std::move(target));
    }
  }

  // Those that tell the gateway something: where the name at the edge leads, and what the file says of
  // others. Any other port is reached unlisted: an image may EXPOSE ten thousand.
  static std::vector<ServicePort> ports_of(const ReleaseService& service) {
    std::vector<ServicePort> ports;
    if (const auto edge = edge_port(service)) ports.push_back({edge->container, edge->app_protocol});
    std::set<std::uint16_t> listed;
    for (const ServicePort& port : ports) listed.insert(port.port);
    for (const PortSpec& port : service.spec.ports)
      if (port.transport == Transport::tcp && !port.app_protocol.empty() &&
          listed.insert(port.container).second)
        ports.push_back({port.container, port.app_protocol});
    return ports;
  }

  // An instance belongs to a release when only one of the two has its revision.
  void add_callers(EnvironmentRoute& route, UdpRoutes& udp, const Environment& environment,
                   const View& view) {
    Reaches reaches(state_, view.stable, view.next);
    for (const auto& [id, instance] : state_.instances) {
      if (instance.app != environment.app || instance.environment != environment.name ||
          instance.address.empty())
        continue;
      const auto has = [&](const Release* release) {
        const ReleaseService* found = release == nullptr ? nullptr : release->find(instance.service);
        return found != nullptr && found->revision == instance.revision;
      };
      const bool in_stable = has(view.stable), in_next = has(view.next);
      const ReleaseId release = in_stable == in_next ? 0 : in_stable ? view.stable->id : view.next->id;
      Caller caller{instance.address, instance.service, release};
      reaches.set(route, caller, instance);
      route.callers.push_back(std::move(caller));
      for (const UdpServed& served : udp_served_)
        if (udp.exceptions.size() < kMaxUdpExceptions && reaches.excepted(instance, *served.spec))
          udp.exceptions.push_back({instance.address, served.virtual_address});
    }
    udp_served_.clear();
  }

  void add_host_ports(const Environment& environment, const Release& release) {
    for (const PublishedPort& port : published_ports(state_, environment, release))
      add_host_port({port.listener(), environment.app, environment.name, port.service, port.spec->container});
  }

  // The deciders let no second one have it. One that an older Naru gave away twice must not spoil the table
  // for everybody: the first keeps it.
  void add_host_port(HostPortRoute route) {
    if (listeners_.size() >= kMaxHostPorts) return;
    if (listeners_.insert(route.listener).second) table_.host_ports.push_back(std::move(route));
  }

  struct UdpServed {
    std::string virtual_address;
    const ServiceSpec* spec;  // of who answers there
  };

  const State& state_;
  RouteTable table_;
  std::vector<UdpServed> udp_served_;  // of the environment that is being added
  std::map<EnvKey, UdpRoutes> udp_;
  std::set<std::string> listeners_;
  std::set<std::string> slot_keys_;
};

// Below the ports that Linux gives to clients (ip_local_port_range, 32768 on).
constexpr std::uint16_t kFirstPort = 20'000, kLastPort = 29'999;

std::string port_key(const Environment& environment, const std::string& service, std::uint16_t container) {
  return fmt::format("{}/{}/{}/{}", environment.app, environment.name, service, container);
}

bool is_published(const PortSpec& port) {
  return port.host && port.transport == Transport::tcp;
}

// Outside production: every port but the one that the service's name at the edge leads to, if that surely
// speaks HTTP. Of several entries for one port of the container the first.
std::vector<const PortSpec*> assigned_ports(const std::string& environment, const ServiceSpec& service) {
  std::vector<const PortSpec*> ports;
  if (environment == kProduction) return ports;
  const auto edge = edge_port(service);
  std::set<std::uint16_t> done;
  if (edge && speaks(*edge) == Speaks::http) done.insert(edge->container);
  for (const PortSpec& port : service.ports)
    if (is_published(port) && done.insert(port.container).second) ports.push_back(&port);
  return ports;
}

std::set<std::uint16_t> declared_ports(const State& state) {
  std::set<std::uint16_t> declared;
  for (const auto& [id, release] : state.releases)
    for (const ReleaseService& service : release.services)
      for (const PortSpec& port : service.spec.ports)
        if (port.host) declared.insert(*port.host);
  return declared;
}

// The first one after `after` that nobody of ours has; 0 when all are taken.
std::uint16_t free_port(const State& state, std::uint16_t after) {
  std::set<std::uint16_t> used = declared_ports(state);
  for (const auto& [key, port] : state.ports) used.insert(port);
  constexpr int kCount = kLastPort - kFirstPort + 1;
  for (int i = 1; i <= kCount; ++i) {
    const auto port = static_cast<std::uint16_t>(kFirstPort + (after - kFirstPort + i) % kCount);
    if (!used.contains(port)) return port;
  }
  return 0;
}

// Of what everybody meets, and of what is or may be on its way there: the push that makes a release tells its
// addresses. Of environments one after another, a newer one may be made meanwhile.
std::set<std::string> wanted_ports(const State& state) {
  std::map<EnvKey, const Release*> newest;
  for (const auto& [id, release] : state.releases)
    newest[env_key(release.app, release.environment)] = &release;
  std::set<std::string> wanted;
  for (const auto& [id, release] : state.releases) {
    const auto found = state.environments.find(env_key(release.app, release.environment));
    if (found == state.environments.end()) continue;
    const Environment& environment = found->second;
    const Rollout* rollout = state.active_rollout(environment);
    const bool comes = id > environment.offered || environment.pending == id ||
                       (rollout != nullptr && rollout->to == id) || newest.at(found->first) == &release;
    if (!comes && environment.stable != id) continue;
    for (const ReleaseService& service : release.services)
      for (const PortSpec* port : assigned_ports(environment.name, service.spec))
        wanted.insert(port_key(environment, service.spec.name, port->container));
  }
  return wanted;
}

void assign_ports(Changes& changes) {
  const std::set<std::string> wanted = wanted_ports(changes.state());
  std::vector<std::string> gone;
  for (const auto& [key, port] : changes.state().ports)
    if (!wanted.contains(key)) gone.push_back(key);
  for (const std::string& key : gone) changes.emit(event::PortFreed{key});
  // One that a release declares since is production's, who cannot choose another.
  const std::set<std::uint16_t> declared = declared_ports(changes.state());
  for (const std::string& key : wanted) {
    const auto assigned = changes.state().ports.find(key);
    if (assigned != changes.state().ports.end() && !declared.contains(assigned->second)) continue;
    const std::uint16_t port = free_port(changes.state(), kLastPort);
    if (port == 0) return;
    changes.emit(event::PortAssigned{key, port});
  }
}

constexpr std::uint32_t kSlots = 512;  // ipc/telemetry.h: kServiceSlots

// Whether a slot was given or taken.
bool assign_slots(Changes& changes, const std::set<std::string>& wanted) {
  std::vector<std::string> gone;
  std::set<std::uint32_t> used;
  for (const auto& [key, slot] : changes.state().slots) {
    if (wanted.contains(key))
      used.insert(slot);
    else
      gone.push_back(key);
  }
  for (const std::string& key : gone) changes.emit(event::SlotFreed{key});
  bool changed = !gone.empty();
  for (const std::string& key : wanted) {
    if (changes.state().slots.contains(key)) continue;
    if (used.size() >= kSlots) break;  // more revisions than slots: the rest is routed but not counted
    // One that was given back comes last again: requests on their way still count for who had it.
    std::uint32_t slot = changes.state().counters.next_slot % kSlots;
    while (used.contains(slot)) slot = (slot + 1) % kSlots;
    used.insert(slot);
    changes.emit(event::SlotAssigned{key, slot});
    changed = true;
  }
  return changed;
}

void queue_udp(Changes& changes, const EnvKey& key) {
  // One is enough: it sends the newest.
  for (const auto& [id, action] : changes.state().outbox)
    if (action.kind == ActionKind::set_udp_routes && action.subject == key) return;
  changes.queue(ActionKind::set_udp_routes, key);
}

void settle_udp(Changes& changes, const std::map<EnvKey, UdpRoutes>& wanted) {
  for (const auto& [key, routes] : wanted) {
    std::string digest = digest_of(routes);
    if (digest == changes.state().environments.at(key).udp_digest) continue;
    changes.emit(event::UdpRoutesChanged{key, std::move(digest)});
    queue_udp(changes, key);
  }
}

}  // namespace

const ReleaseService* recreated(const State& state, const Environment& environment, const std::string& name) {
  const View view = view_of(state, environment);
  if (const ReleaseService* heir = heir_of(view, name)) return heir;
  return is_swapped(view, name) ? view.next->find(name) : nullptr;
}

std::optional<PortSpec> edge_port(const ServiceSpec& service) {
  std::set<std::uint16_t> told;  // by a word of the file: another entry of the same port asks nothing more
  for (const PortSpec& port : service.ports)
    if (port.transport == Transport::tcp && !port.app_protocol.empty()) told.insert(port.container);
  std::optional<PortSpec> best;
  int rank = 0;
  for (const PortSpec& port : service.ports) {
    const bool said = !port.app_protocol.empty();
    if (!said && told.contains(port.container)) continue;
    const Speaks what = speaks(port);
    const int its = what == Speaks::other ? 0 : what == Speaks::unknown ? 1 : said ? 3 : 2;
    if (its > rank) best = port, rank = its;
  }
  return best;
}

std::optional<PortSpec> edge_port(const ReleaseService& service) {
  if (auto declared = edge_port(service.spec)) return declared;
  std::optional<PortSpec> unknown;
  for (const std::uint16_t exposed : service.image.exposed) {
    // The file's word about a port stands, also when it is that this is no HTTP.
    if (std::ranges::any_of(service.spec.ports, [&](const PortSpec& told) {
          return told.transport == Transport::tcp && told.container == exposed;
        }))
      continue;
    PortSpec port{
        .container = exposed, .host = {}, .host_ip = {}, .transport = Transport::tcp, .app_protocol = {}};
    const Speaks what = speaks(port);
    if (what == Speaks::http) return port;
    if (what == Speaks::unknown && !unknown) unknown = std::move(port);
  }
  return unknown;
}

UdpRoutes udp_routes_of(const State& state, const EnvKey& environment) {
  TableBuilder builder(state);
  builder.build();
  const auto found = builder.udp().find(environment);
  return found == builder.udp().end() ? UdpRoutes{} : found->second;
}

std::string digest_of(const UdpRoutes& routes) {
  return routes.empty() ? std::string() : Digest::of_sha256(json_text(routes)).short_hex();
}

std::string user_key_of(const State& state) {
  return std::string(Digest::of_sha256(state.secret + "/users").hex());
}

RouteTable table_of(const State& state) {
  return TableBuilder(state).build();
}

std::vector<ListenerSpec> listeners_of(const State& state) {
  std::vector<ListenerSpec> listeners;
  std::set<std::string> host_ports;
  for (const auto& [key, environment] : state.environments) {
    if (!environment.network) continue;
    const NetworkInfo& network = *environment.network;
    listeners.push_back({"inner:" + network.id, ListenerKind::inner, network.gateway, network.inner_port});
    listeners.push_back({"dns-udp:" + network.id, ListenerKind::dns_udp, network.gateway, 53});
    listeners.push_back({"dns-tcp:" + network.id, ListenerKind::dns_tcp, network.gateway, 53});
    const Release* stable = state.release(environment.stable);
    if (stable == nullptr) continue;
    for (const PublishedPort& port : published_ports(state, environment, *stable))
      if (host_ports.size() < kMaxHostPorts && host_ports.insert(port.listener()).second)
        listeners.push_back({port.listener(), ListenerKind::tcp, port.spec->host_ip, port.host});
  }
  return listeners;
}

Result<void> check_host_ports_fit(const State& state, const std::string& app, const ApplicationSpec& spec) {
  std::size_t others = 0, ours = 0;
  for (const auto& [key, environment] : state.environments)
    if (const Release* stable = state.release(environment.stable);
        stable != nullptr && environment.app != app)
      others += published_ports(state, environment, *stable).size();
  for (const ServiceSpec& service : spec.services)
    for (const EnvironmentSpec& environment : spec.every_environment())
      ours += environment.name == kProduction
                  ? static_cast<std::size_t>(std::ranges::count_if(service.ports, is_published))
                  : assigned_ports(environment.name, service).size();
  if (ours == 0 || others + ours <= kMaxHostPorts) return {};
  return std::unexpected(
      Error{Code::too_large,
            fmt::format("{} host ports in all environments, beside {} of other applications; {} is the most "
                        "that one Naru publishes",
                        ours, others, kMaxHostPorts),
            0, "publish those only that are asked from outside"});
}

std::string PublishedPort::listener() const {
  return spec->host_ip.empty() ? fmt::format("host:{}", host)
                               : fmt::format("host:{}@{}", host, spec->host_ip);
}

std::vector<PublishedPort> published_ports(const State& state, const Environment& environment,
                                           const Release& release) {
  std::vector<PublishedPort> ports;
  for (const ReleaseService& service : release.services) {
    const std::string& name = service.spec.name;
    if (environment.name == kProduction)
      for (const PortSpec& port : service.spec.ports)
        if (is_published(port)) ports.push_back({name, &port, *port.host});
    for (const PortSpec* port : assigned_ports(environment.name, service.spec))
      if (const auto assigned = state.ports.find(port_key(environment, name, port->container));
          assigned != state.ports.end())
        ports.push_back({name, port, assigned->second});
  }
  return ports;
}

void decide(Changes& changes, const command::PortTaken& observation) {
  const auto& ports = changes.state().ports;
  const auto found =
      std::ranges::find_if(ports, [&](const auto& row) { return row.second == observation.port; });
  if (found == ports.end()) return;
  const std::string key = found->first;
  if (const std::uint16_t other = free_port(changes.state(), observation.port); other != 0)
    changes.emit(event::PortAssigned{key, other});
}

void decide(Changes& changes, const command::UdpRoutesSet& result) {
  if (!changes.state().outbox.contains(result.action)) return;  // told twice, or the application went
  changes.done(result.action);
  const auto found = changes.state().environments.find(result.environment);
  if (found == changes.state().environments.end()) return;
  if (!found->second.udp_error.empty()) changes.emit(event::UdpRoutesRefused{result.environment, ""});
  // They changed again while these were on their way.
  if (result.digest != found->second.udp_digest) queue_udp(changes, result.environment);
}

void decide(Changes& changes, const command::UdpRoutesRefused& observation) {
  const auto found = changes.state().environments.find(observation.environment);
  if (found == changes.state().environments.end() || found->second.udp_error == observation.error) return;
  changes.emit(event::UdpRoutesRefused{observation.environment, observation.error});
}

void reconcile(Changes& changes) {
  assign_ports(changes);
  TableBuilder builder(changes.state());
  RouteTable table = builder.build();
  settle_udp(changes, builder.udp());
  if (assign_slots(changes, builder.slot_keys())) table = table_of(changes.state());
  const Json wanted{{"table", table}, {"listeners", listeners_of(changes.state())}};
  std::string digest = Digest::of_sha256(json_text(wanted)).short_hex();
  if (digest == changes.state().counters.routes_digest) return;
  const std::uint64_t revision = changes.state().counters.routes_revision + 1;
  changes.emit(event::RoutesChanged{revision, std::move(digest)});
  // One publication is enough: it sends the newest table.
  for (const auto& [id, action] : changes.state().outbox)
    if (action.kind == ActionKind::publish_routes) return;
  changes.queue(ActionKind::publish_routes, std::to_string(revision));
}

}  // namespace naru::route
