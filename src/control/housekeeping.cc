#include "control/housekeeping.h"

#include <sys/stat.h>

#include "base/log.h"
#include "base/rng.h"
#include "os/disk_use.h"
#include "os/file.h"
#include "platform/retention.h"

namespace naru::control {

namespace fs = std::filesystem;

namespace {

// The last is git's own: where a push's objects stand until they are taken. A git that is killed leaves it.
constexpr std::string_view kGone = ".gone-", kFresh = ".new-", kIncoming = "tmp_objdir-";
constexpr milliseconds kFreshAge = 24h;  // of what a kill left of a folder being made
constexpr std::size_t kLayersAtOnce = 256;
constexpr int kMostSubmits = 1'000;

WallTime changed_at(const fs::path& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return WallTime::max();  // gone already: not ours to remove
  return from_epoch_ms(info.st_mtim.tv_sec * 1000LL + info.st_mtim.tv_nsec / 1'000'000);
}

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) paths.push_back(entry.path());
  std::ranges::sort(paths);
  return paths;
}

// "shop-web-17.2.log": 17, the number that no other instance ever has.
std::optional<std::uint64_t> instance_number(std::string_view log) {
  const auto dot = log.substr(0, log.size() - 4).rfind('.');
  const auto dash = log.substr(0, dot).rfind('-');
  if (dot == std::string_view::npos || dash == std::string_view::npos) return std::nullopt;
  const std::string number(log.substr(dash + 1, dot - dash - 1));
  if (number.empty() || number.size() > 19 || number.find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  return std::stoull(number);
}

event::HistoryRemoved forgettable(const State& state, const std::string& app,
                                  const Housekeeping::Options& options) {
  // Nobody waits for the end of a dry run's transaction: it counts all at once.
  const std::size_t at_most =
      options.dry_run ? std::numeric_limits<std::size_t>::max() : platform::kMaxForgotten;
  return platform::forgettable(state, app, options.keep_releases, at_most);
}

bool is_event_of_interest(const Event& event) {
  if (const auto* changed = std::get_if<event::RolloutPhaseChanged>(&event))
    return changed->phase == RolloutPhase::done || changed->phase == RolloutPhase::rolled_back;
  return std::holds_alternative<event::PipelineFinished>(event) ||
         std::holds_alternative<event::AppRemoved>(event);
}

}  // namespace

// What the state still needs, copied out of it.
struct Housekeeping::Kept {
  std::map<std::string, std::uint64_t> apps;  // and the first number that is theirs
  std::set<PipelineId> pipelines;
  std::uint64_t next_id = 0;  // what is numbered from here is younger than this copy
  std::set<std::pair<std::string, std::string>> commits;  // (application, commit) with a checkout
  std::vector<Digest> manifests;

  bool has_tag(const std::string& app, const std::string& tag) const {
    return std::ranges::any_of(
        commits, [&](const auto& entry) { return entry.first == app && entry.second.starts_with(tag); });
  }
  bool owns_log(std::string_view name) const {
    const auto number = instance_number(name);
    return number && std::ranges::any_of(apps, [&](const auto& app) {
             return name.starts_with(app.first + "-") && *number >= app.second;
           });
  }
};

// One pass over everything; what a step cannot do is logged, and the others go on.
class Housekeeping::Round {
 public:
  Round(const Parts& parts, bool dry_run) : parts_(parts), dry_run_(dry_run) { report.dry_run = dry_run; }
  void keep(Kept kept) { kept_ = std::move(kept); }

