// Who reaches whom inside an environment, by the networks of the services. Pure.
//
// An instance is held to the file of its own release: it reaches a service when there the two share a
// network, whichever revision answers at the moment. So a release that moves a service to another network
// cuts off nobody who still works by the release before, and its own instances find each other before users
// meet them.
#pragma once

#include <map>
#include <optional>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "model/route_table.h"
#include "model/state.h"

namespace naru::route {

class Reaches {
 public:
  // Both releases may be null; `next`: of the active rollout.
  Reaches(const State& state, const Release* stable, const Release* next);

  // Sets `reach` and `canary_reach` of `caller`, which is this instance's. None: it reaches every service of
  // `route`, which are all there, and the outside. What they name is added to `route.reaches`.
  // Always of one route: instances of one service and revision get what was found for the first.
  void set(EnvironmentRoute& route, Caller& caller, const Instance& instance);
  // Whether users of the old release, or an instance of the new one, are let through to a service whose
  // instances (of this spec) share no network with this one.
  bool excepted(const Instance& instance, const ServiceSpec& service);

 private:
  using Index = std::optional<std::uint32_t>;
  const ReleaseService* find(const Release* release, std::string_view service);
  const ServiceSpec* spec_of(const Instance& instance);
  bool has(const Release* release, const Instance& instance);
  // The file that an instance is held to, in calls for users of either release.
  const Release* file_of(const Instance& instance, bool canary);
  bool reaches(const ServiceSpec& caller, const Release* file, const std::string& service);

  const State& state_;
  const Release* stable_;
  const Release* next_;
  // Every pass of every command asks for each instance and each service.
  std::map<const Release*, std::unordered_map<std::string_view, const ReleaseService*>> by_name_;
  std::map<std::tuple<ReleaseId, std::string_view, Digest>, std::pair<Index, Index>> found_;
  bool plain_ = true;  // nothing is said of networks in either: nobody is kept from anybody
};

}  // namespace naru::route
