#include "route/reach.h"

namespace naru::route {

namespace {

bool is_plain(const ServiceSpec& spec) {
  return spec.networks.empty() && !spec.internal;
}

// None for one that takes nothing away.
std::optional<std::uint32_t> index_of(EnvironmentRoute& route, Reach reach) {
  if (reach.outside && reach.services.size() == route.services.size()) return std::nullopt;
  const auto found = std::ranges::find(route.reaches, reach);
  const auto index = static_cast<std::uint32_t>(found - route.reaches.begin());
  if (found == route.reaches.end()) route.reaches.push_back(std::move(reach));
  return index;
}

}  // namespace

Reaches::Reaches(const State& state, const Release* stable, const Release* next)
    : state_(state), stable_(stable), next_(next) {
  for (const Release* release : {stable_, next_})
    if (release != nullptr)
      for (const ReleaseService& service : release->services) plain_ = plain_ && is_plain(service.spec);
}

const ReleaseService* Reaches::find(const Release* release, std::string_view service) {
  if (release == nullptr) return nullptr;
  const auto [names, is_new] = by_name_.try_emplace(release);
  if (is_new)
    for (const ReleaseService& one : release->services) names->second.emplace(one.spec.name, &one);
  const auto found = names->second.find(service);
  return found == names->second.end() ? nullptr : found->second;
}

const ServiceSpec* Reaches::spec_of(const Instance& instance) {
  const ReleaseService* service = find(state_.release(instance.release), instance.service);
  return service == nullptr ? nullptr : &service->spec;
}

bool Reaches::has(const Release* release, const Instance& instance) {
  const ReleaseService* found = find(release, instance.service);
  return found != nullptr && found->revision == instance.revision;
}

const Release* Reaches::file_of(const Instance& instance, bool canary) {
  const bool in_stable = has(stable_, instance), in_next = has(next_, instance);
  if (in_next && (canary || !in_stable)) return next_;
  return in_stable ? stable_ : state_.release(instance.release);  // one that finishes what it began
}

bool Reaches::reaches(const ServiceSpec& caller, const Release* file, const std::string& service) {
  for (const Release* release : {file, stable_, next_})
    if (const ReleaseService* found = find(release, service); found != nullptr)
      return share_network(caller.networks, found->spec.networks);
  return false;
}

void Reaches::set(EnvironmentRoute& route, Caller& caller, const Instance& instance) {
  const ServiceSpec* spec = spec_of(instance);
  if (spec != nullptr && plain_ && is_plain(*spec)) return;
  const auto [row, is_new] = found_.try_emplace({instance.release, instance.service, instance.revision});
  const auto reach = [&](bool canary) {
    Reach out{.services = {}, .outside = spec != nullptr && !spec->internal};
    const Release* file = file_of(instance, canary);
    if (spec != nullptr)
      for (const ServiceRoute& service : route.services)
        if (reaches(*spec, file, service.name)) out.services.push_back(service.name);
    return index_of(route, std::move(out));
  };
  if (is_new) row->second.first = reach(false);
  if (is_new) row->second.second = reach(true);
  std::tie(caller.reach, caller.canary_reach) = row->second;
}

bool Reaches::excepted(const Instance& instance, const ServiceSpec& service) {
  const ServiceSpec* spec = spec_of(instance);
  return spec != nullptr && !share_network(spec->networks, service.networks) &&
         reaches(*spec, file_of(instance, false), service.name);
}

}  // namespace naru::route
