// One build on its way: what Builder::build() does, stage by stage.
#pragma once

#include <condition_variable>
#include <mutex>
#include <set>

#include "base/rng.h"
#include "build/builder.h"

namespace naru::build {

class BuildRun {
 public:
  BuildRun(Workbench& bench, Images& images, const StepCache& cache, const Clock& clock,
           const BuilderOptions& options, const BuildRequest& request, const Builder::Progress& progress)
      : bench_(bench),
        images_(images),
        cache_(cache),
        clock_(clock),
        options_(options),
        request_(request),
        progress_(progress),
        attempt_(secure_random_hex(4)) {}

  Result<BuildResult> build(std::stop_token stop);

 private:
  enum class Phase { not_needed, waiting, running, done };
  struct StageState {
    Phase phase = Phase::not_needed;
    std::vector<std::optional<StepCache::Record>> records;  // by step; none: has to run
    std::vector<image::Layer> layers;                       // of the result
    std::vector<format::HistoryEntry> history;
    std::vector<StepReport> reports;
    bool ran = false;  // at least one step had to
  };

  Result<bool> prepare(std::stop_token stop);  // false: the target is not there, and that is fine
  void look_up();
  void need(std::size_t stage);
  Result<void> run_stages(std::stop_token stop);
  void work(std::stop_source& stopping);
  std::optional<std::size_t> next_ready();  // holds mutex_
  bool ready(std::size_t stage) const;

  Result<void> run_stage(std::size_t stage, std::stop_token stop);
  Result<void> settle_step(std::size_t stage, std::size_t step, std::stop_token stop);
  std::optional<StepCache::Record> recorded(const PlanStep& step) const;
  std::string bench_id(std::size_t stage, std::size_t step) const;
  Result<StepCache::Record> run_step(std::size_t stage, std::size_t step, std::stop_token stop);
  Result<void> run_command(const PlanStep& step, const std::string& bench, const std::string& label,
                           std::stop_token stop);
  Result<void> run_copy(const PlanStep& step, const std::string& bench, std::stop_token stop);
  Result<void> unpack(const std::vector<image::Layer>& layers);
  std::string why(std::size_t stage, std::size_t step) const;
  std::string slot(std::size_t stage, std::size_t step) const;
  std::string label(std::size_t stage, std::size_t step) const;
  std::unexpected<Error> at(const PlanStep& step, Error error) const;
  void say(std::string_view line);
  void keep_stages();
  Result<BuildResult> finish(MonoTime began);

  Workbench& bench_;
  Images& images_;
  const StepCache& cache_;
  const Clock& clock_;
  const BuilderOptions& options_;
  const BuildRequest& request_;
  const Builder::Progress& progress_;
  // In the benches' ids: those of an earlier attempt may be in use still, or half deleted.
  const std::string attempt_;

  Plan plan_;
  std::map<std::string, image::Image> bases_;
  std::string context_path_;  // relative to checkouts/

  std::mutex say_mutex_;
  std::mutex mutex_;  // below: shared by the stages' threads
  std::condition_variable changed_;
  std::vector<StageState> stages_;  // one that runs is its thread's own until it is done
  std::optional<Error> error_;
  std::mutex unpack_mutex_;
  std::set<Digest> unpacked_;
};

}  // namespace naru::build
