// The output of pipelines: control/pipelines/<id>.log, appended by workers, followed by git clients and
// people. Values of the environment's variables are masked. Bounded: kMaxBytes a pipeline; housekeeping
// removes those of pipelines that are forgotten.
#pragma once

#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/core.h"

namespace naru::control {

class PipelineLog {
 public:
  static constexpr std::uintmax_t kMaxBytes = 8U << 20;

  explicit PipelineLog(std::filesystem::path folder) : folder_(std::move(folder)) {}
  // One line (a newline is added), as a terminal may be shown it (base/utf8.h). Thread-safe.
  void append(PipelineId id, std::string_view line, const std::vector<std::string>& secrets = {});
  // From `offset`; moves it on.
  std::string read(PipelineId id, std::uint64_t& offset) const;

 private:
  std::filesystem::path path(PipelineId id) const { return folder_ / (std::to_string(id) + ".log"); }
  std::filesystem::path folder_;
  std::mutex mutex_;
};

// The values of an application's variables, in all its environments, the longest first, so that masking a
// part leaves nothing of the whole; "" = of all applications.
std::vector<std::string> secrets_of(const State& state, std::string_view app);

std::vector<std::string> secrets_of(const Core& core, std::string_view app);

// Secrets of at least four characters become "***".
std::string mask(std::string text, const std::vector<std::string>& secrets);

}  // namespace naru::control
