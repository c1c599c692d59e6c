#include "control/failed_requests.h"

#include "base/utf8.h"

namespace naru::control {

namespace {

std::string_view outcome_name(ipc::Outcome outcome) {
  static constexpr std::string_view kNames[] = {
      "1xx",        "2xx",           "3xx", "4xx", "5xx", "connect failure", "first byte timeout",
      "incomplete", "client gave up"};
  return kNames[static_cast<std::size_t>(outcome)];
}

}  // namespace

ipc::StepEvidence evidence_of(const Rollout& rollout) {
  return ipc::evidence_of_step(rollout.evidence_slot, rollout.id, rollout.step);
}

std::vector<FailedExample> examples_of(const ipc::EvidenceCounters& counters) {
  std::vector<FailedExample> out;
  for (const ipc::FailedRequest& request : counters.failed) {
    FailedExample& one = out.emplace_back();
    one.time = request.time;
    one.side = request.side == ipc::Side::canary ? "canary" : "stable";
    one.service = request.service;
    // What a stranger sent. It must read back from the store as it was written, or it is kept twice.
    one.method = printable(request.method);
    one.path = printable(request.path);
    one.status = request.status;
    one.outcome = outcome_name(request.outcome);
    one.duration_us = request.duration_us;
    one.trace_id = printable(request.trace_id);
  }
  return out;
}

Json failed_requests(const Rollout& rollout) {
  Json out = Json::array();
  for (std::size_t step = rollout.steps.size(); step-- > 0;)
    for (const FailedExample& one : rollout.steps[step].failed) {
      out.push_back(one);
      out.back()["step"] = step;
    }
  return out;
}

}  // namespace naru::control
