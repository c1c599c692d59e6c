#include "control/probe_users.h"

#include "base/wait.h"
#include "route/cohort.h"
#include "route/table.h"
#include "route/user_ids.h"

namespace naru::control {

namespace {

constexpr milliseconds kLook{20};
constexpr milliseconds kTimeout{10'000};  // of one request, in all; who is slower is counted by the gateway
constexpr std::uint64_t kMaxAnswer = 16U << 20;

std::string ip_to_ask(const std::string& address) {
  if (address.empty() || address == "0.0.0.0") return "127.0.0.1";
  if (address == "::") return "[::1]";
  return address.contains(':') && !address.starts_with('[') ? "[" + address + "]" : address;
}

}  // namespace

std::vector<ProbeTarget> probe_targets(const State& state) {
  std::vector<ProbeTarget> targets;
  for (const auto& [key, environment] : state.environments) {
    const Rollout* rollout = state.active_rollout(environment);
    if (rollout == nullptr || environment.stopped || rollout->phase != RolloutPhase::stepping ||
        !rollout->step_live || !rollout->policy.probe)
      continue;
    const RolloutPolicy& policy = rollout->policy;
    ProbeTarget target{
        rollout->id,
        fmt::format("{}.{}.{}.localhost", policy.probe->service, rollout->environment, rollout->app),
        *policy.probe, policy.cohort_cookie, policy.cohort_header};
    if (target.user_cookie.empty() && target.user_header.empty()) target.user_cookie = route::kUserCookie;
    targets.push_back(std::move(target));
  }
  return targets;
}

io::FetchRequest probe_request(const ProbeTarget& target, const std::string& gateway,
                               const std::string& user) {
  io::FetchRequest request{.url = fmt::format("http://{}{}", gateway, target.probe.path),
                           .headers = {{"Host", target.host}, {"User-Agent", "naru-probe"}}};
  if (target.user_header.empty())
    request.headers.push_back({"Cookie", target.user_cookie + "=" + user});
  else
    request.headers.push_back({target.user_header, user});
  request.redirects = 0;
  request.response_bytes = kMaxAnswer;
  request.on_body = [](std::string_view) -> Result<void> { return {}; };
  request.connect_timeout = request.idle_timeout = request.total_timeout = kTimeout;
  return request;
}

ProbeUsers::ProbeUsers(Core& core, const Clock& clock, const std::string& gateway_address,
                       std::uint16_t gateway_port)
    : core_(core),
      clock_(clock),
      gateway_(fmt::format("{}:{}", ip_to_ask(gateway_address), gateway_port)),
      pool_(std::make_unique<io::WorkerPool>(kThreads)) {}

ProbeUsers::~ProbeUsers() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
  pool_.reset();
}

void ProbeUsers::start() {
  thread_ = std::jthread([this](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      look();
      wait(stop, kLook);
    }
  });
}

void ProbeUsers::look() {
  const auto [targets, key] = core_.read(
      [](const State& state) { return std::pair(probe_targets(state), route::user_key_of(state)); });
  const route::UserIds user_ids(key);
  const MonoTime now = clock_.mono();
  std::erase_if(progress_, [&](const auto& row) {
    return std::ranges::none_of(targets, [&](const ProbeTarget& t) { return t.rollout == row.first; });
  });
  for (const ProbeTarget& target : targets) {
    Progress& progress = progress_[target.rollout];
    const auto between = std::chrono::microseconds(1'000'000 / std::max(target.probe.rate, 1U));
    progress.next = std::max(progress.next, now - std::chrono::seconds(1));  // what was late is not caught up
    for (; progress.next <= now; progress.next += between) {
      if (*progress.waiting >= kWaiting) continue;
      ++*progress.waiting;
      const bool posted =
          pool_->post([this, target, user = user_ids.make("", clock_.wall()), waiting = progress.waiting] {
            // What comes back is the gateway's to count.
            io::ClientOptions direct;
            direct.use_proxy_environment = false;
            (void)io::fetch(probe_request(target, gateway_, user), direct);
            --*waiting;
          });
      if (!posted) --*progress.waiting;
    }
  }
}

}  // namespace naru::control
