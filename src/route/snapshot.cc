#include "route/snapshot.h"

#include <algorithm>
#include <array>

namespace naru::route {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool plain_name(std::string_view name) {
  if (name.empty() || name.size() > 63) return false;
  return std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), lower);
  return out;
}

Result<Pool> compile_pool(const RouteSide& side, const std::string& where) {
  if (side.endpoints.size() > kMaxEndpoints)
    return fail(Code::too_large, "{}: {} endpoints; at most {}", where, side.endpoints.size(), kMaxEndpoints);
  Pool pool{side.release, side.slot, {}};
  pool.targets.reserve(side.endpoints.size());
  for (const Endpoint& endpoint : side.endpoints) {
    auto address = parse_ipv4(endpoint.address);
    if (!address)
      return fail(Code::malformed, "{}: endpoint {}: {}", where, endpoint.instance, address.error().context);
    pool.targets.push_back({endpoint.instance, *address});
  }
  return pool;
}

Result<Service> compile_service(const ServiceRoute& route, const Environment& environment) {
  const std::string where = fmt::format("routes: {}.{}/{}", environment.app, environment.name, route.name);
  if (!plain_name(route.name)) return fail(Code::malformed, "{}: not a service name", where);
  Service service;
  service.environment = &environment;
  service.name = route.name;
  service.label = environment.name == "production"
                      ? fmt::format("{}/{}", environment.app, route.name)
                      : fmt::format("{}/{} ({})", environment.app, route.name, environment.name);
  if (!route.virtual_address.empty()) {
    auto address = parse_ipv4(route.virtual_address);
    if (!address) return fail(Code::malformed, "{}: virtual address: {}", where, address.error().context);
    service.virtual_address = *address;
  }
  if (route.ports.size() > kMaxPorts)
    return fail(Code::too_large, "{}: {} ports; at most {}", where, route.ports.size(), kMaxPorts);
  service.ports = route.ports;
  service.stable = TRY(compile_pool(route.stable, where));
  if (route.canary) service.canary = TRY(compile_pool(*route.canary, where + " (canary)"));
  service.hold = route.hold;
  return service;
}

Result<void> compile_services(const EnvironmentRoute& route, Environment& environment,
                              const std::string& where) {
  if (route.services.size() > kMaxServices)
    return fail(Code::too_large, "{}: {} services; at most {}", where, route.services.size(), kMaxServices);
  environment.services.reserve(route.services.size());
  for (const ServiceRoute& one : route.services) {
    if (environment.find(one.name)) return fail(Code::malformed, "{}: service {} twice", where, one.name);
    environment.services.push_back(TRY(compile_service(one, environment)));
    const std::uint32_t address = environment.services.back().virtual_address;
    const auto index = static_cast<std::uint32_t>(environment.services.size() - 1);
    if (address != 0 && !environment.virtual_index.emplace(address, index).second)
      return fail(Code::malformed, "{}: virtual address {} twice", where, one.virtual_address);
  }
  return {};
}

// An instance tells its callers' side only when its own service differs between the sides; one that serves
// both cohorts says nothing by its release.
CallerView compile_caller(const Caller& caller, const Environment& environment) {
  CallerView view{environment.find(caller.service), std::nullopt, true, caller.reach, caller.canary_reach};
  if (!view.service || !view.service->canary || !environment.split) return view;
  if (caller.release == view.service->canary->release)
    view.side = Side::canary;
  else if (caller.release == view.service->stable.release)
    view.side = Side::stable;
  return view;
}

ReachView compile_reach(const Reach& reach, const Environment& environment) {
  ReachView view{{}, reach.outside};
  for (const Service& service : environment.services)
    view.services.push_back(std::ranges::find(reach.services, service.name) != reach.services.end());
  return view;
}

Result<std::unique_ptr<Environment>> compile_environment(const EnvironmentRoute& route) {
  auto environment = std::make_unique<Environment>();
  const std::string where = fmt::format("routes: {}.{}", route.app, route.environment);
  if (!plain_name(route.app) || !plain_name(route.environment))
    return fail(Code::malformed, "{}: not a name", where);
  environment->app = route.app;
  environment->name = route.environment;
  environment->network = route.network;
  if (route.split) {
    if (route.split->weight > kEverybody)
      return fail(Code::malformed, "{}: weight {} above 10,000", where, route.split->weight.value);
    environment->split = route.split;
    environment->cohort.emplace(route.split->salt);
  }
  TRY(compile_services(route, *environment, where));
  if (route.callers.size() > kMaxCallers)
    return fail(Code::too_large, "{}: {} callers; at most {}", where, route.callers.size(), kMaxCallers);
  if (route.reaches.size() > kMaxCallers)
    return fail(Code::too_large, "{}: {} reaches; at most {}", where, route.reaches.size(), kMaxCallers);
  for (const Reach& reach : route.reaches)
    environment->reaches_of.push_back(compile_reach(reach, *environment));
  for (const Caller& caller : route.callers) {
    for (const auto& reach : {caller.reach, caller.canary_reach})
      if (reach && *reach >= route.reaches.size())
        return fail(Code::malformed, "{}: caller {}: no reach {}", where, caller.address, *reach);
    auto address = parse_ipv4(caller.address);
    if (!address) return fail(Code::malformed, "{}: caller: {}", where, address.error().context);
    environment->callers.insert_or_assign(*address, compile_caller(caller, *environment));
  }
  return environment;
}

}  // namespace

