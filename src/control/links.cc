#include "control/links.h"

namespace naru::control {

namespace {
constexpr milliseconds kAckTimeout{5'000};
constexpr milliseconds kSupervisorTimeout{10'000};
}  // namespace

Result<void> GatewayLink::publish(const RouteTable& table) {
  const std::lock_guard lock(mutex_);
  auto done = exchange(table);
  if (!done && done.error().code != Code::conflict) channel_.close();
  return done;
}

Result<void> GatewayLink::exchange(const RouteTable& table) {
  if (!channel_.valid()) channel_ = TRY(ipc::Channel::connect(path_));
  TRY(channel_.send({{"routes", table}}, kAckTimeout));
  const MonoTime deadline = SystemClock().mono() + kAckTimeout;
  while (true) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - SystemClock().mono());
    if (left <= 0ms) return fail(Code::timeout, "the gateway has not acknowledged routes {}", table.revision);
    const ipc::Message message = TRY(channel_.receive(left));
    const Json& body = message.body;
    take_stats(body);
    // A gateway that was ahead of us (its disk, our older database) answers with its own revision.
    if (body.contains("acked") && body["acked"].get<std::uint64_t>() >= table.revision) return {};
    if (body.contains("refused"))
      return fail(Code::conflict, "the gateway refused routes {}: {}", table.revision,
                  body.value("error", ""));
  }
}

bool GatewayLink::listen() {
  const std::lock_guard lock(mutex_);
  while (channel_.valid()) {
    auto message = channel_.receive(1ms);
    if (message)
      take_stats(message->body);
    else if (message.error().code == Code::timeout)
      return true;
    else
      channel_.close();
  }
  return false;
}

void GatewayLink::take_stats(const Json& body) {
  if (!body.contains("stats")) return;
  const std::lock_guard lock(stats_mutex_);
  stats_ = body["stats"].get<ipc::GatewayStats>();
}

ipc::GatewayStats GatewayLink::stats() const {
  const std::lock_guard lock(stats_mutex_);
  return stats_;
}

SupervisorLink::SupervisorLink(int fd) {
  if (fd >= 0) channel_ = ipc::Channel(Fd(fd));
}

Result<Json> SupervisorLink::call(Json request) {
  const std::lock_guard lock(mutex_);
  const std::uint64_t id = next_id_++;
  request["id"] = id;
  TRY(channel_.send(request, kSupervisorTimeout));
  while (true) {
    ipc::Message answer = TRY(channel_.receive(kSupervisorTimeout));
    if (answer.body.value("id", std::uint64_t{0}) == id) return std::move(answer.body);
  }
}

Result<std::vector<ipc::ListenerError>> SupervisorLink::set_listeners(
    const std::vector<ListenerSpec>& listeners) {
  if (!channel_.valid()) return std::vector<ipc::ListenerError>{};
  const Json answer = TRY(call({{"listeners", listeners}}));
  return answer.value("errors", std::vector<ipc::ListenerError>{});
}

Result<void> SupervisorLink::down(bool all) {
  if (!channel_.valid()) return fail(Code::unavailable, "there is no supervisor");
  TRY(call({{"down", true}, {"all", all}}));
  return {};
}

}  // namespace naru::control
