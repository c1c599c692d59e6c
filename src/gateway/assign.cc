#include "gateway/assign.h"

#include <charconv>
#include <optional>

#include "base/rng.h"

namespace naru::gateway {
namespace {

using route::CohortHash;
using route::Side;

bool is_user_id(std::string_view text) {
  return text.size() == 32 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::optional<std::string_view> cookie(const http1::RequestHead& head, std::string_view name) {
  for (const http1::Field& field : head.fields()) {
    if (!http1::iequals(field.name, "cookie")) continue;
    if (auto value = http1::cookie_value(field.value, name)) return value;
  }
  return std::nullopt;
}

std::optional<Side> forced_side(const http1::RequestHead& head) {
  const auto value = head.find(kReleaseHeader);
  if (!value) return std::nullopt;
  if (http1::iequals(*value, "canary")) return Side::canary;
  if (http1::iequals(*value, "stable")) return Side::stable;
  return std::nullopt;
}

// The application's own way of telling users apart; "" when the request does not say.
std::string_view own_key(const Split& split, const http1::RequestHead& head) {
  if (!split.cohort_header.empty())
    if (const auto value = head.find(split.cohort_header); value && !value->empty()) return *value;
  if (!split.cohort_cookie.empty())
    if (const auto value = cookie(head, split.cohort_cookie); value && !value->empty()) return *value;
  return {};
}

void count_as(Assignment& out, const route::Environment& environment, std::string_view user) {
  out.evidence = true;
  out.bucket = CohortHash::user_bucket((*environment.cohort)(user));
}

Side side_of(const route::Environment& environment, std::string_view user) {
  return CohortHash::side((*environment.cohort)(user), environment.split->weight);
}

std::optional<Side> side_from_baggage(const Split& split, const http1::RequestHead& head) {
  std::optional<Side> side;
  for (const http1::Field& field : head.fields()) {
    if (!http1::iequals(field.name, "baggage")) continue;
    for_each_baggage(field.value, [&](std::string_view member) {
      member = member.substr(0, member.find(';'));
      if (!member.starts_with(kCohortKey) || member.size() <= kCohortKey.size() ||
          member[kCohortKey.size()] != '=')
        return;
      const std::string_view value = member.substr(kCohortKey.size() + 1);
      std::uint64_t rollout = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), rollout);
      if (error != std::errc{} || rollout != split.rollout)
        return;  // of an earlier rollout: says nothing now
      const std::string_view rest(end, static_cast<std::size_t>(value.data() + value.size() - end));
      if (rest == ":canary")
        side = Side::canary;
      else if (rest == ":stable")
        side = Side::stable;
    });
  }
  return side;
}

}  // namespace

Assignment assign_edge(const route::Environment& environment, const http1::RequestHead& head,
                       std::string_view client_ip) {
  Assignment out;
  const bool split = environment.split.has_value();
  const bool own =
      split && (!environment.split->cohort_cookie.empty() || !environment.split->cohort_header.empty());
  std::string_view user = own ? own_key(*environment.split, head) : std::string_view{};
  if (!own) {
    if (const auto value = cookie(head, route::kUserCookie); value && is_user_id(*value))
      user = *value;
    else
      out.new_cookie = secure_random_hex(16);
  }
  if (!split) return out;
  if (const auto forced = forced_side(head)) {
    out.side = *forced;
    return out;
  }
  const std::string_view counted = user.empty() ? client_ip : user;
  const std::string_view routed = !user.empty()             ? user
                                  : !out.new_cookie.empty() ? std::string_view(out.new_cookie)
                                                            : client_ip;
  out.side = side_of(environment, routed);
  count_as(out, environment, counted);
  return out;
}

Assignment assign_inner_connection(const route::Environment& environment, const route::CallerView& caller,
                                   std::uint32_t draw) {
  Assignment out;
  if (!environment.split) return out;
  if (caller.side) {
    out.side = *caller.side;
    return out;
  }
  out.side = draw < environment.split->weight.value ? Side::canary : Side::stable;
  out.split_by_connection = true;
  return out;
}

Assignment assign_inner(const route::Environment& environment, const http1::RequestHead& head,
                        const route::CallerView& caller, std::uint32_t draw) {
  if (environment.split)
    if (const auto side = side_from_baggage(*environment.split, head)) {
      Assignment out;
      out.side = *side;
      return out;
    }
  return assign_inner_connection(environment, caller, draw);
}

Assignment assign_edge_connection(const route::Environment& environment, std::string_view client_ip) {
  Assignment out;
  if (!environment.split) return out;
  out.side = side_of(environment, client_ip);
  count_as(out, environment, client_ip);
  return out;
}

}  // namespace naru::gateway
