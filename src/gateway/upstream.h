// Connections to instances: a pool per thread, with what each endpoint is busy with.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/rng.h"
#include "format/http1.h"
#include "gateway/buffer.h"
#include "io/socket.h"
#include "route/snapshot.h"

namespace naru::gateway {

inline constexpr std::size_t kIdlePerEndpoint = 64;
inline constexpr milliseconds kConnectTimeout{3'000};
inline constexpr milliseconds kIdleUpstream{30'000};
// Servers close idle connections after five seconds and more (node: 5): a request that must not be sent twice
// uses no connection older than this.
inline constexpr milliseconds kFreshUpstream{3'000};

struct EndpointKey {
  std::uint32_t address = 0;
  std::uint16_t port = 0;
  bool operator==(const EndpointKey&) const = default;
};

struct Upstream {
  io::Stream stream;
  Buffer in;
  format::http1::ResponseHead head;
  EndpointKey endpoint;
  MonoTime idle_since{};
  bool reused = false;  // it has carried a request before
};

class UpstreamPool {
 public:
  UpstreamPool(io::Reactor& reactor, Rng& rng) : reactor_(&reactor), rng_(&rng) {}

  // The less loaded of two drawn at random (Mitzenmacher 2001); `avoid` is taken only when there is no other.
  const route::Target* choose(std::span<const route::Target> targets, std::uint16_t port,
                              std::uint32_t avoid = 0);

  // An idle connection that is still open, or null.
  std::unique_ptr<Upstream> take_idle(EndpointKey endpoint, bool fresh_only);
  io::Task<Result<std::unique_ptr<Upstream>>> connect(EndpointKey endpoint);
  // Kept for the next request, or closed when its endpoint has left the table or enough are idle.
  void give_back(std::unique_ptr<Upstream> upstream);

  // After a new table: idle connections to addresses that left it are closed, those in use when they come
  // back.
  void set_addresses(std::vector<std::uint32_t> sorted);
  // Closes what was idle too long; now and then.
  void sweep();

  void close_idle() { entries_.clear(); }

  // Counts a request for choose(), while it lives.
  class Load {
   public:
    Load() = default;
    Load(UpstreamPool& pool, EndpointKey endpoint) : pool_(&pool), endpoint_(endpoint) {
      ++pool.entry(endpoint).active;
    }
    Load(Load&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)), endpoint_(other.endpoint_) {}
    Load& operator=(Load&& other) noexcept {
      std::swap(pool_, other.pool_);
      std::swap(endpoint_, other.endpoint_);
      return *this;
    }
    ~Load() { end(); }
    void end() {
      if (pool_) --pool_->entry(endpoint_).active;
      pool_ = nullptr;
    }

   private:
    UpstreamPool* pool_ = nullptr;
    EndpointKey endpoint_;
  };

 private:
  struct Entry {
    std::uint32_t active = 0;
    std::vector<std::unique_ptr<Upstream>> idle;  // the last used at the back
  };
  struct Hash {
    std::size_t operator()(const EndpointKey& key) const {
      return std::hash<std::uint64_t>{}((std::uint64_t{key.address} << 16 | key.port) *
                                        0x9e3779b97f4a7c15ULL);
    }
  };
  Entry& entry(EndpointKey endpoint) { return entries_[endpoint]; }
  bool in_table(std::uint32_t address) const;

  io::Reactor* reactor_;
  Rng* rng_;
  std::unordered_map<EndpointKey, Entry, Hash> entries_;
  std::vector<std::uint32_t> addresses_;
};

}  // namespace naru::gateway
