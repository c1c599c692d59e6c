// Unpacked layers, layers/<hex of the diff id>, and when one may go.
//
// A layer is only a copy of a blob: who needs one that is gone unpacks it again. What must not happen is that
// it goes under somebody. Three walls, each for what the others cannot see:
//
//   1. Who stands on a layer is known here: containers that exist (running or ended: their bundle names it)
//      and open benches. remove() refuses their layers, whatever it was asked.
//   2. Between "is it there?" and "it is mounted" a container's start, a bench's begin, a copy from a stage
//      and a commit hold hold(); remove() renames only while nobody holds it. So a layer that was found is
//      mounted, and one that is mounted is in (1).
//   3. Between the answer of layer.unpack and the request that uses it only control knows of the use: it
//      removes layers only while no build and no start of its own is under way (control/image_gate.h). A
//      control that was killed in between left requests whose answers nobody waits for; its successor begins
//      with unpacking again.
//
// Killed at any moment: a layer goes by one rename to a name that is no layer's, and is deleted by sweep(),
// which may take long and keeps nobody waiting; what a kill leaves of it the next launcher removes
// (image::remove_stale_unpacks). A concurrent unpack of
// the same layer renames a whole folder into its place or finds the old one: never half of it.
#pragma once

#include <filesystem>
#include <functional>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <vector>

#include "base/digest.h"
#include "base/result.h"

namespace naru::launcher {

struct LayerRemoval {
  std::vector<Digest> removed;  // with dry_run: those that would go
  std::vector<Digest> in_use;   // stay
};

// Thread-safe.
class Layers {
 public:
  static constexpr std::size_t kMaxAtOnce = 256;

  explicit Layers(std::filesystem::path folder) : folder_(std::move(folder)) {}

  [[nodiscard]] std::shared_lock<std::shared_mutex> hold() { return std::shared_lock(making_); }
  // While it is held nothing is made. busy: something was being made all the time (kPatience).
  Result<std::unique_lock<std::shared_mutex>> alone();

  // Sorted.
  Result<std::vector<Digest>> list() const;
  // Sets them aside: nobody finds them any more. `in_use` is asked while nothing is being made. Those that
  // are not there are passed over. busy; system.
  Result<LayerRemoval> remove(const std::vector<Digest>& layers, bool dry_run,
                              const std::function<std::set<Digest>()>& in_use);
  // Deletes what was set aside; how many bytes it had on disk.
  Result<std::uint64_t> sweep();
  std::uint64_t bytes_of(const std::vector<Digest>& layers) const;  // on disk

 private:
  std::filesystem::path path_of(const Digest& layer) const { return folder_ / std::string(layer.hex()); }

  std::filesystem::path folder_;
  std::mutex sweeping_;
  std::shared_mutex making_;
};

}  // namespace naru::launcher
