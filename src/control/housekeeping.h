// Takes away what nobody needs any more: first rows (command Housekeep, decided purely), then what only they
// named: tags of builds, blobs, unpacked layers, records of the build cache, checkouts, repositories of
// applications that are gone, output of forgotten pipelines, logs of containers long gone.
//
// In the background after each release and each removed application (a few seconds later), and each hour; by
// hand with `naru prune`. Level-triggered: it compares what lies there with the state, so that a kill at any
// moment leaves work for the next time and nothing broken:
//
//   - rows go in a transaction; files follow, never the other way round: nothing that is kept names what is
//   gone;
//   - a folder goes by one rename to a name that nothing looks for (.gone-*), and is deleted then;
//   - blobs and unpacked layers go while the image gate is held alone (control/image_gate.h): nobody is
//     between finding one and naming it. Is the gate in use all the time, they are left for the next time,
//     and the report says so;
//   - a checkout that was asked for within kCheckoutGrace stays: a push that is being checked has no row yet;
//   - an application is made and removed with names() held, as is the removal of what lies under the name of
//     one that is not there: a new application of that name never loses its repository to its predecessor's
//     cleaning.
//
// Thread-safe; one round at a time. Blocks: never call it on the core's or the reactor's thread.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "build/cache.h"
#include "control/core.h"
#include "control/image_gate.h"
#include "image/store.h"
#include "ipc/data_folder.h"
#include "ipc/launcher_client.h"

namespace naru::control {

// What went, or would go (dry_run).
struct HousekeepingReport {
  bool dry_run = false;
  std::uint64_t releases = 0, rollouts = 0, pipelines = 0;  // rows
  std::uint64_t tags = 0, blobs = 0, blob_bytes = 0;
  std::uint64_t layers = 0, layer_bytes = 0;  // unpacked
  std::uint64_t cache_records = 0;
  std::uint64_t checkouts = 0, checkout_bytes = 0;
  std::uint64_t repositories = 0, repository_bytes = 0;
  std::uint64_t logs = 0, log_bytes = 0;  // of pipelines and containers
  std::uint64_t bytes = 0;                // all of them
  std::string skipped;                    // what was left for the next time, and why; "" = nothing
};
NARU_JSON(HousekeepingReport)

class Housekeeping {
 public:
  static constexpr std::size_t kReleasesKept = 10, kMostReleasesKept = 1'000;
  static constexpr milliseconds kInterval = 1h, kSettle = 5s, kLeast = 30s;  // between two rounds
  static constexpr milliseconds kGatePatience = 60s, kGatePatienceByHand = 10s;
  static constexpr milliseconds kBlobGrace = 1min;  // for other programs that write into the image store
  static constexpr milliseconds kCheckoutGrace = 10min;
  static constexpr milliseconds kLogAge = 14 * 24h;
  static constexpr std::uint64_t kLogBytes = 256U << 20;

  struct Parts {  // all borrowed, all outlive it
    const ipc::DataFolder& data;
    const Clock& clock;  // the machine's, as the times of files are
    Core& core;
    ipc::LauncherClient& launcher;
    const image::Store& images;
    const build::StepCache& cache;
    ImageGate& gate;
  };
  explicit Housekeeping(Parts parts);  // before the core's start: it listens
  ~Housekeeping();
  void start();
  void stop();  // ends the thread; a round under way ends at its next step

  struct Options {
    std::size_t keep_releases = kReleasesKept;
    bool dry_run = false;
  };
  Result<HousekeepingReport> run_by_hand(const Options& options);
  // `naru image rm`: the tag, its blobs and its unpacked layers, as far as nothing else needs them.
  Result<HousekeepingReport> remove_image(const format::ImageReference& reference);
  // What lies under the names of applications that are not there. With names() held by the caller.
  void remove_strays();
  [[nodiscard]] std::unique_lock<std::mutex> names() { return std::unique_lock(names_mutex_); }

 private:
  struct Kept;
  class Round;
  void live(const std::stop_token& stop);
  Kept kept(const Options& options) const;
  Result<void> forget_rows(const Options& options, HousekeepingReport& report, const std::stop_token& stop);
  Result<HousekeepingReport> run(const Options& options, milliseconds patience, const std::stop_token& stop);

  Parts parts_;
  std::mutex names_mutex_;
  std::mutex round_mutex_;  // one at a time
  std::mutex mutex_;
  std::condition_variable_any woken_;
  bool wanted_ = false;
  std::jthread thread_;
};

}  // namespace naru::control