  void files() {
    pipeline_logs();
    old_logs();
    checkouts();
  }
  void strays() {
    for (const fs::path& path : entries_of(parts_.data.checkouts()))
      if (!kept_.apps.contains(path.filename())) remove(path, report.checkouts, report.checkout_bytes);
    for (const fs::path& path : entries_of(parts_.data.git())) {
      const std::string name = path.filename();
      if (is_leftover(path))
        remove(path, report.repositories, report.repository_bytes);
      else if (name.ends_with(".git") && !kept_.apps.contains(name.substr(0, name.size() - 4)))
        remove(path, report.repositories, report.repository_bytes);
      else
        for (const fs::path& objects : entries_of(path / "objects"))
          if (is_leftover(objects)) remove(objects, report.repositories, report.repository_bytes);
    }
  }
  void cache() { report.cache_records = parts_.cache.trim(parts_.clock.wall(), {}, dry_run_); }
  // With the gate held alone.
  void images() {
    image::GarbageOptions options;
    options.grace = kBlobGrace;
    options.now = parts_.clock.wall();
    options.keep = manifests();
    options.dry_run = dry_run_;
    const auto tagged = parts_.images.list();
    if (!tagged) return failed("list images", tagged.error());
    for (const image::TaggedImage& image : *tagged)
      if (!image.built_for.empty() && !kept_.has_tag(image.built_for, image.reference.tag))
        options.drop.push_back(image.reference);
    const auto collected = parts_.images.collect_garbage(options);
    if (!collected) return failed("collect blobs", collected.error());
    count(*collected);
    layers(options.drop);
  }
  // With the gate held alone. Only its own blobs: the build cache gives them up, nothing else does.
  Result<void> image(const format::ImageReference& reference) {
    count(TRY(parts_.images.remove(reference, kept_.manifests)));
    ++report.tags;
    layers({});
    return {};
  }

  // What the gate's round set aside is deleted and measured when starts and builds go on.
  void sweep() {
    const auto count = [&](const Result<std::uint64_t>& bytes) {
      if (!bytes) return failed("sweep layers", bytes.error());
      report.layer_bytes += *bytes;
    };
    if (!dry_run_) return count(parts_.launcher.sweep_layers());
    for (const std::vector<Digest>& layers : would_go_) count(parts_.launcher.bytes_of_layers(layers));
  }

  HousekeepingReport report;

 private:
  std::vector<Digest> manifests() const {
    std::vector<Digest> all = kept_.manifests;
    const auto cached = parts_.cache.kept_manifests(parts_.clock.wall(), build::StepCache::Bound().age);
    all.insert(all.end(), cached.begin(), cached.end());
    return all;
  }
  void count(const image::GarbageReport& collected) {
    report.tags += collected.tags;
    report.blobs += collected.blobs;
    report.blob_bytes += collected.bytes;
  }
  void layers(const std::vector<format::ImageReference>& drop) {
    const auto needed = parts_.images.diff_ids_in_use(manifests(), drop);
    if (!needed) return failed("find layers", needed.error());
    const auto there = parts_.launcher.list_layers();
    if (!there) return failed("list layers", there.error());
    std::vector<Digest> idle;
    std::ranges::copy_if(*there, std::back_inserter(idle),
                         [&](const Digest& layer) { return !needed->contains(layer); });
    for (std::size_t at = 0; at < idle.size(); at += kLayersAtOnce) {
      const auto begin = idle.begin() + static_cast<std::ptrdiff_t>(at);
      const auto end = idle.begin() + static_cast<std::ptrdiff_t>(std::min(idle.size(), at + kLayersAtOnce));
      const auto removed = parts_.launcher.remove_layers({begin, end}, dry_run_);
      if (!removed) return failed("remove layers", removed.error());
      report.layers += removed->removed.size();
      if (dry_run_) would_go_.push_back(removed->removed);
    }
  }

