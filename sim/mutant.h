// Known bugs, planted around the deciders: in what they are told, in what they say, and in what is done with
// it.
#pragma once

#include <functional>
#include <span>

#include "model/changes.h"
#include "model/command.h"
#include "model/route_table.h"

namespace naru::sim {

// What control does differently. An empty hook changes nothing.
struct Mutant {
  std::string name;
  std::string what;
  std::function<void(const State&, Command&)> command = {};    // before it is decided on
  std::function<bool(const Command&)> drop_command = {};       // never arrives
  std::function<void(Changes&, std::size_t seen)> after = {};  // more events, as if they had been decided
  std::function<bool(const Event&)> apply_twice = {};
  std::function<bool(const std::string& kind)> lose_row = {};  // not written
  std::function<bool(const Action&)> forget_action = {};       // never carried out
  std::function<void(const State&, RouteTable&)> table = {};   // what is published
  std::function<void(command::Judged&)> verdict = {};
  bool acknowledge_early = false;  // before the commit
  bool machines_clock = false;     // decisions by the machine's clock, as it is
};

// The bugs, one a name.
const std::vector<Mutant>& mutants();

}  // namespace naru::sim
