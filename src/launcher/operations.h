// What each op of ipc/launcher_protocol.h does. A function here runs on a thread of its pool and may block
// that long; it returns the answer, descriptors that go with it, and what the loop shall watch from now on.
#pragma once

#include <array>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "container/engine.h"
#include "launcher/benches.h"
#include "launcher/grants.h"
#include "network/networks.h"

namespace naru::launcher {

enum class WatchKind { container, exec, build };
struct Watch {
  WatchKind kind = WatchKind::container;
  std::string id;
  Fd pidfd;
  std::uint64_t client = 0;          // who is told; 0 = every client
  std::optional<MonoTime> deadline;  // then it is killed and reported as timed out
  bool timed_out = false;
};

struct Reply {
  Json result = Json::object();
  std::vector<Fd> fds;
  std::vector<Watch> watches;
  Json tell_all{};  // an event for every client, before the answer; null: none
};

enum class Lane { quick, folder, stop, probe, work };  // one pool each

struct Operations {
  container::Engine& engine;
  network::Networks& networks;
  Benches& benches;
  Layers& layers;
  Grants& grants;
  Json hello;
  // Starts and removals of one container wait for each other, by a hash of its id.
  std::array<std::mutex, 64> locks{};

  // Likewise starts on one volume (its removal waits for every start: layers.alone()). Taken after a
  // container's, lower ones first.
  std::array<std::mutex, 64> volume_locks{};

  std::mutex& lock_of(const std::string& container) {
    return locks[std::hash<std::string>{}(container) % locks.size()];
  }
  std::vector<std::unique_lock<std::mutex>> lock_volumes(const std::set<std::string>& volumes) {
    std::set<std::size_t> places;
    for (const std::string& volume : volumes)
      places.insert(std::hash<std::string>{}(volume) % volume_locks.size());
    std::vector<std::unique_lock<std::mutex>> held;
    for (const std::size_t place : places) held.emplace_back(volume_locks[place]);
    return held;
  }
};

struct Operation {
  Lane lane;
  Result<Reply> (*carry_out)(Operations& operations, const Json& request, std::uint64_t client);
  bool for_root = false;  // of root's clients alone: control is none
  // Where it depends on the request; on the loop's thread, so it asks nobody. May throw what a library
  // throws.
  Lane (*lane_of)(const Operations& operations, const Json& request) = nullptr;
};

// None: there is no such op.
const Operation* find_operation(std::string_view op);

}  // namespace naru::launcher
