#include "gateway/callers.h"

#include <sys/socket.h>

#include "base/log.h"

namespace naru::gateway {
namespace {

const route::Environment* environment_of(const Worker& worker, const Origin& origin) {
  return worker.routes() ? worker.routes()->by_network(origin.network) : nullptr;
}

}  // namespace

io::Task<bool> wait_for_caller(Worker& worker, std::shared_ptr<const Origin> origin, std::uint32_t address) {
  const io::Deadline end = io::after(worker.bounds().caller);
  std::optional<Worker::Hold> hold;
  while (true) {
    const route::Environment* environment = environment_of(worker, *origin);
    if (environment && environment->caller(address).known) co_return true;
    if (!hold) hold.emplace(worker, 0);
    if (!hold->admitted() || std::chrono::steady_clock::now() >= end) co_return false;
    co_await hold->wait(250ms);
  }
}

io::Task<bool> admits(Worker& worker, const Arrival& arrival) {
  if (!co_await wait_for_caller(worker, arrival.origin, arrival.client_address)) co_return false;
  const Destination to = destination_of(*worker.routes(), arrival);
  co_return !to.service ||
      to.environment->reaches(to.environment->caller(arrival.client_address), *to.service);
}

bool may_call(const route::Environment& environment, const Arrival& arrival, const route::Service& to,
              route::Side side) {
  return arrival.edge || environment.reaches(environment.caller(arrival.client_address), to, side);
}

void refuse_call(Worker& worker, const Arrival& arrival, const Destination& to, const io::Stream& client) {
  const linger at_once{1, 0};
  ::setsockopt(client.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  worker.shared().refused_calls.fetch_add(1, std::memory_order_relaxed);
  if (!to.service) return;
  const route::Service* from = to.environment->caller(arrival.client_address).service;
  const std::string caller = from ? from->label : arrival.client_ip;
  if (worker.first_refusal(caller + " " + to.service->label))
    log_event(Level::info, "gateway.call_refused",
              {{"from", caller}, {"to", to.service->label}, {"why", "they share no network"}});
}

}  // namespace naru::gateway
