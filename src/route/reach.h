// Who reaches whom inside an environment, by the networks of the services. Pure.
//
// An instance is held to the file of its own release: it reaches a service when there the two share a
// network, whichever revision answers at the moment. So a release that moves a service to another network
// cuts off nobody who still works by the release before, and its own instances find each other before users
// meet them.
#pragma once

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
  void set(EnvironmentRoute& route, Caller& caller, const Instance& instance) const;
  // Whether users of the old release, or an instance of the new one, are let through to a service whose
  // instances (of this spec) share no network with this one.
  bool excepted(const Instance& instance, const ServiceSpec& service) const;

 private:
  const ServiceSpec* spec_of(const Instance& instance) const;
  bool has(const Release* release, const Instance& instance) const;
  // The file that an instance is held to, in calls for users of either release.
  const Release* file_of(const Instance& instance, bool canary) const;
  bool reaches(const ServiceSpec& caller, const Release* file, const std::string& service) const;

  const State& state_;
  const Release* stable_;
  const Release* next_;
  bool plain_ = true;  // nothing is said of networks in either: nobody is kept from anybody
};

}  // namespace naru::route
