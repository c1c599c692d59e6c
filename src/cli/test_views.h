// For tests: what control answers about an application in the middle of a canary.
#pragma once

#include "cli/fake_control.h"

namespace naru::cli::testing {

inline Json instance(std::string id, std::string service, std::string phase, Json more = Json::object()) {
  Json out{{"id", id},
           {"app", "shop"},
           {"env", "production"},
           {"service", service},
           {"release_version", 3},
           {"side", "both"},
           {"phase", phase},
           {"address", "10.88.0.7"},
           {"pid", 4711},
           {"attempt", 1},
           {"restarts", 0},
           {"exit_code", nullptr},
           {"error", ""},
           {"started", kNow - 245'000},
           {"ready_at", kNow - 243'000},
           {"memory_bytes", 23'400'000}};
  out.update(more);
  return out;
}

inline Json rollout_view() {
  const auto side = [](int seen) {
    return Json{{"users_seen", seen}, {"users_bad", 0}, {"requests", seen * 3}, {"failed", 0}};
  };
  return {
      {"id", 31},
      {"app", "shop"},
      {"env", "production"},
      {"from_version", 3},
      {"to_version", 4},
      {"commit", "a1b2c3d4e5f6a7b8"},
      {"subject", "Faster catalog"},
      {"phase", "stepping"},
      {"step", 1},
      {"weight", 2500},
      {"slow_us", 12'400},
      {"reason", "holding at 25%: 12 of 50 users; send traffic, add a probe, or naru promote shop"},
      {"steps",
       {{{"weight", 500},
         {"started", kNow - 200'000},
         {"passed", kNow - 77'000},
         {"verdict", "no worse than v3: 131 users met v4"}},
        {{"weight", 2500}, {"started", kNow - 77'000}, {"passed", 0}, {"verdict", ""}}}},
      {"planned",
       {{{"weight", 500}, {"min_duration", 30'000}, {"min_users", 50}},
        {{"weight", 2500}, {"min_duration", 30'000}, {"min_users", 50}},
        {{"weight", 10'000}, {"min_duration", 30'000}, {"min_users", 50}}}},
      {"verdict",
       {{"kind", "hold"},
        {"metric", ""},
        {"reason", ""},
        {"evidence",
         {{{"metric", "errors"},
           {"stable", side(950)},
           {"canary", side(12)},
           {"bad_stable", 3},
           {"bad_canary", 2},
           {"odds_ratio", 4.13},
           {"odds_low", 0.8},
           {"odds_high", 0.0},
           {"m", 1.84},
           {"threshold", 2000.0}},
          {{"metric", "crashes"}, {"bad_stable", 0}, {"bad_canary", 1}, {"m", 1.0}, {"threshold", 0.0}}}}}},
      {"changed", {"catalog"}},
      {"created", kNow - 215'000},
      {"first_user", kNow - 200'000},
      {"completed", 0},
      {"ended", 0},
      {"failed_requests",
       {{{"time", kNow - 5'000},
         {"side", "canary"},
         {"service", "catalog"},
         {"method", "GET"},
         {"path", "/products\x1b[2J"},
         {"status", 500},
         {"duration_us", 12'345},
         {"trace_id", "0af7651916cd43dd"}}}}};
}

inline Json status_view() {
  return {
      {"app", "shop"},
      {"env", "production"},
      {"message", "holding at 25%: 12 of 50 users"},
      {"stable",
       {{"id", 7}, {"version", 3}, {"commit", "0123456789abcdef"}, {"subject", "상품 목록 빠르게"}}},
      {"pending", nullptr},
      {"services",
       {{{"name", "web"},
         {"revision", "aaaabbbbcccc"},
         {"ready", 2},
         {"wanted", 2},
         {"addresses", {"http://localhost:8000", "http://web.production.shop.localhost:8080"}}},
        {{"name", "catalog"},
         {"revision", "ddddeeeeffff"},
         {"ready", 0},
         {"wanted", 1},
         {"changed_in_rollout", true},
         {"addresses", Json::array()}},
        {{"name", "store"},
         {"revision", "999988887777"},
         {"ready", 1},
         {"wanted", 1},
         {"stateful", true},
         {"addresses", Json::array()}}}},
      {"instances",
       {instance("shop-catalog-9", "catalog", "waiting", {{"error", "exit 1: cannot connect to store"}})}},
      {"rollout", rollout_view()},
      {"pipeline",
       {{"state", "failed"}, {"commit", "fedcba987654"}, {"error", "compose.yaml:7: no such service"}}},
      {"addresses", Json::array()}};
}

}  // namespace naru::cli::testing
