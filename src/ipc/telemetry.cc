#include "ipc/telemetry.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

namespace naru::ipc {
namespace layout {

using Word = std::atomic<std::uint64_t>;
static_assert(Word::is_always_lock_free, "the file is shared between processes");

struct alignas(4096) Header {
  Word magic, version, size;
  Word generation;
};

struct alignas(64) ServiceSlot {
  Word owner;  // 0: nobody's
  std::array<Word, kOutcomes> outcomes;
  Word user_requests, user_failures;
  Word bytes_in, bytes_out, connections;
  Word active;  // generation << 32 | count
  Word inner_calls, inner_without_cohort;
  std::array<Word, kHistogramBuckets> latency, edge_latency;
};

using Bitmap = std::array<Word, kUserBuckets / 64>;

struct alignas(64) SideSlot {
  Word users_seen, users_bad, users_slow, requests, failed_requests;
  Bitmap seen, bad, slow;
};

// One failed request as it is kept. A record is written under an odd sequence number and is valid under an
// even one that did not change while it was read (a sequence lock whose data are atomics, so that a torn read
// is only stale).
struct Record {
  std::uint64_t owner;  // whose step it was for who wrote it
  std::uint8_t side, outcome;
  std::uint16_t status;
  std::uint32_t unused;
  std::uint64_t duration_us;
  std::int64_t time_ms;
  char method[16], service[32], trace_id[32], path[kFailedPathBytes];
};
static_assert(sizeof(Record) % 8 == 0);
inline constexpr std::size_t kRecordWords = sizeof(Record) / 8;

struct RecordSlot {
  Word sequence;
  std::array<Word, kRecordWords> words;
};

struct alignas(4096) EvidenceSlot {
  Word owner;  // 0: nobody's
  std::array<SideSlot, 2> sides;
  Word next_record;
  std::array<RecordSlot, kFailedRequests> records;
};

struct File {
  Header header;
  std::array<ServiceSlot, kServiceSlots> services;
  std::array<EvidenceSlot, kEvidenceSlots> evidence;
};

}  // namespace layout

namespace {

using layout::File;
using layout::Word;
constexpr auto kRelaxed = std::memory_order_relaxed;

void add(Word& word, std::uint64_t by = 1) {
  word.fetch_add(by, kRelaxed);
}

// True when the bit was not set before.
bool set_bit(layout::Bitmap& bitmap, std::uint32_t bit) {
  const std::uint64_t mask = 1ULL << (bit % 64);
  Word& word = bitmap[bit / 64];
  if (word.load(kRelaxed) & mask)
    return false;  // most users were seen already: no write, no cache line moved
  return !(word.fetch_or(mask, kRelaxed) & mask);
}

template <std::size_t N>
void put(char (&field)[N], std::string_view text) {
  std::memset(field, 0, N);
  std::ranges::copy(text.substr(0, N), field);
}

template <std::size_t N>
std::string take(const char (&field)[N]) {
  return std::string(field, strnlen(field, N));
}

bool is_failure(Outcome outcome) {
  return outcome >= Outcome::status_5xx && outcome <= Outcome::incomplete;
}

void zero_words(void* start, std::size_t bytes) {
  for (Word *word = static_cast<Word*>(start), *end = word + bytes / sizeof(Word); word != end; ++word)
    if (word->load(kRelaxed) != 0) word->store(0, kRelaxed);  // an untouched page stays untouched
}

Result<File*> map(int fd) {
  void* address = mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (address == MAP_FAILED) return fail_errno(Code::system, "telemetry: mmap of {} bytes", sizeof(File));
  return static_cast<File*>(address);
}

}  // namespace

std::uint32_t histogram_bucket(std::uint64_t us) {
  us = std::min<std::uint64_t>(us, 0xffff'ffffULL);
  if (us < kHistogramSteps) return static_cast<std::uint32_t>(us);
  const auto shift = static_cast<std::uint32_t>(std::bit_width(us)) - 6;  // keeps six bits: 32..63
  return shift * kHistogramSteps + static_cast<std::uint32_t>(us >> shift);
}

std::uint64_t histogram_value(std::uint32_t bucket) {
  if (bucket < 2 * kHistogramSteps) return bucket;
  const std::uint32_t shift = bucket / kHistogramSteps - 1;
  const std::uint64_t low = std::uint64_t{bucket - shift * kHistogramSteps} << shift;
  return low + (1ULL << shift) / 2;
}

std::uint64_t Histogram::total() const {
  std::uint64_t sum = 0;
  for (const std::uint64_t count : counts) sum += count;
  return sum;
}

std::uint64_t Histogram::quantile_us(double q) const {
  const std::uint64_t all = total();
  if (all == 0) return 0;
  const auto rank = static_cast<std::uint64_t>(std::clamp(q, 0.0, 1.0) * static_cast<double>(all - 1));
  std::uint64_t below = 0;
  for (std::uint32_t i = 0; i < counts.size(); ++i) {
    below += counts[i];
    if (below > rank) return histogram_value(i);
  }
  return histogram_value(kHistogramBuckets - 1);
}

Histogram Histogram::since(const Histogram& earlier) const {
  Histogram out;
  for (std::size_t i = 0; i < counts.size(); ++i)
    out.counts[i] = counts[i] - std::min(counts[i], earlier.counts[i]);
  return out;
}

std::uint64_t ServiceCounters::requests() const {
  std::uint64_t sum = 0;
  for (const std::uint64_t count : outcomes) sum += count;
  return sum - outcomes[static_cast<std::size_t>(Outcome::incomplete)];
}

std::uint64_t ServiceCounters::failures() const {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kOutcomes; ++i)
    if (is_failure(static_cast<Outcome>(i))) sum += outcomes[i];
  return sum;
}

Result<Telemetry> Telemetry::create() {
  Fd fd(memfd_create("naru-telemetry", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return fail_errno(Code::system, "telemetry: memfd_create");
  if (ftruncate(fd.get(), sizeof(File)) != 0)
    return fail_errno(Code::system, "telemetry: ftruncate to {} bytes", sizeof(File));
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return fail_errno(Code::system, "telemetry: sealing the shared memory");
  File* file = TRY(map(fd.get()));
  file->header.version.store(kTelemetryVersion, kRelaxed);
  file->header.size.store(sizeof(File), kRelaxed);
  file->header.magic.store(kTelemetryMagic, std::memory_order_release);
  return Telemetry(std::move(fd), file);
}

Result<Telemetry> Telemetry::open(int fd) {
  Fd own(fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!own) return fail_errno(Code::system, "telemetry: descriptor {}", fd);
  struct stat status{};
  if (fstat(own.get(), &status) != 0) return fail_errno(Code::system, "telemetry: fstat");
  if (static_cast<std::uint64_t>(status.st_size) != sizeof(File))
    return fail(Code::malformed,
                "telemetry: the shared memory has {} bytes, not {}: another version of Naru made it",
                status.st_size, sizeof(File));
  // Without the seals another holder could shrink it under us: SIGBUS.
  const int seals = fcntl(own.get(), F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0)
    return fail(Code::malformed, "telemetry: descriptor {} is not sealed shared memory", fd);
  File* file = TRY(map(own.get()));
  Telemetry out(std::move(own), file);
  if (file->header.magic.load(std::memory_order_acquire) != kTelemetryMagic ||
      file->header.version.load(kRelaxed) != kTelemetryVersion)
    return fail(Code::malformed,
                "telemetry: magic or version of the shared memory differ: another version of Naru made it");
  return out;
}

Telemetry::Telemetry(Telemetry&& other) noexcept
    : fd_(std::move(other.fd_)), file_(std::exchange(other.file_, nullptr)) {}

Telemetry& Telemetry::operator=(Telemetry&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(file_, other.file_);
  return *this;
}

Telemetry::~Telemetry() {
  if (file_) munmap(file_, sizeof(File));
}

std::uint32_t Telemetry::begin_generation() {
  return static_cast<std::uint32_t>(file_->header.generation.fetch_add(1, kRelaxed) + 1);
}

std::uint32_t Telemetry::generation() const {
  return static_cast<std::uint32_t>(file_->header.generation.load(kRelaxed));
}

void Telemetry::count(std::uint32_t slot, Outcome outcome, bool of_user) {
  if (slot >= kServiceSlots) return;
  layout::ServiceSlot& service = file_->services[slot];
  add(service.outcomes[static_cast<std::size_t>(outcome) % kOutcomes]);
  if (!of_user) return;
  if (outcome != Outcome::incomplete) add(service.user_requests);
  if (is_failure(outcome)) add(service.user_failures);
}

void Telemetry::latency(std::uint32_t slot, std::uint64_t us, bool at_edge) {
  if (slot >= kServiceSlots) return;
  const std::uint32_t bucket = histogram_bucket(us);
  add(file_->services[slot].latency[bucket]);
  if (at_edge) add(file_->services[slot].edge_latency[bucket]);
}

void Telemetry::bytes(std::uint32_t slot, std::uint64_t in, std::uint64_t out) {
  if (slot >= kServiceSlots) return;
  if (in) add(file_->services[slot].bytes_in, in);
  if (out) add(file_->services[slot].bytes_out, out);
}

void Telemetry::connection(std::uint32_t slot) {
  if (slot < kServiceSlots) add(file_->services[slot].connections);
}

void Telemetry::active(std::uint32_t slot, std::uint32_t generation, int delta) {
  if (slot >= kServiceSlots) return;
  Word& word = file_->services[slot].active;
  std::uint64_t old = word.load(kRelaxed), next = 0;
  do {
    const auto tag = static_cast<std::uint32_t>(old >> 32);
    if (tag > generation) return;  // a newer process owns the gauge; this one is draining
    std::int64_t value = tag == generation ? static_cast<std::int64_t>(old & 0xffff'ffffULL) : 0;
    value = std::max<std::int64_t>(0, value + delta);
    next = (std::uint64_t{generation} << 32) | static_cast<std::uint64_t>(value);
  } while (!word.compare_exchange_weak(old, next, kRelaxed));
}

void Telemetry::inner_call(std::uint32_t caller_slot, bool without_cohort) {
  if (caller_slot >= kServiceSlots) return;
  add(file_->services[caller_slot].inner_calls);
  if (without_cohort) add(file_->services[caller_slot].inner_without_cohort);
}

bool Telemetry::evidence(StepEvidence of, const UserEvidence& user) {
  if (!is_of(of)) return false;
  layout::SideSlot& side = file_->evidence[of.slot].sides[user.side == Side::canary ? 1 : 0];
  const std::uint32_t bucket = user.bucket % kUserBuckets;
  if (!user.again) add(side.requests);
  const bool first = set_bit(side.seen, bucket);
  if (first) side.users_seen.fetch_add(1, std::memory_order_release);
  const bool bad = user.bad || (user.unanswered && first);
  if (bad) {
    add(side.failed_requests);
    if (set_bit(side.bad, bucket)) side.users_bad.fetch_add(1, std::memory_order_release);
  }
  if (user.slow && set_bit(side.slow, bucket)) side.users_slow.fetch_add(1, std::memory_order_release);
  return bad;
}

void Telemetry::failed(StepEvidence of, const FailedRequest& request) {
  if (!is_of(of)) return;
  layout::EvidenceSlot& slot = file_->evidence[of.slot];
  layout::Record record{};
  record.owner = of.owner;
  record.side = static_cast<std::uint8_t>(request.side);
  record.outcome = static_cast<std::uint8_t>(request.outcome);
  record.status = request.status;
  record.duration_us = request.duration_us;
  record.time_ms = to_epoch_ms(request.time);
  put(record.method, request.method);
  put(record.service, request.service);
  put(record.trace_id, request.trace_id);
  put(record.path, request.path);
  std::array<std::uint64_t, layout::kRecordWords> words{};
  std::memcpy(words.data(), &record, sizeof record);
  layout::RecordSlot& out = slot.records[slot.next_record.fetch_add(1, kRelaxed) % kFailedRequests];
  std::uint64_t sequence = out.sequence.load(kRelaxed);
  // Another writer is in this record (64 failures later): the older example is as good.
  if (sequence % 2 == 1 ||
      !out.sequence.compare_exchange_strong(sequence, sequence + 1, std::memory_order_acq_rel))
    return;
  for (std::size_t i = 0; i < words.size(); ++i) out.words[i].store(words[i], std::memory_order_release);
  out.sequence.store(sequence + 2, std::memory_order_release);
}

void Telemetry::give_service(std::uint32_t slot, std::uint64_t owner) {
  if (slot >= kServiceSlots) return;
  layout::ServiceSlot& to = file_->services[slot];
  if (to.owner.load(std::memory_order_acquire) == owner) return;
  zero_words(&to, sizeof to);  // the owner first: whoever reads now reads nothing
  to.owner.store(owner, std::memory_order_release);
}

ServiceCounters Telemetry::service(std::uint32_t slot, std::uint64_t owner) const {
  if (slot >= kServiceSlots) return {};
  ServiceCounters out = service(slot);
  // Asked last: counts that were read before it changed hands are thrown away.
  return file_->services[slot].owner.load(std::memory_order_acquire) == owner ? out : ServiceCounters{};
}

Histogram Telemetry::edge_latency(std::uint32_t slot, std::uint64_t owner) const {
  Histogram out;
  if (slot >= kServiceSlots) return out;
  const layout::ServiceSlot& from = file_->services[slot];
  for (std::uint32_t i = 0; i < kHistogramBuckets; ++i) out.counts[i] = from.edge_latency[i].load(kRelaxed);
  return from.owner.load(std::memory_order_acquire) == owner ? out : Histogram{};
}

// FNV-1a.
std::uint64_t slot_owner(std::string_view key) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash == 0 ? 1 : hash;
}

bool Telemetry::is_of(StepEvidence step) const {
  return step.slot < kEvidenceSlots && step.owner != 0 &&
         file_->evidence[step.slot].owner.load(std::memory_order_acquire) == step.owner;
}

void Telemetry::give_evidence(StepEvidence to) {
  if (to.slot >= kEvidenceSlots || is_of(to)) return;
  layout::EvidenceSlot& slot = file_->evidence[to.slot];
  zero_words(&slot, sizeof slot);  // the owner first: who writes or reads now does so for nobody
  slot.owner.store(to.owner, std::memory_order_release);
}

ServiceCounters Telemetry::service(std::uint32_t slot) const {
  ServiceCounters out;
  if (slot >= kServiceSlots) return out;
  const layout::ServiceSlot& from = file_->services[slot];
  for (std::size_t i = 0; i < kOutcomes; ++i) out.outcomes[i] = from.outcomes[i].load(kRelaxed);
  out.user_requests = from.user_requests.load(kRelaxed);
  out.user_failures = from.user_failures.load(kRelaxed);
  out.bytes_in = from.bytes_in.load(kRelaxed);
  out.bytes_out = from.bytes_out.load(kRelaxed);
  out.connections = from.connections.load(kRelaxed);
  const std::uint64_t active = from.active.load(kRelaxed);
  out.active = (active >> 32) == generation() ? (active & 0xffff'ffffULL) : 0;
  out.inner_calls = from.inner_calls.load(kRelaxed);
  out.inner_without_cohort = from.inner_without_cohort.load(kRelaxed);
  for (std::uint32_t i = 0; i < kHistogramBuckets; ++i)
    out.latency.counts[i] = from.latency[i].load(kRelaxed);
  return out;
}

namespace {

SideCounters read_side(const layout::SideSlot& from) {
  SideCounters out;
  // seen is counted before bad and slow, so it is read after them.
  out.users_bad = from.users_bad.load(std::memory_order_acquire);
  out.users_slow = from.users_slow.load(std::memory_order_acquire);
  out.failed_requests = from.failed_requests.load(kRelaxed);
  out.users_seen = from.users_seen.load(std::memory_order_acquire);
  out.requests = from.requests.load(kRelaxed);
  return out;
}

std::optional<FailedRequest> read_record(const layout::RecordSlot& from, std::uint64_t owner) {
  const std::uint64_t before = from.sequence.load(std::memory_order_acquire);
  if (before == 0 || before % 2 == 1) return std::nullopt;
  std::array<std::uint64_t, layout::kRecordWords> words{};
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = from.words[i].load(std::memory_order_acquire);
  if (from.sequence.load(kRelaxed) != before) return std::nullopt;
  layout::Record record{};
  std::memcpy(&record, words.data(), sizeof record);
  if (record.owner != owner) return std::nullopt;  // written while the slot changed hands
  return FailedRequest{.side = record.side == 1 ? Side::canary : Side::stable,
                       .status = record.status,
                       .outcome = static_cast<Outcome>(record.outcome % kOutcomes),
                       .method = take(record.method),
                       .path = take(record.path),
                       .service = take(record.service),
                       .trace_id = take(record.trace_id),
                       .duration_us = record.duration_us,
                       .time = from_epoch_ms(record.time_ms)};
}

}  // namespace

EvidenceCounters Telemetry::evidence_of(StepEvidence of) const {
  EvidenceCounters out;
  if (!is_of(of)) return out;
  const layout::EvidenceSlot& from = file_->evidence[of.slot];
  out.stable = read_side(from.sides[0]);
  out.canary = read_side(from.sides[1]);
  const std::uint64_t next = from.next_record.load(kRelaxed);
  for (std::uint64_t i = next > kFailedRequests ? next - kFailedRequests : 0; i < next; ++i)
    if (auto record = read_record(from.records[i % kFailedRequests], of.owner))
      out.failed.push_back(std::move(*record));
  // Asked last, too: what was read while it changed hands is thrown away.
  return is_of(of) ? out : EvidenceCounters{};
}

}  // namespace naru::ipc
