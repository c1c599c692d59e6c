// In which service the errors of a canary start, told from calls between services. It is no evidence: only
// what users meet at the edge is judged (docs/judge.md); it says where to look.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace naru::control {

// What other services asked of one that has a revision of its own on each side.
struct InnerAnswers {
  std::string service;
  std::uint64_t canary = 0, canary_failed = 0;
  std::uint64_t stable = 0, stable_failed = 0;
  std::set<std::string> needs{};  // of those services, by its compose file
};

// "; errors start in catalog: 412 of its 5100 inner requests on the canary failed, 0 of 9000 on stable", or
// "" when calls between services do not explain it. What was asked since `before`; `failed`: of the canary's
// requests at the edge.
std::string where_errors_start(const std::vector<InnerAnswers>& before, std::vector<InnerAnswers> now,
                               std::uint64_t failed);

}  // namespace naru::control
