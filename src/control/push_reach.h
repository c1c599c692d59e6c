// Where a pull that a push asks for may connect. Who may push names the registry, and the registry where to
// go on: neither may turn control, which runs beside everything that trusts this machine, against it.
//
// Refused are this machine's own addresses, its local links and its containers, with one error whether
// anything listens there or not; but for the registries that the operator allowed by name. What an
// administrator pulls (`naru image pull`) is not asked about.
#pragma once

#include <string>
#include <vector>

#include "control/core.h"
#include "io/http_client.h"

namespace naru::control {

class PushReach {
 public:
  // `allowed`: "host[:port]" as references name them.
  PushReach(const Core& core, std::vector<std::string> allowed) : core_(core), allowed_(std::move(allowed)) {}
  // Thread-safe. registry_refused, with the remedy.
  Result<void> check(const io::Url& url, const io::Address& address) const;

 private:
  const Core& core_;
  const std::vector<std::string> allowed_;
};

}  // namespace naru::control
