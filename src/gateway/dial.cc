#include "gateway/dial.h"

#include "gateway/callers.h"

namespace naru::gateway {
namespace {

using io::Task;

// The table in use, kept while it is looked at, and what the arrival means by it.
struct Lookup {
  std::shared_ptr<const route::Snapshot> routes;
  Destination to;
};

Lookup look_up(Worker& worker, const Arrival& arrival) {
  Lookup out{worker.routes(), {}};
  if (out.routes) out.to = destination_of(*out.routes, arrival);
  return out;
}

Task<Result<Lookup>> find_instances(Worker& worker, const Arrival& arrival, const io::Stream& client) {
  Lookup found = look_up(worker, arrival);
  if (found.to.service && found.to.service->hold) {
    Worker::Hold hold(worker, 0);
    if (!hold.admitted())
      co_return fail(Code::unavailable, "too many connections wait for {}", found.to.service->label);
    const io::Deadline end = io::after(worker.bounds().hold);
    while (found.to.service && found.to.service->hold) {
      if (hung_up(client)) co_return fail(Code::cancelled, "the client went away while it waited");
      if (std::chrono::steady_clock::now() >= end)
        co_return fail(Code::unavailable, "{} did not start in time", found.to.service->label);
      co_await hold.wait(250ms);
      found = look_up(worker, arrival);
    }
  }
  if (!found.to.service) co_return fail(Code::unavailable, "nothing serves this address");
  co_return found;
}

Assignment assign(Worker& worker, const Arrival& arrival, const route::Environment& environment,
                  const route::Service& to) {
  if (arrival.edge) return assign_edge_connection(environment, arrival.client_ip);
  const route::CallerView caller = environment.caller(arrival.client_address);
  Assignment out = assign_inner_connection(environment, caller, arrival.draw);
  if (environment.split && caller.service && to.canary)
    worker.telemetry().inner_call(caller.service->stable.slot, out.split_by_connection);
  return out;
}

void count(Worker& worker, const route::Environment& environment, const Assignment& assigned,
           std::uint32_t slot, bool connected) {
  if (connected)
    worker.telemetry().connection(slot);
  else
    worker.telemetry().count(slot, ipc::Outcome::connect_failure, false);
  if (environment.split && assigned.evidence)
    worker.telemetry().evidence(
        evidence_of(*environment.split),
        {.side = assigned.side == route::Side::canary ? ipc::Side::canary : ipc::Side::stable,
         .bucket = assigned.bucket,
         .bad = !connected});
}

// `tried` is avoided, and becomes the address that was tried.
Task<Result<Dialled>> connect_one(Worker& worker, const route::Pool& pool, std::uint16_t port,
                                  std::uint32_t& tried) {
  const route::Target* target = worker.upstreams().choose(pool.targets, port, tried);
  if (!target) co_return fail(Code::unavailable, "there is no ready instance");
  tried = target->address;
  const EndpointKey endpoint{target->address, port};
  Dialled out;
  out.slot = pool.slot;
  out.load = UpstreamPool::Load(worker.upstreams(), endpoint);
  CO_TRY(out.upstream, co_await worker.upstreams().connect(endpoint));
  co_return out;
}

}  // namespace

Task<Result<Dialled>> dial(Worker& worker, const Arrival& arrival, const io::Stream& client) {
  CO_TRY(const Lookup found, co_await find_instances(worker, arrival, client));
  const route::Environment& environment = *found.to.environment;
  const Assignment assigned = assign(worker, arrival, environment, *found.to.service);
  if (!may_call(environment, arrival, *found.to.service, assigned.side)) {
    refuse_call(worker, arrival, found.to, client);
    co_return fail(Code::forbidden, "{} shares no network with its caller", found.to.service->label);
  }
  const route::Pool& first = found.to.service->pool(assigned.side);
  std::uint32_t tried = 0;
  Result<Dialled> dialled = co_await connect_one(worker, first, found.to.port, tried);
  count(worker, environment, assigned, first.slot, dialled.has_value());
  if (dialled) co_return dialled;
  // Only the edge takes a user back to the old release: further in it would hide the failure from the
  // evidence.
  const route::Pool& again = arrival.edge ? found.to.service->stable : first;
  if (&again != &first || first.targets.size() > 1)
    dialled = co_await connect_one(worker, again, found.to.port, tried);
  co_return dialled;
}

}  // namespace naru::gateway
