// Where people reach the services of a release, as the push, `naru status` and the console tell it.
#pragma once

#include <string>
#include <vector>

#include "model/state.h"

namespace naru::control {

struct Address {
  std::string service, url;
};

// Host ports first, for they are what people open; then names at the edge, of services with a port in the
// file whose name leads to what may speak HTTP (route::edge_port).
std::vector<Address> addresses_of(const State& state, const Environment& environment, const Release& release,
                                  std::uint16_t gateway_port);

}  // namespace naru::control
