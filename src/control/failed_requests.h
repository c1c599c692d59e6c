// Examples of requests that failed in the steps of a rollout: read where the step is judged, kept with its
// verdict, shown from there. Nobody else reads them off the counters: those are another step's soon.
#pragma once

#include "ipc/telemetry.h"
#include "model/state.h"

namespace naru::control {

// Where the counters of the step lie that is under way.
ipc::StepEvidence evidence_of(const Rollout& rollout);

std::vector<FailedExample> examples_of(const ipc::EvidenceCounters& counters);

// As docs/api.md says: the newest step's first.
Json failed_requests(const Rollout& rollout);

}  // namespace naru::control
