#include "control/probing.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cctype>

#include "base/fd.h"
#include "base/log.h"
#include "base/utf8.h"
#include "control/executor.h"
#include "control/pipeline_log.h"
#include "model/container_bounds.h"

namespace naru::control {

namespace {

constexpr milliseconds kLook{50};  // at the latest
constexpr milliseconds kConnectTimeout{2'000};
constexpr milliseconds kPortInterval{250}, kReadyPortInterval{2'000};
constexpr milliseconds kFirstPort{5}, kFirstCheck{50};  // a health check is a process in the container
constexpr std::uint32_t kMaxFailures = 20;              // more make no pause longer

// Does somebody listen there?
Result<void> connect_to(const std::string& address, std::uint16_t port, milliseconds timeout) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  if (!socket || inet_pton(AF_INET, address.c_str(), &to.sin_addr) != 1)
    return fail_errno(Code::system, "socket");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) return {};
  if (errno != EINPROGRESS) return fail_errno(Code::unreachable, "port {}", port);
  pollfd waiting{socket.get(), POLLOUT, 0};
  if (::poll(&waiting, 1, static_cast<int>(timeout.count())) == 0)
    return fail(Code::timeout, "port {} does not answer", port);
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return std::unexpected(Error{Code::unreachable, fmt::format("port {}", port), error, {}});
  return {};
}

}  // namespace

std::string telling_line(std::string_view output) {
  constexpr std::string_view kBlank = " \t\r";
  std::string_view told;
  while (!output.empty()) {
    std::string_view line = output.substr(0, output.find('\n'));
    output.remove_prefix(std::min(output.size(), line.size() + 1));
    line.remove_prefix(std::min(line.find_first_not_of(kBlank), line.size()));
    line = line.substr(0, line.find_last_not_of(kBlank) + 1);
    if (std::ranges::any_of(line, [](unsigned char c) { return std::isalnum(c) != 0 || c >= 0x80; }))
      told = line;
  }
  return printable(beginning(told, 200));
}

bool ProbePlaces::take(const std::string& app) {
  std::size_t& count = taken_[app];
  if (count >= kPlacesOfOneApp) return false;
  ++count;
  return true;
}

void ProbePlaces::give_back(const std::string& app) {
  const auto found = taken_.find(app);
  if (found != taken_.end() && --found->second == 0) taken_.erase(found);
}

Probing::Probing(Core& core, ipc::LauncherClient& launcher, const Clock& clock)
    : core_(core),
      launcher_(launcher),
      clock_(clock),
      pool_(std::make_unique<io::WorkerPool>(ProbePlaces::kPlaces)) {
  core_.add_listener([this](const Core::Committed& news) {
    if (std::ranges::any_of(news.events,
                            [](const Event& e) { return std::holds_alternative<event::InstanceStarted>(e); }))
      wake();
  });
}

Probing::~Probing() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
  pool_.reset();
}

void Probing::start() {
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void Probing::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const MonoTime next = look();
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, stop, next, [this] { return news_; });
    news_ = false;
  }
}

void Probing::wake() {
  {
    const std::lock_guard lock(mutex_);
    news_ = true;
  }
  changed_.notify_all();
}

milliseconds Probing::pause_after(std::uint32_t failures, milliseconds first, milliseconds most) {
  return std::min<milliseconds>(most, first * (1LL << (std::clamp(failures, 1U, kMaxFailures) - 1)));
}

std::string probe_notice(const ServiceSpec& service, const ImageInfo& image) {
  const bool asked = !service.health && image.health && !image.health->disabled;
  if (!asked || image.health->timeout <= kMaxHealthTimeout) return {};
  return fmt::format(
      "warning: the image's HEALTHCHECK waits {}; here a probe has failed after {}: give services.{} a "
      "healthcheck of its own if that is too short",
      humanize(image.health->timeout), humanize(kMaxHealthTimeout), service.name);
}

std::vector<Probing::Target> Probing::targets_of(const State& state) {
  std::vector<Target> targets;
  for (const auto& [id, instance] : state.instances) {
    if (instance.oneshot ||
        (instance.phase != InstancePhase::running && instance.phase != InstancePhase::ready))
      continue;
    const Release* release = state.release(instance.release);
    const ReleaseService* service = release == nullptr ? nullptr : release->find(instance.service);
    if (service == nullptr) continue;
    Target target;
    target.app = instance.app;
    target.instance = id;
    target.container = instance.container();
    target.address = instance.address;
    target.attempt = instance.attempt;
    target.ready = instance.phase == InstancePhase::ready;
    target.started = instance.started;
    const auto& health = service->spec.health ? service->spec.health : service->image.health;
    target.has_health = health && !health->disabled && !health->test.empty();
    if (target.has_health) target.health = *health;
    target.health.timeout = std::min(target.health.timeout, kMaxHealthTimeout);  // probe_notice() says so
    for (const PortSpec& port : service->spec.ports)
      if (port.transport == Transport::tcp && target.port == 0) target.port = port.container;
    if (target.port == 0 && !service->image.exposed.empty()) target.port = service->image.exposed.front();
    targets.push_back(std::move(target));
  }
  return targets;
}

