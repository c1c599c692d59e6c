// Names for containers: services of their environment from the route table, anything else from the host's
// resolvers.
#pragma once

#include <memory>
#include <string_view>

#include "format/dns.h"
#include "gateway/worker.h"

namespace naru::gateway {

inline constexpr std::size_t kDnsInFlight =
    256;  // forwarded at once; further ones are dropped (the asker repeats)
inline constexpr milliseconds kDnsTimeout{2'000};   // of a forwarded question, over all resolvers
inline constexpr std::uint32_t kDnsTtlSeconds = 5;  // virtual addresses hardly change, but may

// What to do with a question. Pure.
struct DnsDecision {
  enum class Kind : std::uint8_t { address, nodata, no_such_name, forward, refuse } kind = Kind::forward;
  std::uint32_t address = 0;
};
// Names: <service>, <service>.<env>.<app>, either with ".localhost", ".naru" or ".internal"; "localhost".
// `environment` may be null (its table has not come yet) and the asker unknown (it is not in there yet): that
// is refused, not denied. A service that shares no network with the asker has no name for it, and nobody
// answers an asker who may not reach the outside for other names: a question is a way out, too.
DnsDecision decide_dns(const format::DnsQuery& query, const route::Environment* environment,
                       const route::CallerView& asker);

class DnsSocket : public std::enable_shared_from_this<DnsSocket> {
 public:
  static Result<std::shared_ptr<DnsSocket>> start(Worker& worker, std::shared_ptr<const Origin> origin,
                                                  Fd fd);
  void close() { socket_.close(); }
  DnsSocket(Worker& worker, std::shared_ptr<const Origin> origin, io::DatagramSocket socket)
      : worker_(&worker), origin_(std::move(origin)), socket_(std::move(socket)) {}

 private:
  static io::Task<void> receive_loop(std::shared_ptr<DnsSocket> self);
  // What cannot be answered at once.
  static io::Task<void> take_time(std::shared_ptr<DnsSocket> self, format::DnsQuery query, std::string bytes,
                                  io::Address from);
  void answer(std::string bytes, const io::Address& from);

  Worker* worker_;
  std::shared_ptr<const Origin> origin_;
  io::DatagramSocket socket_;
  std::size_t in_flight_ = 0;
};

io::Task<void> serve_dns_connection(Worker& worker, io::Stream client, std::shared_ptr<const Origin> origin);

}  // namespace naru::gateway
