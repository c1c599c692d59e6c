#include "gateway/upstream.h"

#include <algorithm>

namespace naru::gateway {
namespace {

io::Address address_of(EndpointKey endpoint) {
  sockaddr_in raw{};
  raw.sin_family = AF_INET;
  raw.sin_addr.s_addr = htonl(endpoint.address);
  raw.sin_port = htons(endpoint.port);
  return io::Address::from(reinterpret_cast<const sockaddr*>(&raw), sizeof raw);
}

// An idle connection on which something arrives is closed, or says what nobody asked: of no use either way.
bool silent(Upstream& upstream) {
  char byte = 0;
  const ssize_t got = recv(upstream.stream.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

}  // namespace

const route::Target* UpstreamPool::choose(std::span<const route::Target> targets, std::uint16_t port,
                                          std::uint32_t avoid) {
  if (targets.empty()) return nullptr;
  const route::Target* a = &targets[rng_->below(targets.size())];
  const route::Target* b = &targets[rng_->below(targets.size())];
  if (a->address == avoid || a == b) a = &targets[rng_->below(targets.size())];
  if (a->address == avoid)
    for (const route::Target& other : targets)
      if (other.address != avoid) a = &other;
  if (b->address == avoid) return a;
  return entry({b->address, port}).active < entry({a->address, port}).active ? b : a;
}

std::unique_ptr<Upstream> UpstreamPool::take_idle(EndpointKey endpoint, bool fresh_only) {
  auto& idle = entry(endpoint).idle;
  const MonoTime oldest = std::chrono::steady_clock::now() - (fresh_only ? kFreshUpstream : kIdleUpstream);
  while (!idle.empty()) {
    if (idle.back()->idle_since < oldest) return nullptr;  // all before it are older
    auto upstream = std::move(idle.back());
    idle.pop_back();
    if (silent(*upstream)) return upstream;
  }
  return nullptr;
}

io::Task<Result<std::unique_ptr<Upstream>>> UpstreamPool::connect(EndpointKey endpoint) {
  auto upstream = std::make_unique<Upstream>();
  upstream->endpoint = endpoint;
  CO_TRY(upstream->stream, co_await io::connect(*reactor_, address_of(endpoint), io::after(kConnectTimeout)));
  upstream->stream.set_no_delay(true);
  co_return upstream;
}

void UpstreamPool::give_back(std::unique_ptr<Upstream> upstream) {
  auto& idle = entry(upstream->endpoint).idle;
  if (idle.size() >= kIdlePerEndpoint || !in_table(upstream->endpoint.address)) return;
  upstream->reused = true;
  upstream->idle_since = std::chrono::steady_clock::now();
  idle.push_back(std::move(upstream));
}

bool UpstreamPool::in_table(std::uint32_t address) const {
  return std::ranges::binary_search(addresses_, address);
}

void UpstreamPool::set_addresses(std::vector<std::uint32_t> sorted) {
  addresses_ = std::move(sorted);
  for (auto& [endpoint, entry] : entries_)
    if (!in_table(endpoint.address)) entry.idle.clear();
}

void UpstreamPool::sweep() {
  const MonoTime oldest = std::chrono::steady_clock::now() - kIdleUpstream;
  for (auto& [endpoint, entry] : entries_)
    std::erase_if(entry.idle, [oldest](const auto& upstream) { return upstream->idle_since < oldest; });
  std::erase_if(entries_, [](const auto& one) { return one.second.active == 0 && one.second.idle.empty(); });
}

}  // namespace naru::gateway
