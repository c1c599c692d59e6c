#include "sim/world.h"

#include "route/cohort.h"
#include "sim/violation.h"

namespace naru::sim {

namespace {

constexpr milliseconds kLongestUnrest{40 * 60'000};
constexpr milliseconds kTraffic{500};
constexpr int kRequests = 60;  // in that time

// Calm worlds, in which only releases differ; lossy ones; ones that break; and all of it.
enum class Climate { calm, lossy, breaking, wild };

Faults faults_of(Climate climate, Rng& rng) {
  Faults faults;
  faults.bad_release = 0.35;
  if (climate == Climate::calm) return faults;
  faults.slow = rng.uniform() * 0.1;
  if (climate == Climate::lossy || climate == Climate::wild) {
    faults.control_crash = rng.uniform() * 0.03;
    faults.duplicate = rng.uniform() * 0.2;
    faults.lost_ack = rng.uniform() * 0.1;
    faults.gateway_restart = 0.01;
    faults.launcher_restart = 0.02;
    faults.clock_set = 0.005;
  }
  if (climate == Climate::breaking || climate == Climate::wild) {
    faults.start_failure = rng.uniform() * 0.1;
    faults.late_health = rng.uniform() * 0.1;
    faults.container_death = rng.uniform() * 0.03;
    faults.flap = rng.uniform() * 0.03;
    faults.reboot = 0.001;
    faults.build_failure = 0.03;
  }
  if (climate == Climate::wild || rng.chance(0.3)) faults.people = rng.uniform() * 0.1;
  return faults;
}

class World {
 public:
  explicit World(const Options& options)
      : options_(options),
        rng_(options.seed * 0x9e3779b97f4a7c15ULL + 1),
        climate_(static_cast<Climate>(options.seed % 4)),
        faults_(faults_of(climate_, rng_)),
        launcher_(timeline_, rng_, faults_),
        gateway_(timeline_, rng_, faults_),
        control_(outside(), options.mutant == nullptr ? none_ : *options.mutant),
        invariants_(outside(), control_, climate_ == Climate::calm && faults_.people == 0) {
    connect();
    insist(command::ChooseSecret{fmt::format("{:016x}", rng_.next())});
    const std::uint64_t apps = 1 + rng_.below(2);
    for (std::uint64_t i = 0; i < apps; ++i) {
      const std::string app = i == 0 ? "shop" : "blog";
      developers_.emplace(app, Developers(app, rng_));
      insist(command::CreateApp{app});
      timeline_.in(between(rng_, 100, 3'000), [this, app] { push(app); });
    }
    every(kTraffic, [this] { traffic(); });
    every(1s, [this] { weather(); });
  }

  Report run() {
    Report report;
    try {
      while (control_.commands() < options_.steps && timeline_.run_next()) invariants_.users_served();
      faults_ = {};
      for (const auto& [key, environment] : std::map(control_.state().environments))
        if (environment.stopped) insist(command::StopEnvironment{key, false});
      come_to_rest();
      control_.store().check_replay();
    } catch (const Violation& violation) {
      report.failure =
          Failure{violation.invariant, violation.what(), control_.commands(), {trace_.begin(), trace_.end()}};
    } catch (const std::exception& error) {
      report.failure =
          Failure{"no decision throws", error.what(), control_.commands(), {trace_.begin(), trace_.end()}};
    }
    report.commands = control_.commands();
    report.releases = control_.state().releases.size();
    for (const auto& [id, rollout] : control_.state().rollouts) {
      report.done += rollout.phase == RolloutPhase::done;
      report.rolled_back += rollout.phase == RolloutPhase::rolled_back;
    }
    return report;
  }

 private:
  Outside outside() { return {timeline_, machine_, rng_, faults_, launcher_, gateway_, developers_}; }

  void connect() {
    launcher_.on_creating = [this](const Container& c) { invariants_.container_creating(c); };
    launcher_.on_stop_asked = [this](const Container& c) { invariants_.container_stop_asked(c); };
    launcher_.on_upset = [this](const Container& c) { invariants_.upset(c); };
    launcher_.on_exit = [this](const Container& c) {
      if (options_.trace_lines > 0)
        note(fmt::format("container {} ends with {}", c.id, c.exit_code.value_or(-1)));
      invariants_.container_exited(c);
      control_.container_exited(c);
    };
    control_.on_start = [this] { invariants_.control_started(); };
    launcher_.on_connected = [this] { control_.launcher_connected(); };
    gateway_.on_applied = [this](const RouteTable& before, const RouteTable& after) {
      if (options_.trace_lines > 0) note(fmt::format("the gateway applies routes {}", after.revision));
      invariants_.applied(before, after);
    };
    control_.store().on_event = [this](const State& before, const Event& event) {
      invariants_.event(before, event);
      if (const auto* removed = std::get_if<event::AppRemoved>(&event))
        std::erase_if(acknowledged_, [&](const auto& push) { return push.second == removed->app; });
      if (const auto* forgotten = std::get_if<event::HistoryRemoved>(&event))
        for (const PipelineId id : forgotten->pipelines) acknowledged_.erase(before.pipelines.at(id).commit);
    };
    control_.on_committed = [this] { invariants_.committed(); };
    control_.on_publish = [this](const RouteTable& table) { invariants_.published(table); };
    if (options_.trace_lines > 0) control_.trace = [this](const std::string& line) { note(line); };
  }

  void note(const std::string& line) {
    trace_.push_back(
        fmt::format("{:9.3f} {}", static_cast<double>((timeline_.now() - started_).count()) / 1000, line));
    if (trace_.size() > options_.trace_lines) trace_.pop_front();
  }

  void every(milliseconds interval, std::function<void()> what) {
    timeline_.in(interval, [this, interval, what] {
      what();
      every(interval, what);
    });
  }

  // Until it has been decided, as git and the command line do.
  void insist(Command command) {
    timeline_.in(10ms, [this, command] {
      const auto answer = control_.submit(command);
      if (!answer)
        timeline_.in(500ms, [this, command] { insist(command); });
      else if (const auto* push = std::get_if<command::Push>(&command); push != nullptr && *answer)
        acknowledged_[push->commit] = push->app;
    });
  }

  void push(const std::string& app) {
    if (control_.commands() >= options_.steps) return;
    const Commit& commit = developers_.at(app).commit(rng_, faults_);
    insist(command::Push{app, "refs/heads/main", commit.id, "a change", "ada"});
    const bool soon = rng_.chance(0.15);  // in the middle of what the last one started
    const milliseconds next = climate_ == Climate::calm && !soon
                                  ? between(rng_, 60'000, 200'000)
                                  : between(rng_, 2'000, soon ? 10'000 : 120'000);
    timeline_.in(next, [this, app] { push(app); });
  }

  // ---- users

  void traffic() {
    for (const EnvironmentRoute& route : gateway_.applied().environments) {
      if (!route.split) continue;
      const auto release = control_.state().releases.find(route.split->canary_release);
      const bool bad = release != control_.state().releases.end() &&
                       developers_.at(route.app).answers_errors(release->second);
      const route::CohortHash hash(route.split->salt);
      // A side without an instance that answers fails everybody on it.
      const double stable = invariants_.answers(route, false) ? 0 : 1;
      const double canary = !invariants_.answers(route, true) ? 1 : bad ? 0.9 : 0;
      for (int i = 0; i < kRequests; ++i)
        request(*route.split, hash, rng_.below(Gateway::kUsers), stable, canary);
    }
  }

  void request(const Split& split, const route::CohortHash& hash, std::uint64_t user, double stable_failure,
               double canary_failure) {
    const bool canary =
        route::CohortHash::side(hash(fmt::format("user-{}", user)), split.weight) == route::Side::canary;
    const bool bad = rng_.chance(canary ? canary_failure : stable_failure);
    Gateway::Evidence& evidence = gateway_.evidence.at(split.evidence_slot % Gateway::kSlots);
    judge::SideCounts& side = canary ? evidence.canary : evidence.stable;
    unsigned char& marks = evidence.marks[user];
    const unsigned fresh = (1U | (bad ? 2U : 0U)) & ~static_cast<unsigned>(marks);
    marks = static_cast<unsigned char>(marks | fresh);
    side.users_seen += (fresh & 1U) != 0;
    side.users_bad += (fresh & 2U) != 0;
    ++side.requests;
    side.failed += bad;
    if (bad && (fresh & 2U) != 0 && evidence.failed.size() < 2 * kMaxExamples) {
      FailedExample& example = evidence.failed.emplace_back();
      example.time = timeline_.now();
      example.side = canary ? "canary" : "stable";
      example.path = fmt::format("/{}/{}", split.rollout, split.step);
    }
  }

  // ---- faults and people

  void weather() {
    if (rng_.chance(faults_.container_death)) launcher_.kill_one();
    if (rng_.chance(faults_.flap)) launcher_.upset_one();
    if (rng_.chance(faults_.launcher_restart)) launcher_.go_away(between(rng_, 100, 3'000));
    if (rng_.chance(faults_.gateway_restart)) gateway_goes_away();
    invariants_.stopped();
    if (rng_.chance(faults_.reboot)) {
      note("the machine restarts");
      for (const auto& [key, environment] : control_.state().environments) invariants_.trouble(key);
      launcher_.reboot();
      control_.crash();
      control_.rebooted();
      invariants_.rebooted();
    }
    if (rng_.chance(faults_.clock_set)) {
      machine_.offset = between(rng_, -7'200'000, 7'200'000);
      note(fmt::format("the machine's clock is set: {} ms", machine_.offset.count()));
    }
    if (rng_.chance(faults_.people)) somebody();
  }

  void gateway_goes_away() {
    const bool long_away = rng_.chance(0.05);  // meanwhile it sends users to addresses of before
    const milliseconds away = long_away ? between(rng_, 20'000, 60'000) : between(rng_, 100, 3'000);
    gateway_.go_away(away);
    if (!long_away) return;
    for (const auto& [key, environment] : control_.state().environments) invariants_.trouble(key, away);
  }

  void somebody() {
    auto at = developers_.begin();
    std::advance(at, rng_.below(developers_.size()));
    const std::vector<EnvKey> keys = environments_of(at->first);
    if (keys.empty()) return;
    const EnvKey& key = keys[rng_.below(keys.size())];
    switch (rng_.below(8)) {
      case 0:
        control_.submit(command::Promote{key, "ada"});
        return;
      case 1:
        control_.submit(command::Abort{key, "ada"});
        return;
      case 2:
      case 3: {
        std::optional<std::uint64_t> version;
        if (rng_.chance(0.3)) version = 1 + rng_.below(6);
        invariants_.rollback_asked(true);
        control_.submit(command::Rollback{key, version, "ada"});
        invariants_.rollback_asked(false);
        return;
      }
      case 4:
        control_.submit(command::SetVariables{key, {{"FLAVOUR", std::to_string(rng_.below(3))}}, {}, "ada"});
        return;
      case 5:
        if (rng_.chance(0.4)) stop_a_while(at->first, rng_.chance(0.5) ? keys : std::vector<EnvKey>{key});
        return;
      case 6:  // another program listens on a port that was assigned
        if (const auto& ports = control_.state().ports; !ports.empty())
          control_.submit(command::PortTaken{
              std::next(ports.begin(), static_cast<std::ptrdiff_t>(rng_.below(ports.size())))->second});
        return;
      default:
        control_.submit(command::Push{at->first, "refs/heads/other", "0123456789", "elsewhere", "bob"});
        return;
    }
  }

  std::vector<EnvKey> environments_of(const std::string& app) const {
    std::vector<EnvKey> keys;
    for (const auto& [key, environment] : control_.state().environments)
      if (environment.app == app) keys.push_back(key);
    return keys;
  }

  void stop_a_while(const std::string& app, const std::vector<EnvKey>& keys) {
    for (const EnvKey& key : keys) {
      const auto environment = control_.state().environments.find(key);
      if (environment == control_.state().environments.end() || environment->second.stopped) continue;
      invariants_.trouble(key);
      control_.submit(command::StopEnvironment{key, true});
      invariants_.trouble(key);
      const bool longer = rng_.chance(0.3);  // than any deadline
      timeline_.in(longer ? between(rng_, 60'000, 150'000) : between(rng_, 500, 30'000), [this, key] {
        invariants_.trouble(key);
        insist(command::StopEnvironment{key, false});
      });
    }
    if (rng_.chance(0.3)) timeline_.in(between(rng_, 3'000, 29'000), [this, app] { remove(app); });
  }

  // Refused while it has containers; afterwards somebody begins anew under the same name.
  void remove(const std::string& app) {
    control_.submit(command::RemoveApp{app});
    insist(command::CreateApp{app});
  }

  void come_to_rest() {
    const WallTime until = timeline_.now() + kLongestUnrest;
    WallTime look = timeline_.now() + 5s;
    std::string unrest = "it was not looked at";
    while (timeline_.now() < until && timeline_.run_next()) {
      invariants_.users_served();
      if (timeline_.now() < look) continue;
      look = timeline_.now() + 500ms;
      unrest = invariants_.unrest();
      if (unrest.empty()) return invariants_.at_rest(acknowledged_);
    }
    violated("everything comes to rest", "after {}: {}", humanize(kLongestUnrest), unrest);
  }

  const Options options_;
  const Mutant none_{};
  Timeline timeline_;
  MachineClock machine_{timeline_};
  const WallTime started_ = timeline_.now();
  Rng rng_;
  const Climate climate_;
  Faults faults_;
  std::map<std::string, Developers> developers_;
  Launcher launcher_;
  Gateway gateway_;
  Control control_;
  Invariants invariants_;
  std::map<std::string, std::string> acknowledged_;  // commit -> application
  std::deque<std::string> trace_;
};

}  // namespace

Report simulate(const Options& options) {
  return World(options).run();
}

}  // namespace naru::sim
