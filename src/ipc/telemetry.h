// Counters between gateway (writer, every thread) and control (reader, ten times a second) in one shared
// memory file: a memfd that the supervisor creates and keeps, so that neither's death loses a count.
//
// Layout, version 5, host byte order, every word a lock-free relaxed atomic (no locks, hence nothing that a
// killed writer could leave locked):
//   Header                                    one page
//   ServiceSlot[kServiceSlots]                (service, revision); control assigns the slots, and gives one
//   to
//                                             its owner, zeroed, before a table names it
//   EvidenceSlot[kEvidenceSlots]              one step of one rollout; likewise. Who writes or reads names
//   the
//                                             step, and gets nothing of another's
// About 20 MiB of address space; pages of unused slots are never touched.
//
// A snapshot is not a point in time: counters of one slot may be some requests apart from each other; a
// counter itself never goes back until its slot is zeroed. users_bad <= users_seen holds in every snapshot
// (seen is counted first and read last).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"

namespace naru::ipc {

inline constexpr std::uint64_t kTelemetryMagic = 0x314d4c5455524121ULL;
inline constexpr std::uint32_t kTelemetryVersion = 5;
inline constexpr std::uint32_t kServiceSlots = 512;
inline constexpr std::uint32_t kEvidenceSlots = 16;
inline constexpr std::uint32_t kNoSlot = ~0U;  // counts nothing; so does any index beyond the bounds
inline constexpr std::uint32_t kUserBuckets = 1U << 20;
inline constexpr std::uint32_t kFailedRequests = 64;  // kept per evidence slot
inline constexpr std::size_t kFailedPathBytes = 128;

// Log-linear: 32 steps per doubling, values in microseconds up to 2^32 (71 minutes; longer counts as that).
// The middle of a bucket is within 1.6% of every value in it.
inline constexpr std::uint32_t kHistogramSteps = 32;
inline constexpr std::uint32_t kHistogramBuckets = kHistogramSteps * 28;
std::uint32_t histogram_bucket(std::uint64_t us);
std::uint64_t histogram_value(std::uint32_t bucket);  // middle of the bucket, us

enum class Side : std::uint8_t { stable = 0, canary = 1 };

enum class Outcome : std::uint8_t {
  status_1xx,
  status_2xx,
  status_3xx,
  status_4xx,
  status_5xx,
  connect_failure,
  first_byte_timeout,
  incomplete,
  given_up  // the client left before an answer began; no failure by itself
};
inline constexpr std::size_t kOutcomes = 9;

// Whose slot it is: from "<app>/<environment>/<service>/<revision>"; never 0. The same in every process.
std::uint64_t slot_owner(std::string_view key);

// A step's evidence: where it lies, and whose it is. Another step gets the slot later: a request that began
// under this one and ends then counts for nobody.
struct StepEvidence {
  std::uint32_t slot = kNoSlot;
  std::uint64_t owner = 0;
};
// A rollout's id is never given again, and it takes each of its at most 100 steps once.
constexpr StepEvidence evidence_of_step(std::uint32_t slot, std::uint64_t rollout, std::uint32_t step) {
  return {slot, rollout << 8 | (step + 1)};
}

// ---- what a reader gets

struct Histogram {
  std::vector<std::uint64_t> counts = std::vector<std::uint64_t>(kHistogramBuckets);
  std::uint64_t total() const;
  std::uint64_t quantile_us(double q) const;  // 0 when empty; q in [0, 1]
  // this - earlier, bucket by bucket: what happened between two snapshots.
  Histogram since(const Histogram& earlier) const;
};

struct ServiceCounters {
  std::array<std::uint64_t, kOutcomes> outcomes{};
  // Those of users, each once: neither calls between services nor a second try at the old release.
  std::uint64_t user_requests = 0, user_failures = 0;
  std::uint64_t bytes_in = 0, bytes_out = 0;  // bodies and tunnelled bytes; in = from the caller
  std::uint64_t connections = 0;              // TCP (not HTTP) connections carried
  std::uint64_t active = 0;                   // requests in flight in the newest gateway process
  // Charged to the CALLING service (its stable slot) while a rollout splits traffic: its inner calls of
  // services that have both sides, and those of them that carried no cohort and were split by the connection
  // ("web does not carry the cohort").
  std::uint64_t inner_calls = 0, inner_without_cohort = 0;
  Histogram latency;  // of answered requests
  // All outcomes but `incomplete`: an answer that was cut was counted by its status when it began.
  std::uint64_t requests() const;
  std::uint64_t failures() const;  // 5xx, connect failures, first-byte timeouts, incomplete answers
};

struct SideCounters {
  std::uint64_t users_seen = 0, users_bad = 0, users_slow = 0;
  std::uint64_t requests = 0, failed_requests = 0;
};

struct FailedRequest {
  Side side = Side::stable;
  std::uint16_t status = 0;  // 0: no answer
  Outcome outcome = Outcome::status_5xx;
  std::string method{}, path{};  // path: at most kFailedPathBytes, without the query
  std::string service{};         // at most 31 bytes
  std::string trace_id{};        // 32 hex, or ""
  std::uint64_t duration_us = 0;
  WallTime time{};
};

struct EvidenceCounters {
  SideCounters stable, canary;
  std::vector<FailedRequest> failed;  // oldest first
  const SideCounters& side(Side s) const { return s == Side::canary ? canary : stable; }
};

// ---- one user's request at the edge
struct UserEvidence {
  Side side = Side::stable;
  std::uint32_t bucket = 0;  // of the user, below kUserBuckets (taken modulo)
  bool bad = false, slow = false;
  bool again = false;  // the request was counted when its answer began; this adds how it ended
  // Its client gave up: bad when this is the first that is heard of the user, who has met nothing else.
  bool unanswered = false;
};

namespace layout {
struct File;
}

// A mapping of the file. Move-only; any thread may call anything.
class Telemetry {
 public:
  // The supervisor: a new file, sealed against shrinking and growing. `fd` keeps it alive.
  static Result<Telemetry> create();
  // Gateway and control: an inherited descriptor (duplicated here). malformed when magic, version or size
  // differ.
  static Result<Telemetry> open(int fd);
  Telemetry(Telemetry&& other) noexcept;
  Telemetry& operator=(Telemetry&& other) noexcept;
  ~Telemetry();
  int fd() const { return fd_.get(); }

