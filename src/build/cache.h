// The results of steps on disk, as a folder of small JSON files, each replaced atomically: killed at any
// instant, it holds whole records only. Losing it costs time, nothing else. Any number of builds may use one
// folder at once.
//
//   steps/<hex of key>.json   the layer that the step made, or that it made none
//   slots/<hex>.json          the parts that a step of a service had last: what `why` compares with
//   stages/<hex of key>.json  the manifest of a stage that no tag names, so that garbage collection keeps its
//   layers
#pragma once

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>

#include "base/clock.h"
#include "build/plan.h"

namespace naru::build {

class StepCache {
 public:
  static constexpr std::size_t kMaxRecords = 20'000;   // per folder; trim removes the oldest beyond
  static constexpr std::size_t kMaxPartsKept = 5'000;  // a step of more files keeps only their number

  static Result<StepCache> open(std::filesystem::path folder);

  struct Record {
    bool empty = false;  // the step changed nothing
    LayerRef layer;
  };
  std::optional<Record> find(const Digest& key) const;  // a damaged record is none
  Result<void> put(const Digest& key, const Record& record) const;
  void forget(const Digest& key) const;

  // The right to run a step: builds in this process that come to the same step at once (the same toolchain
  // under five services) wait for the one that has it, and find its record then. Given back when it goes.
  class Claim {
   public:
    Claim(Claim&& other) noexcept
        : cache_(std::exchange(other.cache_, nullptr)), key_(std::move(other.key_)) {}
    Claim& operator=(Claim&&) = delete;
    ~Claim();

   private:
    friend class StepCache;
    Claim(const StepCache* cache, Digest key) : cache_(cache), key_(std::move(key)) {}
    const StepCache* cache_;
    Digest key_;
  };
  // Blocks; build_cancelled when stopped meanwhile. The cache outlives the claim.
  Result<Claim> claim(const Digest& key, std::stop_token stop) const;

  // `slot` names a step through time: service, stage, number. Long values come back as digests: compare what
  // was read with stored_form() of what is.
  std::optional<std::vector<KeyPart>> last_parts(std::string_view slot) const;
  static std::vector<KeyPart> stored_form(std::vector<KeyPart> parts);
  Result<void> remember_parts(std::string_view slot, const std::vector<KeyPart>& parts) const;

  Result<void> keep_stage(const Digest& key, const Digest& manifest) const;
  void touch_stage(const Digest& key) const;  // it was used, if it is kept at all
  // Manifests that were used within `age` and must outlive garbage collection (GarbageOptions::keep).
  std::vector<Digest> kept_manifests(WallTime now, milliseconds age) const;
  struct Bound {
    std::size_t records = kMaxRecords;  // of each kind
    milliseconds age = 30 * 24h;        // since the last use
    std::uint64_t bytes = 10ULL << 30;  // of the layers that steps made
  };
  // Removes what was used longest ago, until the rest is within the bound. Call now and then; collecting
  // garbage afterwards frees the layers. Returns how many records went (would go, with `dry_run`).
  std::size_t trim(WallTime now, const Bound& bound, bool dry_run = false) const;

 private:
  struct Running {
    std::mutex mutex;
    std::condition_variable_any changed;
    std::set<Digest> keys;
  };
  explicit StepCache(std::filesystem::path folder)
      : folder_(std::move(folder)), running_(std::make_shared<Running>()) {}
  Result<void> write(const std::filesystem::path& path, const Json& json) const;
  std::optional<Json> read(const std::filesystem::path& path) const;
  std::uint64_t layer_bytes(const std::filesystem::path& record, std::set<Digest>& counted) const;
  std::filesystem::path folder_;
  std::shared_ptr<Running> running_;  // shared by copies
};
NARU_JSON(StepCache::Record)

}  // namespace naru::build
