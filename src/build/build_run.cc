#include "build/build_run.h"

#include <thread>

#include "build/output_lines.h"

namespace naru::build {

namespace {

// An image's own time would make every build another image.
constexpr std::string_view kCreated = "1970-01-01T00:00:00Z";

image::Layer to_layer(const LayerRef& ref) {
  return {ref.blob, ref.diff_id, ref.media_type, ref.size};
}
LayerRef to_ref(const image::Layer& layer) {
  return {layer.blob, layer.diff_id, layer.media_type, layer.size};
}

std::vector<Digest> diff_ids(const std::vector<image::Layer>& layers) {
  std::vector<Digest> ids;
  for (const image::Layer& layer : layers) ids.push_back(layer.diff_id);
  return ids;
}

std::unexpected<Error> cancelled() {
  return fail(Code::build_cancelled, "the build was cancelled");
}

// Ends a bench that no commit ended.
class BenchGuard {
 public:
  BenchGuard(Workbench& bench, std::string id) : bench_(bench), id_(std::move(id)) {}
  BenchGuard(const BenchGuard&) = delete;
  BenchGuard& operator=(const BenchGuard&) = delete;
  ~BenchGuard() {
    if (!ended_) bench_.discard(id_);
  }
  void ended() { ended_ = true; }

 private:
  Workbench& bench_;
  std::string id_;
  bool ended_ = false;
};

}  // namespace

Result<BuildResult> BuildRun::build(std::stop_token stop) {
  const MonoTime began = clock_.mono();
  if (!TRY(prepare(stop))) return BuildResult{};
  look_up();
  TRY(run_stages(stop));
  keep_stages();
  return finish(began);
}

Result<bool> BuildRun::prepare(std::stop_token stop) {
  const std::string context = clean_relative(request_.context);
  const std::string path = clean_relative(request_.context + "/" + request_.dockerfile);
  context_path_ = context.empty() ? request_.checkout_path : request_.checkout_path + "/" + context;
  const std::string text = TRY(read_dockerfile(request_.checkout, path));
  const format::Dockerfile file = TRY(format::parse_dockerfile(text, path));
  if (request_.missing_target_is_fine && !file.find_stage(request_.target)) return false;

  const PlanOptions options{request_.target, request_.args, request_.proxy};
  for (const auto& [reference, line] : TRY(images_needed(file, options))) {
    if (stop.stop_requested()) return cancelled();
    const auto parsed = TRY(format::ImageReference::parse(reference));
    auto image = images_.resolve(
        parsed, [this](std::string_view line) { say(fmt::format("[{}] {}", request_.name, line)); }, stop);
    if (!image) {
      Error error = std::move(image).error();
      error.context = format::at_line(path, line, fmt::format("{}: {}", parsed.familiar(), error.context));
      return std::unexpected(std::move(error));
    }
    bases_[reference] = std::move(*image);
  }
  const ContextListing listing = TRY(scan_context(request_.checkout, context, path));
  plan_ = TRY(make_plan(file, options, listing, bases_));
  for (const std::string& warning : plan_.warnings)
    say(fmt::format("[{}] warning: {}", request_.name, warning));
  return true;
}

void BuildRun::look_up() {
  stages_.resize(plan_.stages.size());
  for (std::size_t s = 0; s < plan_.stages.size(); ++s)
    for (const PlanStep& step : plan_.stages[s].steps) stages_[s].records.push_back(recorded(step));
  need(plan_.target);
}

std::optional<StepCache::Record> BuildRun::recorded(const PlanStep& step) const {
  auto record = cache_.find(step.key);
  // Garbage collection may have taken the layer.
  if (record && !record->empty && !images_.has_blob(record->layer.blob)) record.reset();
  return record;
}

// A stage that only a cached COPY reads from is not needed at all.
void BuildRun::need(std::size_t stage) {
  if (stages_[stage].phase != Phase::not_needed) return;
  stages_[stage].phase = Phase::waiting;
  const PlanStage& planned = plan_.stages[stage];
  if (planned.parent) need(*planned.parent);
  for (std::size_t i = 0; i < planned.steps.size(); ++i)
    if (planned.steps[i].copy_from && !stages_[stage].records[i]) need(*planned.steps[i].copy_from);
}

bool BuildRun::ready(std::size_t stage) const {
  const auto done = [&](std::size_t s) { return stages_[s].phase == Phase::done; };
  const PlanStage& planned = plan_.stages[stage];
  if (planned.parent && !done(*planned.parent)) return false;
  for (std::size_t i = 0; i < planned.steps.size(); ++i)
    if (planned.steps[i].copy_from && !stages_[stage].records[i] && !done(*planned.steps[i].copy_from))
      return false;
  return true;
}

std::optional<std::size_t> BuildRun::next_ready() {
  for (std::size_t s = 0; s < stages_.size(); ++s)
    if (stages_[s].phase == Phase::waiting && ready(s)) return s;
  return std::nullopt;
}

Result<void> BuildRun::run_stages(std::stop_token stop) {
  std::stop_source stopping;
  const std::stop_callback link(stop, [&] { stopping.request_stop(); });
  const auto needed =
      static_cast<std::size_t>(std::ranges::count(stages_, Phase::waiting, &StageState::phase));
  const std::size_t threads = std::clamp<std::size_t>(options_.parallel_stages, 1, needed);
  {
    std::vector<std::jthread> others;
    for (std::size_t i = 1; i < threads; ++i) others.emplace_back([&] { work(stopping); });
    work(stopping);
  }
  if (error_) return std::unexpected(std::move(*error_));
  return {};
}

void BuildRun::work(std::stop_source& stopping) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (error_) return;
    const auto stage = next_ready();
    if (!stage) {
      const bool left =
          std::ranges::any_of(stages_, [](const StageState& s) { return s.phase == Phase::waiting; });
      if (!left) return;
      changed_.wait(lock);  // whoever runs what it waits for will notify
      continue;
    }
    stages_[*stage].phase = Phase::running;
    lock.unlock();
    auto done = run_stage(*stage, stopping.get_token());
    lock.lock();
    stages_[*stage].phase = Phase::done;
    if (!done && !error_) {  // the first failure is the cause; the others were stopped for it
      error_ = std::move(done).error();
      stopping.request_stop();
    }
    changed_.notify_all();
  }
}

