#include "gateway/assign.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "io/address.h"

namespace naru::gateway {
namespace {

using route::CohortHash;
using route::Side;

std::optional<std::string_view> cookie(const http1::RequestHead& head, std::string_view name) {
  for (const http1::Field& field : head.fields()) {
    if (!http1::iequals(field.name, "cookie")) continue;
    if (auto value = http1::cookie_value(field.value, name)) return value;
  }
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

Visitor visitor_of(const http1::RequestHead& head, std::string_view peer_ip, bool peer_is_here) {
  Visitor visitor{peer_ip};
  if (!peer_is_here) return visitor;
  for (const http1::Field& field : head.fields()) {
    if (http1::iequals(field.name, "x-forwarded-for")) {
      std::string_view last = field.value.substr(field.value.find_last_of(',') + 1);
      last.remove_prefix(std::min(last.find_first_not_of(" \t"), last.size()));
      if (io::Address::of_ip(last, 0) && !last.empty()) visitor.ip = last;
    } else if (http1::iequals(field.name, "x-forwarded-proto")) {
      visitor.https = http1::iequals(field.value, "https");
    }
  }
  return visitor;
}

bool asks_from_here(const http1::RequestHead& head, const Visitor& visitor, bool peer_is_here) {
  const auto ip = io::Address::of_ip(visitor.ip, 0);
  // Signs of a proxy that does not say for whom it asks, or not in the field that is understood.
  const bool vague = std::ranges::any_of(head.fields(), [](const http1::Field& field) {
    return http1::iequals(field.name, "forwarded") || http1::iequals(field.name, "x-real-ip") ||
           http1::iequals(field.name, "via");
  });
  return peer_is_here && ip && ip->is_loopback() && !vague;
}

Assignment assign_edge(const route::Environment& environment, const route::UserIds& user_ids,
                       const http1::RequestHead& head, std::string_view client_ip, WallTime now) {
  Assignment out;
  const bool split = environment.split.has_value();
  const bool own =
      split && (!environment.split->cohort_cookie.empty() || !environment.split->cohort_header.empty());
  std::string_view user = own ? own_key(*environment.split, head) : std::string_view{};
  std::string_view counted = user;
  if (!own) {
    if (const auto value = cookie(head, route::kUserCookie); value && user_ids.made(*value)) {
      user = *value;
      counted = route::UserIds::origin(user);
    } else {
      out.new_cookie = user_ids.make(client_ip, now);
    }
  }
  if (!split) return out;
  if (user.empty()) user = out.new_cookie.empty() ? client_ip : std::string_view(out.new_cookie);
  out.side = side_of(environment, user);
  count_as(out, environment, counted.empty() ? client_ip : counted);
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
