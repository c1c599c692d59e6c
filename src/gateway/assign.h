// Who a request belongs to, and which release it meets. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "format/http1.h"
#include "ipc/telemetry.h"
#include "route/snapshot.h"

namespace naru::gateway {

namespace http1 = format::http1;

inline constexpr std::string_view kCohortKey = "naru-cohort";  // baggage: "<rollout>:<side>"

struct Assignment {
  route::Side side = route::Side::stable;
  bool evidence = false;             // counts for the verdict
  std::uint32_t bucket = 0;          // of the user who is counted
  std::string new_cookie;            // to be set on the answer; "" = none
  bool split_by_connection = false;  // inner: it carried no cohort
};

// Where what its users meet is counted.
inline ipc::StepEvidence evidence_of(const Split& split) {
  return ipc::evidence_of_step(split.evidence_slot, split.rollout, split.step);
}

// Who sent a request that came over the edge.
struct Visitor {
  std::string_view ip;
  bool https = false;
};
// The peer, unless it is on this machine: a proxy here says for whom it asks, in the last address of its
// X-Forwarded-For, which it added itself, and in X-Forwarded-Proto.
Visitor visitor_of(const http1::RequestHead& head, std::string_view peer_ip, bool peer_is_here);
// Surely somebody at this machine: the peer is here, and does not say that it asks for another.
bool asks_from_here(const http1::RequestHead& head, const Visitor& visitor, bool peer_is_here);

// At the edge: the user's cookie (or what the application chose instead), else a new cookie, which routes at
// once but is counted under the client's address until it comes back.
Assignment assign_edge(const route::Environment& environment, const route::UserIds& user_ids,
                       const http1::RequestHead& head, std::string_view client_ip, WallTime now);

// Between services: baggage, else the caller's release, else a draw of 0..9,999 that the connection keeps.
Assignment assign_inner(const route::Environment& environment, const http1::RequestHead& head,
                        const route::CallerView& caller, std::uint32_t draw);
Assignment assign_inner_connection(const route::Environment& environment, const route::CallerView& caller,
                                   std::uint32_t draw);

// A TCP connection at the edge: the user is the client's address.
Assignment assign_edge_connection(const route::Environment& environment, std::string_view client_ip);

// Calls each(member) for the comma-separated members of a baggage field (W3C Baggage 3.3.1).
template <class Each>
void for_each_baggage(std::string_view field, Each each) {
  while (!field.empty()) {
    const std::size_t comma = std::min(field.find(','), field.size());
    std::string_view member = field.substr(0, comma);
    field.remove_prefix(std::min(field.size(), comma + 1));
    while (!member.empty() && (member.front() == ' ' || member.front() == '\t')) member.remove_prefix(1);
    while (!member.empty() && (member.back() == ' ' || member.back() == '\t')) member.remove_suffix(1);
    if (!member.empty()) each(member);
  }
}

}  // namespace naru::gateway