Result<std::uint32_t> parse_ipv4(std::string_view text) {
  std::uint32_t address = 0;
  std::size_t at = 0;
  for (int part = 0; part < 4; ++part) {
    if (part > 0 && (at >= text.size() || text[at] != '.'))
      return fail(Code::malformed, "'{}' is not an IPv4 address", text);
    const std::size_t start = part > 0 ? ++at : at;
    std::uint32_t value = 0;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9' && at - start < 3)
      value = value * 10 + static_cast<std::uint32_t>(text[at++] - '0');
    const bool leading_zero = at - start > 1 && text[start] == '0';
    if (at == start || value > 255 || leading_zero)
      return fail(Code::malformed, "'{}' is not an IPv4 address", text);
    address = (address << 8) | value;
  }
  if (at != text.size()) return fail(Code::malformed, "'{}' is not an IPv4 address", text);
  return address;
}

std::uint16_t Service::http_port() const {
  for (const ServicePort& port : ports)
    if (port.app_protocol == "http") return port.port;
  for (const ServicePort& port : ports)
    if (port.app_protocol != "tcp") return port.port;
  return 0;
}

std::string_view Service::protocol_of(std::uint16_t port) const {
  for (const ServicePort& one : ports)
    if (one.port == port) return one.app_protocol;
  return {};
}

const Service* Environment::find(std::string_view service) const {
  for (const Service& one : services)
    if (one.name == service) return &one;
  return nullptr;
}

const Service* Environment::by_virtual_address(std::uint32_t address) const {
  const auto found = virtual_index.find(address);
  return found == virtual_index.end() ? nullptr : &services[found->second];
}

CallerView Environment::caller(std::uint32_t address) const {
  const auto found = callers.find(address);
  return found == callers.end() ? CallerView{} : found->second;
}

bool Environment::reaches(const CallerView& caller, const Service& service, Side side) const {
  const auto& reach = side == Side::canary ? caller.canary_reach : caller.reach;
  if (!caller.known || !reach) return caller.known;
  return reaches_of[*reach].services[static_cast<std::size_t>(&service - services.data())];
}

bool Environment::reaches_outside(const CallerView& caller) const {
  return caller.known && (!caller.reach || reaches_of[*caller.reach].outside);
}

Result<void> Snapshot::add(const EnvironmentRoute& route, Index<const Environment*>& by_name) {
  if (environments_.size() >= kMaxEnvironments)
    return fail(Code::too_large, "routes: {}.{}: more than {} environments", route.app, route.environment,
                kMaxEnvironments);
  auto compiled = TRY(compile_environment(route));
  const Environment* environment = compiled.get();
  const std::string name = route.app + "/" + route.environment;
  if (by_name.contains(name))
    return fail(Code::malformed, "routes: {}.{} twice", route.app, route.environment);
  if (networks_.contains(route.network))
    return fail(Code::malformed, "routes: network {} serves two environments", route.network);
  environments_.push_back(std::move(compiled));
  by_name.emplace(name, environment);
  if (!route.network.empty()) networks_.emplace(route.network, environment);
  for (const Service& service : environment->services) {
    hosts_.insert_or_assign(
        lower_case(fmt::format("{}.{}.{}.localhost", service.name, environment->name, environment->app)),
        &service);
    for (const Target& target : service.stable.targets) addresses_.push_back(target.address);
    for (const Target& target : service.pool(Side::canary).targets) addresses_.push_back(target.address);
  }
  return {};
}

Result<void> Snapshot::add(const HostPortRoute& route, const Index<const Environment*>& by_name) {
  if (listeners_.size() >= kMaxHostPorts)
    return fail(Code::too_large, "routes: {} of {}.{}: more than {} host ports", route.listener, route.app,
                route.environment, kMaxHostPorts);
  HostPort port{nullptr, nullptr, fmt::format("{}/{}", route.app, route.service), route.port};
  if (const auto found = by_name.find(route.app + "/" + route.environment); found != by_name.end()) {
    port.environment = found->second;
    port.service = found->second->find(route.service);
  }
  if (!listeners_.emplace(route.listener, std::move(port)).second)
    return fail(Code::malformed, "routes: listener {} twice", route.listener);
  return {};
}

std::shared_ptr<const Snapshot> Snapshot::compile(const RouteTable& table) {
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->revision_ = table.revision;
  snapshot->user_ids_ = UserIds(table.user_key);
  const auto note = [&](const Result<void>& added) {
    if (!added) snapshot->left_out_.push_back(added.error().message());
  };
  Index<const Environment*> by_name;
  for (const EnvironmentRoute& route : table.environments) note(snapshot->add(route, by_name));
  std::ranges::sort(snapshot->addresses_);
  for (const HostPortRoute& route : table.host_ports) note(snapshot->add(route, by_name));
  return snapshot;
}

const Service* Snapshot::by_host(std::string_view host) const {
  if (const auto colon = host.rfind(':'); colon != std::string_view::npos) host = host.substr(0, colon);
  if (host.ends_with('.')) host.remove_suffix(1);
  std::array<char, 256> folded{};
  if (host.size() > folded.size()) return nullptr;
  std::ranges::transform(host, folded.begin(), lower);
  const auto found = hosts_.find(std::string_view(folded.data(), host.size()));
  return found == hosts_.end() ? nullptr : found->second;
}

const HostPort* Snapshot::by_listener(std::string_view listener) const {
  const auto found = listeners_.find(listener);
  return found == listeners_.end() ? nullptr : &found->second;
}

const Environment* Snapshot::by_network(std::string_view network) const {
  const auto found = networks_.find(network);
  return found == networks_.end() ? nullptr : found->second;
}

std::vector<std::string> Snapshot::hosts(std::size_t limit) const {
  std::vector<std::string> out;
  for (const auto& [host, service] : hosts_)
    if (service->http_port() != 0) out.push_back(host);
  std::ranges::sort(out);
  if (out.size() > limit) out.resize(limit);
  return out;
}

}  // namespace naru::route
