#include "gateway/dns_service.h"

#include "base/log.h"
#include "gateway/callers.h"

namespace naru::gateway {
namespace {

using format::DnsCode;
using format::DnsQuery;
using io::Task;

constexpr std::uint32_t kLoopback = 0x7f000001;

std::string_view without_suffix(std::string_view name, std::string_view suffix) {
  return name.ends_with(suffix) ? name.substr(0, name.size() - suffix.size()) : name;
}

DnsDecision found(const DnsQuery& query, std::uint32_t address) {
  if (query.type == format::kDnsTypeA || query.type == format::kDnsTypeAny)
    return {DnsDecision::Kind::address, address};
  return {DnsDecision::Kind::nodata, 0};
}

// A question of our own to one resolver, and its answer; both under `query`'s question.
struct Asked {
  std::string bytes;  // with our id
  std::uint16_t id = 0;
  std::string question;
};

Asked ask_as(std::string bytes, const DnsQuery& query, Rng& rng) {
  Asked out{std::move(bytes), static_cast<std::uint16_t>(rng.next() >> 48),
            format::dns_lower_question(query.question)};
  format::set_dns_id(out.bytes, out.id);
  return out;
}

io::Address resolver_address(std::uint32_t ip, std::uint16_t port) {
  sockaddr_in raw{};
  raw.sin_family = AF_INET;
  raw.sin_addr.s_addr = htonl(ip);
  raw.sin_port = htons(port);
  return io::Address::from(reinterpret_cast<const sockaddr*>(&raw), sizeof raw);
}

bool answers(const Asked& asked, std::string_view bytes) {
  const auto head = format::parse_dns_answer(bytes);
  return head && head->id == asked.id && head->question == asked.question;
}

// The port is new for every question, the id random, and the question compared: an answer is hard to forge.
Task<Result<std::string>> ask_udp(Worker& worker, const Asked& asked, io::Address resolver,
                                  io::Deadline deadline) {
  CO_TRY(io::Address any, io::Address::of_ip("0.0.0.0", 0));
  CO_TRY(io::DatagramSocket socket, io::DatagramSocket::bind(worker.reactor(), any));
  CO_TRY_VOID(socket.send_to(asked.bytes, resolver));
  std::string buffer(4096, '\0');
  while (true) {
    CO_TRY(auto got, co_await socket.receive(std::span<char>(buffer), deadline));
    if (got.from.text() != resolver.text() || !answers(asked, std::string_view(buffer).substr(0, got.bytes)))
      continue;
    buffer.resize(got.bytes);
    co_return buffer;
  }
}

// Exactly `size` bytes.
Task<Result<std::string>> read_exactly(io::Stream& stream, std::size_t size, io::Deadline deadline) {
  std::string out(size, '\0');
  std::size_t have = 0;
  while (have < size) {
    CO_TRY(std::size_t got, co_await stream.read(std::span<char>(out).subspan(have), deadline));
    if (got == 0) co_return fail(Code::closed, "dns: the connection ended after {} of {} bytes", have, size);
    have += got;
  }
  co_return out;
}

Task<Result<std::string>> read_framed(io::Stream& stream, std::size_t limit, io::Deadline deadline) {
  CO_TRY(std::string prefix, co_await read_exactly(stream, 2, deadline));
  const std::size_t size =
      (static_cast<unsigned char>(prefix[0]) << 8U) | static_cast<unsigned char>(prefix[1]);
  if (size == 0 || size > limit) co_return fail(Code::malformed, "dns: a message of {} bytes", size);
  co_return co_await read_exactly(stream, size, deadline);
}

std::string framed(std::string_view bytes) {
  std::string out{static_cast<char>(bytes.size() >> 8), static_cast<char>(bytes.size() & 0xff)};
  return out.append(bytes);
}

Task<Result<std::string>> ask_tcp(Worker& worker, const Asked& asked, io::Address resolver,
                                  io::Deadline deadline) {
  CO_TRY(io::Stream stream, co_await io::connect(worker.reactor(), resolver, deadline));
  const std::string request = framed(asked.bytes);
  CO_TRY_VOID(co_await stream.write(request, deadline));
  CO_TRY(std::string answer, co_await read_framed(stream, format::kMaxDnsAnswer, deadline));
  if (!answers(asked, answer)) co_return fail(Code::malformed, "dns: an answer to another question");
  co_return answer;
}

// The answer under the asker's id; server_failure when no resolver answers.
Task<std::string> resolve_outside(Worker& worker, DnsQuery query, std::string bytes, bool tcp) {
  const auto& resolvers = worker.shared().nameservers;
  const io::Deadline end = io::after(kDnsTimeout);
  for (std::size_t i = 0; i < resolvers.size(); ++i) {
    const auto share = kDnsTimeout / static_cast<int>(resolvers.size());
    const io::Deadline deadline = std::min(end, io::after(share));
    const Asked asked = ask_as(bytes, query, worker.rng());
    const io::Address resolver = resolver_address(resolvers[i], worker.shared().resolver_port);
    Result<std::string> answer = fail(Code::unavailable, "dns: not asked");
    if (tcp)
      answer = co_await ask_tcp(worker, asked, resolver, deadline);
    else
      answer = co_await ask_udp(worker, asked, resolver, deadline);
    if (!answer) continue;
    format::set_dns_id(*answer, query.id);
    co_return std::move(*answer);
  }
  co_return format::dns_error(query, DnsCode::server_failure);
}

// "" = ask outside.
std::string local_answer(const DnsQuery& query, const DnsDecision& decision) {
  switch (decision.kind) {
    case DnsDecision::Kind::address:
      return format::dns_addresses(query, {&decision.address, 1}, kDnsTtlSeconds);
    case DnsDecision::Kind::nodata:
      return format::dns_addresses(query, {}, kDnsTtlSeconds);
    case DnsDecision::Kind::no_such_name:
      return format::dns_error(query, DnsCode::no_such_name);
    case DnsDecision::Kind::refuse:
      return format::dns_error(query, DnsCode::server_failure);
    case DnsDecision::Kind::forward:
      break;
  }
  return {};
}

std::uint32_t ipv4_of(const io::Address& address) {
  return route::parse_ipv4(address.ip()).value_or(0);
}

// For whoever is in the table of its environment; anybody else hears neither names nor what is outside.
DnsDecision decide_for(Worker& worker, const Origin& origin, const DnsQuery& query, std::uint32_t asker) {
  const auto& routes = worker.routes();
  const route::Environment* environment = routes ? routes->by_network(origin.network) : nullptr;
  return decide_dns(query, environment, environment ? environment->caller(asker) : route::CallerView{});
}

}  // namespace

namespace {

DnsDecision decide_by_name(const DnsQuery& query, const route::Environment& environment,
                           const route::CallerView& asker) {
  using Kind = DnsDecision::Kind;
  if (query.klass != format::kDnsClassIn) return {Kind::forward, 0};
  std::string_view name = query.name;
  if (name == "localhost") return found(query, kLoopback);
  for (const std::string_view suffix : {".localhost", ".naru", ".internal"})
    name = without_suffix(name, suffix);
  const std::size_t dot = name.find('.');
  const std::string_view first = name.substr(0, dot);
  if (dot != std::string_view::npos) {
    // Only this environment's own names are ours: ".production.shop".
    const std::string_view rest = name.substr(dot + 1);
    std::string domain = environment.name + "." + environment.app;
    std::ranges::transform(domain, domain.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (rest != domain) return {name.size() != query.name.size() ? Kind::no_such_name : Kind::forward, 0};
  } else if (name.empty()) {
    return {Kind::forward, 0};  // the root
  }
  for (const route::Service& service : environment.services)
    if (http1::iequals(service.name, first) && service.virtual_address != 0 &&
        environment.reaches(asker, service))
      return found(query, service.virtual_address);
  return {Kind::no_such_name, 0};
}

}  // namespace

DnsDecision decide_dns(const DnsQuery& query, const route::Environment* environment,
                       const route::CallerView& asker) {
  if (!environment || !asker.known) return {DnsDecision::Kind::refuse, 0};
  const DnsDecision decision = decide_by_name(query, *environment, asker);
  // A name that is asked for elsewhere carries what the asker likes.
  if (decision.kind == DnsDecision::Kind::forward && !environment->reaches_outside(asker))
    return {DnsDecision::Kind::refuse, 0};
  return decision;
}

namespace {

Task<std::string> answer_of(Worker& worker, std::shared_ptr<const Origin> origin, const DnsQuery& query,
                            std::string bytes, io::Address from, bool tcp) {
  co_await wait_for_caller(worker, origin, ipv4_of(from));
  std::string local = local_answer(query, decide_for(worker, *origin, query, ipv4_of(from)));
  if (!local.empty()) co_return local;
  co_return co_await resolve_outside(worker, query, std::move(bytes), tcp);
}

}  // namespace

Result<std::shared_ptr<DnsSocket>> DnsSocket::start(Worker& worker, std::shared_ptr<const Origin> origin,
                                                    Fd fd) {
  auto socket = TRY(io::DatagramSocket::adopt(worker.reactor(), std::move(fd)));
  auto self = std::make_shared<DnsSocket>(worker, std::move(origin), std::move(socket));
  worker.reactor().spawn(receive_loop(self));
  return self;
}

Task<void> DnsSocket::receive_loop(std::shared_ptr<DnsSocket> self) {
  auto buffer = std::make_unique<std::array<char, 4096>>();
  while (true) {
    auto got = co_await self->socket_.receive(std::span<char>(*buffer));
    if (!got) {
      if (got.error().code == Code::cancelled) co_return;
      co_await io::yield(self->worker_->reactor());  // an ICMP error of an earlier answer
      if (self->socket_.fd() < 0) co_return;
      continue;
    }
    const std::string_view bytes(buffer->data(), got->bytes);
    auto query = format::parse_dns_query(bytes);
    if (!query) {
      const DnsCode code =
          query.error().code == Code::unsupported ? DnsCode::not_implemented : DnsCode::format_error;
      self->answer(format::dns_error_for(bytes, code), got->from);
      continue;
    }
    const auto& routes = self->worker_->routes();
    const route::Environment* environment = routes ? routes->by_network(self->origin_->network) : nullptr;
    const bool known = environment && environment->caller(ipv4_of(got->from)).known;
    std::string local =
        known ? local_answer(*query, decide_for(*self->worker_, *self->origin_, *query, ipv4_of(got->from)))
              : std::string();
    if (!local.empty())
      self->answer(std::move(local), got->from);
    else if (self->in_flight_ < kDnsInFlight)
      self->worker_->reactor().spawn(take_time(self, std::move(*query), std::string(bytes), got->from));
  }
}

Task<void> DnsSocket::take_time(std::shared_ptr<DnsSocket> self, DnsQuery query, std::string bytes,
                                io::Address from) {
  ++self->in_flight_;
  const std::size_t fits = query.udp_size;
  std::string answer =
      co_await answer_of(*self->worker_, self->origin_, query, std::move(bytes), from, false);
  --self->in_flight_;
  if (answer.size() > fits) answer = format::dns_truncated(query);
  self->answer(std::move(answer), from);
}

void DnsSocket::answer(std::string bytes, const io::Address& from) {
  if (bytes.empty() || socket_.fd() < 0) return;
  auto sent = socket_.send_to(bytes, from);
  (void)sent;  // a lost datagram: the asker repeats
}

Task<void> serve_dns_connection(Worker& worker, io::Stream client, std::shared_ptr<const Origin> origin) {
  const Worker::Client counted(worker);
  for (int questions = 0; questions < 100; ++questions) {
    auto bytes = co_await read_framed(client, format::kMaxDnsQuery, io::after(5s));
    if (!bytes) co_return;
    auto query = format::parse_dns_query(*bytes);
    std::string answer;
    if (!query)
      answer = format::dns_error_for(*bytes, DnsCode::format_error);
    else
      answer = co_await answer_of(worker, origin, *query, *bytes, client.peer_address(), true);
    if (answer.empty()) co_return;
    const std::string out = framed(answer);
    auto written = co_await client.write(out, io::after(5s));
    if (!written) co_return;
  }
}

}  // namespace naru::gateway