Result<void> BuildRun::run_stage(std::size_t index, std::stop_token stop) {
  const PlanStage& planned = plan_.stages[index];
  StageState& state = stages_[index];
  if (planned.parent) {
    state.layers = stages_[*planned.parent].layers;
    state.history = stages_[*planned.parent].history;
  } else if (!planned.image.empty()) {
    state.layers = bases_.at(planned.image).layers;
    state.history = bases_.at(planned.image).config.history;
  }
  for (std::size_t i = 0; i < planned.steps.size(); ++i) TRY(settle_step(index, i, stop));
  for (const auto& [text, step] : planned.history)
    state.history.push_back({std::string(kCreated), text, {}, {}, !step || state.records[*step]->empty});
  return {};
}

// Takes a step from the cache, or runs it.
Result<void> BuildRun::settle_step(std::size_t stage, std::size_t index, std::stop_token stop) {
  if (stop.stop_requested()) return cancelled();
  StageState& state = stages_[stage];
  const PlanStep& step = plan_.stages[stage].steps[index];
  const std::string prefix = label(stage, index);
  StepReport report{plan_.stages[stage].name, step.line, step.text, state.records[index].has_value(), {}, {}};
  const MonoTime began = clock_.mono();
  if (!report.cached) {
    const StepCache::Claim claim = TRY(cache_.claim(step.key, stop));
    state.records[index] = recorded(step);  // another build may just have made it
    report.cached = state.records[index].has_value();
    if (!report.cached) {
      report.why = why(stage, index);
      say(fmt::format("{} {} ({})", prefix, step.text, report.why));
      state.ran = true;
      state.records[index] = TRY(run_step(stage, index, stop));
      report.duration = std::chrono::duration_cast<milliseconds>(clock_.mono() - began);
      say(fmt::format("{} done in {}", prefix, humanize(report.duration)));
    }
  }
  if (report.cached) say(fmt::format("{} {}: cached", prefix, step.text));
  if (auto kept = cache_.remember_parts(slot(stage, index), step.parts); !kept)
    say("warning: " + kept.error().message());
  if (!state.records[index]->empty) state.layers.push_back(to_layer(state.records[index]->layer));
  state.reports.push_back(std::move(report));
  return {};
}

Result<StepCache::Record> BuildRun::run_step(std::size_t stage, std::size_t index, std::stop_token stop) {
  const PlanStep& step = plan_.stages[stage].steps[index];
  const std::string bench = bench_id(stage, index);
  TRY(unpack(stages_[stage].layers));
  TRY(bench_.begin({bench, diff_ids(stages_[stage].layers)}));
  BenchGuard guard(bench_, bench);
  if (step.kind == StepKind::run)
    TRY(run_command(step, bench, label(stage, index), stop));
  else
    TRY(run_copy(step, bench, stop));
  if (stop.stop_requested()) return cancelled();
  auto committed = bench_.commit(bench);
  if (!committed) return at(step, std::move(committed).error());
  guard.ended();
  StepCache::Record record{committed->empty, committed->layer};
  if (!record.empty) {
    // The launcher keeps what it commits unpacked.
    const std::lock_guard lock(unpack_mutex_);
    unpacked_.insert(record.layer.diff_id);
  }
  if (auto kept = cache_.put(step.key, record); !kept) say("warning: " + kept.error().message());
  return record;
}