// Starts what is due; when to look again.
MonoTime Probing::look() {
  const auto targets = core_.read([](const State& state) { return targets_of(state); });
  const MonoTime now = clock_.mono();
  MonoTime next = now + kLook;
  const std::lock_guard lock(mutex_);
  std::erase_if(progress_, [&](const auto& row) {
    return !row.second.running &&
           std::ranges::none_of(targets, [&](const Target& t) { return t.container == row.first; });
  });
  // Who has waited longest comes first, else an application's first instances would keep its last ones
  // waiting.
  std::vector<std::pair<MonoTime, const Target*>> due;
  for (const Target& target : targets) {
    const Progress& progress = progress_[target.container];
    if (progress.running) continue;
    if (now >= progress.next)
      due.emplace_back(progress.next, &target);
    else
      next = std::min(next, progress.next);
  }
  std::ranges::stable_sort(due, {}, [](const auto& each) { return each.first; });
  for (const auto& [since, target] : due) {
    if (!places_.take(target->app)) continue;  // with the next look
    const bool posted = pool_->post([this, target = *target] { probe(target); });
    progress_[target->container].running = posted;
    if (!posted) places_.give_back(target->app);
  }
  return next;
}

void Probing::probe(const Target& target) {
  const auto checked = check(target);
  const Outcome outcome = checked.value_or(Outcome{target.ready, {}});
  if (checked) settle(target, outcome);
  const std::lock_guard lock(mutex_);
  Progress& progress = progress_[target.container];
  progress.running = false;
  places_.give_back(target.app);
  progress.next =
      clock_.mono() + pause_of(target, outcome.healthy, checked ? progress.failures : kMaxFailures);
  news_ = news_ || !outcome.healthy;  // the next look may be due sooner than planned
  changed_.notify_all();
}

milliseconds Probing::pause_of(const Target& target, bool healthy, std::uint32_t failures) {
  const milliseconds most =
      target.has_health
          ? std::max(healthy ? target.health.interval : target.health.start_interval, kFirstCheck)
          : (healthy ? kReadyPortInterval : kPortInterval);
  if (healthy || target.ready) return most;
  return pause_after(failures, target.has_health ? kFirstCheck : kFirstPort, most);
}

std::optional<Probing::Outcome> Probing::check(const Target& target) {
  if (target.has_health) {
    auto result = launcher_.probe(target.container, target.health.test, target.health.timeout);
    if (!result && (is_transient(result.error()) || result.error().code == Code::timeout))
      return std::nullopt;
    if (!result) return Outcome{false, result.error().message()};
    if (result->timed_out)
      return Outcome{false,
                     fmt::format("its health check took longer than {}", humanize(target.health.timeout))};
    if (result->exit_code == 0) return Outcome{true, {}};
    const std::string said = telling_line(result->output);
    return Outcome{false, fmt::format("its health check exits with {}{}{}", result->exit_code,
                                      said.empty() ? "" : ": ", said)};
  }
  if (target.port != 0 && !target.address.empty()) {
    auto connected = connect_to(target.address, target.port, kConnectTimeout);
    return connected ? Outcome{true, {}} : Outcome{false, connected.error().message()};
  }
  const bool lived = clock_.wall() - target.started >= 1s;
  return Outcome{lived || target.ready, lived ? "" : "it has just started"};
}

void Probing::settle(const Target& target, const Outcome& outcome) {
  std::uint32_t failures = 0;
  {
    const std::lock_guard lock(mutex_);
    Progress& progress = progress_[target.container];
    progress.failures = outcome.healthy ? 0 : progress.failures + 1;
    failures = progress.failures;
  }
  if (outcome.healthy) {
    if (!target.ready) core_.post(command::Probed{target.instance, target.attempt, true, {}});
    return;
  }
  // A service in use becomes unready only after `retries` failures in a row; one that starts says at once why
  // it waits.
  const std::uint32_t needed = target.has_health ? std::max(target.health.retries, 1U) : 3;
  // What a check prints may be a variable's value, and this one stands in the state, where many look.
  if (!target.ready || failures >= needed)
    core_.post(command::Probed{target.instance, target.attempt, false,
                               mask(outcome.reason, secrets_of(core_, target.app))});
}

}  // namespace naru::control
