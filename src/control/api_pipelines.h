// A pipeline's output as it comes: for people with a browser or a command line, and for who pushed.
#pragma once

#include "control/api.h"

namespace naru::control {

// Writes the log of `pipeline` to the started answer until the pipeline has ended, control stops or the
// client leaves.
Answer follow_pipeline(Call& call, PipelineId pipeline);

}  // namespace naru::control
