// A new connection: what does it speak, and who answers it?
//
// HTTP is recognised by its first bytes. A client that is silent for 50 ms may be one of a protocol where the
// server speaks first (databases, mail): its upstream is dialled, and whoever speaks first decides. Only a
// server that did is remembered as TCP, so that a browser's idle connection changes nothing.
#include "base/log.h"
#include "gateway/callers.h"
#include "gateway/dial.h"

namespace naru::gateway {
namespace {

using io::Task;

constexpr milliseconds kSilence{50}, kFirstBytes{1'000}, kFirstTable{10'000};
constexpr std::size_t kSniffBytes = 4096;

Arrival arrival_of(Worker& worker, const io::Stream& client, std::shared_ptr<const Origin> origin) {
  Arrival arrival;
  arrival.edge = origin->kind != ListenerKind::inner;
  arrival.client_ip = client.peer_address().ip();
  arrival.from_here = client.peer_address().is_loopback();
  arrival.client_address = route::parse_ipv4(arrival.client_ip).value_or(0);
  arrival.draw = static_cast<std::uint32_t>(worker.rng().below(10'000));
  if (!arrival.edge) {
    // Without a redirection the caller meant the address that it reached.
    const auto meant = client.original_destination();
    const io::Address address = meant ? *meant : client.local_address();
    arrival.virtual_address = route::parse_ipv4(address.ip()).value_or(0);
    arrival.virtual_port = address.port();
  }
  arrival.origin = std::move(origin);
  return arrival;
}

struct Port {
  std::string key;       // for Worker::speaks_first
  std::string protocol;  // "http", "tcp", "" = detect
  bool known = false;
};

Port port_of(Worker& worker, const Arrival& arrival) {
  if (!worker.routes()) return {};
  const Destination to = destination_of(*worker.routes(), arrival);
  if (!to.service) return {};
  return {fmt::format("{}.{}/{}:{}", to.environment->app, to.environment->name, to.service->name, to.port),
          std::string(to.service->protocol_of(to.port)), true};
}

enum class FirstWords : std::uint8_t { http, bytes, nothing_yet, gone };

// What the client says first; `early` is what it said.
Task<FirstWords> listen_to_client(io::Stream& client, milliseconds patience, std::string& early) {
  io::Deadline deadline = io::after(patience);
  early.reserve(kSniffBytes);
  while (true) {
    const std::size_t have = early.size();
    if (have >= kSniffBytes) co_return FirstWords::bytes;
    early.resize(kSniffBytes);
    auto got = co_await client.read(std::span<char>(early).subspan(have), deadline);
    early.resize(have + (got ? *got : 0));
    if (!got && got.error().code == Code::timeout)
      co_return early.empty() ? FirstWords::nothing_yet : FirstWords::bytes;
    if (!got) co_return FirstWords::gone;
    if (*got == 0) co_return early.empty() ? FirstWords::gone : FirstWords::bytes;
    const http1::Protocol protocol = http1::sniff(early);
    if (protocol == http1::Protocol::http1) co_return FirstWords::http;
    if (protocol != http1::Protocol::need_more) co_return FirstWords::bytes;
    if (have == 0) deadline = io::after(kFirstBytes);
  }
}

Task<void> relay_bytes(Worker& worker, io::Stream& client, Dialled dialled, std::string early) {
  const std::uint32_t generation = worker.shared().generation;
  worker.telemetry().active(dialled.slot, generation, 1);
  auto written = co_await dialled.upstream->stream.write(early, io::after(worker.bounds().write));
  std::uint64_t in = early.size(), out = 0;
  early = {};
  if (written) {
    auto relayed = co_await io::relay(client, dialled.upstream->stream, worker.bounds().stream);
    if (relayed) in += relayed->a_to_b, out += relayed->b_to_a;
  }
  worker.telemetry().bytes(dialled.slot, in, out);
  worker.telemetry().active(dialled.slot, generation, -1);
}

Task<void> serve_bytes(Worker& worker, io::Stream client, Arrival arrival, std::string early) {
  auto dialled = co_await dial(worker, arrival, client);
  if (!dialled) co_return;  // counted; a TCP client sees the end of the connection
  co_await relay_bytes(worker, client, std::move(*dialled), std::move(early));
}

// Two sockets, one waiter: the first that has something to say.
struct Race {
  Race(io::Reactor& reactor, io::Stream a, io::Stream b)
      : client(std::move(a)), server(std::move(b)), spoken(reactor) {}
  io::Stream client, server;
  bool client_spoke = false, server_spoke = false;
  io::Event spoken;
};

Task<void> wait_for(std::shared_ptr<Race> race, bool client) {
  auto ready = co_await (client ? race->client : race->server).wait_readable();
  if (!ready && ready.error().code == Code::cancelled) co_return;  // the other was first
  (client ? race->client_spoke : race->server_spoke) = true;
  race->spoken.raise();
}

Task<void> serve_http(Worker& worker, io::Stream client, Arrival arrival, std::string early) {
  auto session = std::make_shared<HttpSession>(worker, std::move(client), std::move(arrival));
  co_await HttpSession::run(std::move(session), std::move(early));
}

// The silent client: dial, and see who begins.
Task<void> serve_undecided(Worker& worker, io::Stream client, Arrival arrival, Port port) {
  auto dialled = co_await dial(worker, arrival, client);
  if (!dialled && dialled.error().code == Code::forbidden) co_return;
  if (!dialled) co_return co_await serve_http(worker, std::move(client), std::move(arrival), std::string());
  io::Reactor& reactor = worker.reactor();
  auto race = std::make_shared<Race>(reactor, std::move(client), std::move(dialled->upstream->stream));
  reactor.spawn(wait_for(race, true));
  reactor.spawn(wait_for(race, false));
  auto somebody = co_await race->spoken.wait(io::after(worker.bounds().stream));
  // Releasing a descriptor cancels the loser's wait.
  io::Stream back(reactor, race->client.release());
  dialled->upstream->stream = io::Stream(reactor, race->server.release());
  if (!somebody) co_return;
  std::string early;
  if (race->server_spoke) {
    if (!hung_up(dialled->upstream->stream)) worker.remember_speaks_first(port.key);
    co_return co_await relay_bytes(worker, back, std::move(*dialled), std::string());
  }
  const FirstWords words = co_await listen_to_client(back, kFirstBytes, early);
  if (words == FirstWords::gone) co_return;
  if (words != FirstWords::http)
    co_return co_await relay_bytes(worker, back, std::move(*dialled), std::move(early));
  worker.upstreams().give_back(std::move(dialled->upstream));
  co_await serve_http(worker, std::move(back), std::move(arrival), std::move(early));
}

// A gateway that has just started, and has no last table on disk, will hear from control in a moment.
Task<void> wait_for_first_table(Worker& worker, const io::Stream& client) {
  const io::Deadline end = io::after(kFirstTable);
  Worker::Hold hold(worker, 0);
  while (hold.admitted() && !worker.routes() && !hung_up(client) && std::chrono::steady_clock::now() < end)
    co_await hold.wait(250ms);
}

}  // namespace

Task<void> serve_connection(Worker& worker, io::Stream client, std::shared_ptr<const Origin> origin) {
  const Worker::Client counted(worker);
  if (!worker.routes()) co_await wait_for_first_table(worker, client);
  Arrival arrival = arrival_of(worker, client, std::move(origin));
  if (arrival.origin->kind == ListenerKind::http)
    co_return co_await serve_http(worker, std::move(client), std::move(arrival), std::string());
  if (arrival.origin->kind == ListenerKind::inner && !co_await admits(worker, arrival)) {
    const auto routes = worker.routes();
    co_return refuse_call(worker, arrival, routes ? destination_of(*routes, arrival) : Destination{}, client);
  }
  Port port = port_of(worker, arrival);
  if (!port.known || port.protocol == "http")
    co_return co_await serve_http(worker, std::move(client), std::move(arrival), std::string());
  std::string early;
  if (port.protocol == "tcp" || worker.speaks_first(port.key))
    co_return co_await serve_bytes(worker, std::move(client), std::move(arrival), std::string());
  switch (co_await listen_to_client(client, kSilence, early)) {
    case FirstWords::gone:
      co_return;
    case FirstWords::http:
      co_return co_await serve_http(worker, std::move(client), std::move(arrival), std::move(early));
    case FirstWords::bytes:
      co_return co_await serve_bytes(worker, std::move(client), std::move(arrival), std::move(early));
    case FirstWords::nothing_yet:
      co_return co_await serve_undecided(worker, std::move(client), std::move(arrival), std::move(port));
  }
}

}  // namespace naru::gateway
