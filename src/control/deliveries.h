// How a push becomes a command: what its branch names now is handed to the core, one push of an application
// at a time. Two pushes that race come in in any order; the last accepted commit of the branch is delivered
// last.
#pragma once

#include <array>
#include <mutex>

#include "control/checkout.h"
#include "control/core.h"

namespace naru::control {

class Deliveries {
 public:
  Deliveries(Core& core, const ipc::DataFolder& data) : core_(core), data_(data) {}

  // `recovered`: at the start of control, not for a push. Gives the commit that was handed in; nothing when
  // the delivered branch does not exist. not_found for an unknown application.
  Result<std::optional<CommitInfo>> hand_in(const std::string& app, bool recovered = false);

 private:
  Core& core_;
  const ipc::DataFolder& data_;
  std::array<std::mutex, 16> turns_;  // by the application's name; two that share one wait a moment
};

}  // namespace naru::control