  // The gateway, once at its start: gauges of earlier processes count no more.
  std::uint32_t begin_generation();
  std::uint32_t generation() const;

  // ---- writers (gateway threads). `generation` is begin_generation()'s.
  // `of_user`: counted among the requests of users, too.
  void count(std::uint32_t slot, Outcome outcome, bool of_user);
  // `at_edge`: of a user, and so of those from whom edge_latency() is made.
  void latency(std::uint32_t slot, std::uint64_t us, bool at_edge);
  void bytes(std::uint32_t slot, std::uint64_t in, std::uint64_t out);
  void connection(std::uint32_t slot);
  void active(std::uint32_t slot, std::uint32_t generation, int delta);
  void inner_call(std::uint32_t caller_slot, bool without_cohort);
  // Whether it counted as bad.
  bool evidence(StepEvidence of, const UserEvidence& user);
  void failed(StepEvidence of, const FailedRequest& request);

  // ---- control
  // Zeroes the slot, unless it is the owner's already.
  void give_service(std::uint32_t slot, std::uint64_t owner);
  void give_evidence(StepEvidence to);
  ServiceCounters service(std::uint32_t slot) const;
  // Zeros when the slot is (not yet, or no more) the owner's: nobody reads another revision's counts.
  ServiceCounters service(std::uint32_t slot, std::uint64_t owner) const;
  // Of users' requests alone; calls between services are left out. Empty when the slot is not the owner's.
  Histogram edge_latency(std::uint32_t slot, std::uint64_t owner) const;
  // Zeros and no failed request when the slot is not the step's.
  EvidenceCounters evidence_of(StepEvidence of) const;

 private:
  bool is_of(StepEvidence step) const;  // the slot is the step's
  Telemetry(Fd fd, layout::File* file) : fd_(std::move(fd)), file_(file) {}
  Fd fd_;
  layout::File* file_ = nullptr;
};

}  // namespace naru::ipc