  void pipeline_logs() {
    for (const fs::path& path : entries_of(parts_.data.pipelines())) {
      const std::uint64_t id = std::strtoull(path.stem().c_str(), nullptr, 10);
      if (path.extension() == ".log" && id < kept_.next_id && !kept_.pipelines.contains(id))
        remove(path, report.logs, report.log_bytes);
    }
  }
  // Of containers that are gone: the newest, for a while.
  void old_logs() {
    std::vector<std::pair<WallTime, fs::path>> logs;
    for (fs::path& path : entries_of(parts_.data.old_logs()))
      if (path.extension() == ".log") {
        const WallTime at = changed_at(path);
        logs.emplace_back(at, std::move(path));
      }
    std::ranges::sort(logs, std::greater{});
    std::uint64_t room = kLogBytes;
    for (const auto& [at, path] : logs) {
      const std::uint64_t size = os::bytes_below(path);
      const bool stays =
          kept_.owns_log(path.filename().string()) && parts_.clock.wall() - at < kLogAge && size <= room;
      if (stays)
        room -= size;
      else
        remove(path, report.logs, report.log_bytes);
    }
  }
  void checkouts() {
    for (const auto& [app, first] : kept_.apps)
      for (const fs::path& path : entries_of(parts_.data.checkouts() / app)) {
        const std::string name = path.filename();
        const bool idle = !name.starts_with('.') && !kept_.commits.contains({app, name}) &&
                          parts_.clock.wall() - changed_at(path) > kCheckoutGrace;
        if (idle || is_leftover(path)) remove(path, report.checkouts, report.checkout_bytes);
      }
  }
  bool is_leftover(const fs::path& path) const {
    const std::string name = path.filename();
    return name.starts_with(kGone) || ((name.starts_with(kFresh) || name.starts_with(kIncoming)) &&
                                       parts_.clock.wall() - changed_at(path) > kFreshAge);
  }

  void remove(const fs::path& path, std::uint64_t& count, std::uint64_t& bytes) {
    ++count;
    bytes += os::bytes_below(path);
    if (dry_run_) return;
    const fs::path aside = path.parent_path() / (std::string(kGone) + secure_random_hex(8));
    if (::rename(path.c_str(), aside.c_str()) != 0) return;
    if (auto removed = os::remove_tree(aside); !removed) failed("remove", removed.error());
  }
  void failed(std::string_view what, const Error& error) {
    log_event(Level::warn, "control.housekeeping", {{"step", what}, {"error", error.message()}});
    if (report.skipped.empty()) report.skipped = fmt::format("{}: {}", what, error.message());
  }

  const Parts& parts_;
  const bool dry_run_;
  Kept kept_;
  std::vector<std::vector<Digest>> would_go_;  // layers, of a dry run
};

Housekeeping::Housekeeping(Parts parts) : parts_(parts) {
  parts_.core.add_listener([this](const Core::Committed& news) {
    if (std::ranges::none_of(news.events, is_event_of_interest)) return;
    const std::lock_guard lock(mutex_);
    wanted_ = true;
    woken_.notify_all();
  });
}

Housekeeping::~Housekeeping() {
  stop();
}

void Housekeeping::start() {
  thread_ = std::jthread([this](const std::stop_token& stop) { live(stop); });
}

void Housekeeping::stop() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

void Housekeeping::live(const std::stop_token& stop) {
  const auto wait = [&](milliseconds time, bool until_wanted) {
    std::unique_lock lock(mutex_);
    woken_.wait_for(lock, stop, time, [&] { return until_wanted && wanted_; });
  };
  wait(kLeast, false);  // after a start there is more urgent work
  while (!stop.stop_requested()) {
    wait(kSettle, false);  // what ended together is cleaned together
    {
      const std::lock_guard lock(mutex_);
      wanted_ = false;
    }
    const auto report = run({}, kGatePatience, stop);
    if (!report)
      log_event(Level::warn, "control.housekeeping", {{"error", report.error().message()}});
    else if (report->bytes > 0 || report->releases > 0 || !report->skipped.empty())
      log_event(Level::info, "control.housekeeping",
                {{"releases", report->releases}, {"bytes", report->bytes}, {"skipped", report->skipped}});
    wait(kLeast, false);
    wait(kInterval, true);
  }
}

