#include "control/fault_origin.h"

#include <fmt/format.h>

#include <algorithm>

namespace naru::control {

namespace {

constexpr std::size_t kNamed = 3;

double rate(std::uint64_t failed, std::uint64_t requests) {
  return requests == 0 ? 0 : static_cast<double>(failed) / static_cast<double>(requests);
}

// Clearly more often than on stable, and often enough to be what users met: each of their failed requests
// comes of at least one.
bool fails(const InnerAnswers& service, std::uint64_t failed_at_edge) {
  return service.canary_failed > 0 && 2 * service.canary_failed >= failed_at_edge &&
         rate(service.canary_failed, service.canary) > 2 * rate(service.stable_failed, service.stable);
}

// Counters that began anew (a reboot) count from there.
void subtract(InnerAnswers& now, const InnerAnswers& before) {
  for (const auto member : {&InnerAnswers::canary, &InnerAnswers::canary_failed, &InnerAnswers::stable,
                            &InnerAnswers::stable_failed})
    if (now.*member >= before.*member) now.*member -= before.*member;
}

}  // namespace

std::string where_errors_start(const std::vector<InnerAnswers>& before, std::vector<InnerAnswers> answers,
                               std::uint64_t failed) {
  for (InnerAnswers& service : answers)
    if (const auto earlier = std::ranges::find(before, service.service, &InnerAnswers::service);
        earlier != before.end())
      subtract(service, *earlier);
  std::erase_if(answers, [&](const InnerAnswers& service) { return !fails(service, failed); });
  // Who fails because one that it depends on fails has passed it on.
  const auto failing = answers;
  std::erase_if(answers, [&](const InnerAnswers& service) {
    return std::ranges::any_of(
        failing, [&](const InnerAnswers& other) { return service.needs.contains(other.service); });
  });
  std::ranges::sort(answers, std::greater(), &InnerAnswers::canary_failed);
  std::string out;
  for (std::size_t i = 0; i < std::min(answers.size(), kNamed); ++i) {
    const InnerAnswers& service = answers[i];
    out += fmt::format("{}{}: {} of its {} inner requests on the canary failed, {} of {} on stable",
                       i == 0 ? "; errors start in " : ", and in ", service.service, service.canary_failed,
                       service.canary, service.stable_failed, service.stable);
  }
  return out;
}

}  // namespace naru::control