Result<void> BuildRun::run_command(const PlanStep& step, const std::string& bench, const std::string& prefix,
                                   std::stop_token stop) {
  RunRequest request = step.run;
  request.build = bench;
  request.timeout = request_.step_timeout;
  OutputLines lines([&](std::string_view line) { say(fmt::format("{}   {}", prefix, line)); });
  auto result = bench_.run(request, [&](std::string_view bytes) { lines.add(bytes); }, stop);
  lines.finish();
  if (!result) return at(step, std::move(result).error());
  if (stop.stop_requested()) return cancelled();
  if (result->exit_code == 0 && !result->timed_out) return {};
  std::string outcome = result->timed_out ? fmt::format("took longer than {}", humanize(request.timeout))
                        : result->out_of_memory
                            ? fmt::format("ran out of memory (exit code {})", result->exit_code)
                            : fmt::format("exit code {}", result->exit_code);
  std::string tail;
  for (const std::string& line : lines.tail()) tail += "\n  | " + line;
  std::string remedy;
  if (result->exit_code == 127)
    remedy = "a command was not found: install its package in an earlier RUN, or check its name";
  if (result->out_of_memory) remedy = "build with fewer jobs side by side, or give builds more memory";
  return at(step, Error{result->timed_out ? Code::timeout : Code::build_step_failed,
                        fmt::format("{}: {}{}", step.text, outcome, tail), 0, std::move(remedy)});
}

Result<void> BuildRun::run_copy(const PlanStep& step, const std::string& bench, std::stop_token stop) {
  CopyRequest request = step.copy;
  request.build = bench;
  if (step.copy_from) {
    const auto& layers = stages_[*step.copy_from].layers;
    // An image that only COPY --from names may have no stage that unpacked it.
    TRY(unpack(layers));
    request.from.layers = diff_ids(layers);
  } else if (step.kind == StepKind::copy) {
    request.from.checkout = context_path_;
  }
  auto copied = bench_.copy(request, stop);
  if (copied) return {};
  Error error = std::move(copied).error();
  error.context = fmt::format("{}: {}", step.text, error.context);
  return at(step, std::move(error));
}

Result<void> BuildRun::unpack(const std::vector<image::Layer>& layers) {
  // Held while unpacking: two stages on the same base would otherwise unpack it twice.
  const std::lock_guard lock(unpack_mutex_);
  for (const image::Layer& layer : layers) {
    if (unpacked_.contains(layer.diff_id)) continue;
    TRY(bench_.unpack(to_ref(layer)));
    unpacked_.insert(layer.diff_id);
  }
  return {};
}

std::string BuildRun::why(std::size_t stage, std::size_t index) const {
  const auto before = cache_.last_parts(slot(stage, index));
  return before ? why_missed(*before, StepCache::stored_form(plan_.stages[stage].steps[index].parts))
                : "not built before";
}

std::string BuildRun::slot(std::size_t stage, std::size_t step) const {
  // Checkouts of one application lie in one folder.
  const std::string application = std::filesystem::path(request_.checkout_path).parent_path().string();
  return fmt::format("{} {} {} {} {}", application, request_.name, plan_.dockerfile, plan_.stages[stage].name,
                     step);
}

// The launcher takes [a-z0-9][a-z0-9.-]{0,62}; a service's name may hold more.
std::string BuildRun::bench_id(std::size_t stage, std::size_t step) const {
  std::string id = request_.id.substr(0, 28);
  for (char& c : id)
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) c = '-';
  if (id != request_.id || id.empty() || id.front() == '-')
    id = "b" + id + "-" + Digest::of_sha256(request_.id).short_hex().substr(0, 8);
  return fmt::format("{}.{}.{}.{}", id, attempt_, stage, step);
}

std::string BuildRun::label(std::size_t stage, std::size_t step) const {
  const PlanStage& planned = plan_.stages[stage];
  const bool named = std::ranges::any_of(planned.name, [](char c) { return c < '0' || c > '9'; });
  return fmt::format("[{}{}{} {}/{}]", request_.name, named ? " " : "", named ? planned.name : "", step + 1,
                     planned.steps.size());
}

std::unexpected<Error> BuildRun::at(const PlanStep& step, Error error) const {
  error.context = format::at_line(plan_.dockerfile, step.line, error.context);
  return std::unexpected(std::move(error));
}

void BuildRun::say(std::string_view line) {
  if (!progress_) return;
  const std::lock_guard lock(say_mutex_);
  progress_(line);
}

// Stages that no tag will name keep their layers through a manifest of their own.
void BuildRun::keep_stages() {
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    const PlanStage& planned = plan_.stages[s];
    if (!stages_[s].ran) {
      cache_.touch_stage(planned.key);
      continue;
    }
    format::ImageConfig config = planned.config;
    config.created = kCreated;
    config.history = stages_[s].history;
    const auto image = images_.put(config, stages_[s].layers);
    if (!image) continue;  // it costs a rebuild some day
    if (auto kept = cache_.keep_stage(planned.key, image->manifest); !kept)
      say("warning: " + kept.error().message());
  }
}

Result<BuildResult> BuildRun::finish(MonoTime began) {
  StageState& target = stages_[plan_.target];
  format::ImageConfig config = plan_.stages[plan_.target].config;
  config.created = kCreated;
  config.history = target.history;
  BuildResult result;
  result.image = TRY(images_.put(config, target.layers));
  result.manifest = result.image.manifest;
  result.warnings = plan_.warnings;
  for (StageState& state : stages_) {
    result.cached &= !state.ran;
    std::ranges::move(state.reports, std::back_inserter(result.steps));
  }
  result.duration = std::chrono::duration_cast<milliseconds>(clock_.mono() - began);
  return result;
}

}  // namespace naru::build