// A bounded number at once, until nothing goes any more.
Result<void> Housekeeping::forget_rows(const Options& options, HousekeepingReport& report,
                                       const std::stop_token& stop) {
  for (int i = 0; i < kMostSubmits && !stop.stop_requested(); ++i) {
    std::uint64_t count = 0;
    parts_.core.read([&](const State& state) {
      for (const auto& [name, app] : state.apps) {
        const event::HistoryRemoved gone = forgettable(state, name, options);
        report.releases += gone.releases.size();
        report.rollouts += gone.rollouts.size();
        report.pipelines += gone.pipelines.size();
        count += gone.releases.size() + gone.rollouts.size() + gone.pipelines.size();
      }
    });
    if (options.dry_run) return {};
    TRY(parts_.core.submit(command::Housekeep{options.keep_releases}));
    if (count == 0) return {};
  }
  return {};
}

Housekeeping::Kept Housekeeping::kept(const Options& options) const {
  return parts_.core.read([&](const State& state) {
    Kept kept;
    kept.next_id = state.counters.next_id;
    std::set<std::uint64_t> forgotten;  // ids are unique over all kinds
    for (const auto& [name, app] : state.apps) {
      kept.apps[name] = app.first_id;
      if (!options.dry_run) continue;
      const event::HistoryRemoved gone = forgettable(state, name, options);
      forgotten.insert(gone.releases.begin(), gone.releases.end());
      forgotten.insert(gone.pipelines.begin(), gone.pipelines.end());
    }
    for (const auto& [id, release] : state.releases) {
      if (forgotten.contains(id)) continue;
      kept.commits.emplace(release.app, release.commit);
      for (const ReleaseService& service : release.services) kept.manifests.push_back(service.image.manifest);
    }
    for (const auto& [id, pipeline] : state.pipelines) {
      if (forgotten.contains(id)) continue;
      kept.pipelines.insert(id);
      if (pipeline.state != StageState::waiting && pipeline.state != StageState::running) continue;
      kept.commits.emplace(pipeline.app, pipeline.commit);
      for (const BuildStage& stage : pipeline.builds)
        if (stage.image) kept.manifests.push_back(stage.image->manifest);
    }
    return kept;
  });
}

Result<HousekeepingReport> Housekeeping::run(const Options& options, milliseconds patience,
                                             const std::stop_token& stop) {
  const std::lock_guard one_at_a_time(round_mutex_);
  Round round(parts_, options.dry_run);
  TRY(forget_rows(options, round.report, stop));
  round.keep(kept(options));
  round.files();
  {
    const auto held = names();
    round.keep(kept(options));  // again: an application may have been made since
    round.strays();
  }
  round.cache();
  if (auto alone = parts_.gate.alone(patience, stop); alone.owns_lock()) {
    round.keep(kept(options));  // again: what was built since stays
    round.images();
    alone.unlock();
    round.sweep();
  } else {
    round.report.skipped = "images and layers: builds or starts were under way all the time";
  }
  HousekeepingReport& report = round.report;
  report.bytes = report.blob_bytes + report.layer_bytes + report.checkout_bytes + report.repository_bytes +
                 report.log_bytes;
  return report;
}

Result<HousekeepingReport> Housekeeping::run_by_hand(const Options& options) {
  return run(options, kGatePatienceByHand, {});
}

Result<HousekeepingReport> Housekeeping::remove_image(const format::ImageReference& reference) {
  Round round(parts_, false);
  auto alone = parts_.gate.alone(kGatePatienceByHand, {});
  if (!alone.owns_lock()) {
    TRY(parts_.images.untag(reference));
    round.report.tags = 1;
    round.report.skipped = "its blobs and layers: builds or starts are under way";
    return round.report;
  }
  round.keep(kept({}));
  TRY(round.image(reference));
  alone.unlock();
  round.sweep();
  return round.report;
}

void Housekeeping::remove_strays() {
  Round round(parts_, false);
  round.keep(kept({}));
  round.files();
  round.strays();
}

NARU_JSON_FIELDS(HousekeepingReport, dry_run, releases, rollouts, pipelines, tags, blobs, blob_bytes, layers,
                 layer_bytes, cache_records, checkouts, checkout_bytes, repositories, repository_bytes, logs,
                 log_bytes, bytes, skipped)
}  // namespace naru::control
