// Everything the gateway needs to route, as one immutable snapshot. Control sends whole tables with a rising
// revision; the gateway swaps them atomically, acknowledges, and keeps the last one on disk.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/json.h"

namespace naru {

struct Endpoint {
  std::string instance;  // for logs and telemetry
  std::string address;   // IPv4 of the container
};
NARU_JSON(Endpoint)

// One release's instances of one service.
struct RouteSide {
  std::uint64_t release = 0;
  std::uint32_t slot = 0;           // telemetry slot of (service, revision); assigned by control
  std::vector<Endpoint> endpoints;  // ready ones only
};
NARU_JSON(RouteSide)

struct ServicePort {
  std::uint16_t port = 0;    // in the container and on the virtual address
  std::string app_protocol;  // "http", "tcp", "" = detect
};
NARU_JSON(ServicePort)

struct ServiceRoute {
  std::string name;
  std::string virtual_address;  // IPv4
  std::vector<ServicePort> ports;
  RouteSide stable;
  std::optional<RouteSide> canary;  // none: unchanged in this rollout, both cohorts use `stable`
  bool hold = false;                // being swapped or started: requests wait in the gateway
};
NARU_JSON(ServiceRoute)

// A rollout in progress: which users meet the new release.
struct Split {
  std::uint64_t rollout = 0;
  std::uint64_t stable_release = 0, canary_release = 0;
  std::string salt;                 // hashed with the user's key
  BasisPoints weight;               // of users, 0..10,000
  std::uint32_t evidence_slot = 0;  // users' bitmaps and counts of this step; a step has a fresh, zeroed slot
  std::int64_t slow_us = 0;         // a request slower than this counts its user as slow; 0 = not yet fixed
  std::string cohort_cookie, cohort_header;  // "" = the gateway's own cookie
  std::uint32_t step{};                      // whose slot it is: the rollout's step
};
NARU_JSON(Split)

// An instance as a caller: inner calls from its address belong to its release.
struct Caller {
  std::string address;
  std::string service;
  std::uint64_t release = 0;
  // What it reaches, an index of `reaches`: for those who meet the old release, and in calls for users of the
  // new one. None: everything.
  std::optional<std::uint32_t> reach{}, canary_reach{};
};
NARU_JSON(Caller)

// By the networks of a compose file.
struct Reach {
  std::vector<std::string> services;
  bool outside = true;  // names that are not ours are asked for elsewhere
  bool operator==(const Reach&) const = default;
};
NARU_JSON(Reach)

struct EnvironmentRoute {
  std::string app, environment;
  std::string network;  // NetworkInfo::id; its inner listener and DNS socket serve this environment
  std::optional<Split> split;
  std::vector<ServiceRoute> services;
  std::vector<Caller> callers;   // who is not here (yet) reaches nothing
  std::vector<Reach> reaches{};  // only where the networks separate anything
};
NARU_JSON(EnvironmentRoute)

struct HostPortRoute {
  std::string listener;  // name of the inherited socket
  std::string app, environment, service;
  std::uint16_t port = 0;  // of the service
};
NARU_JSON(HostPortRoute)

struct RouteTable {
  std::uint64_t revision = 0;
  std::vector<EnvironmentRoute> environments;
  std::vector<HostPortRoute> host_ports;
  std::string user_key{};  // of route/user_ids.h: nobody may learn it, and it never changes
};
NARU_JSON(RouteTable)

enum class ListenerKind { http, tcp, inner, dns_udp, dns_tcp };
NARU_JSON(ListenerKind)

// A socket that the supervisor opens, keeps, and hands to the gateway.
//   http   "edge": every environment, by Host; a host port uses kind tcp (HTTP by detection)
//   inner, dns_*: named "<kind>:<network id>", on the network's gateway address
struct ListenerSpec {
  std::string name;
  ListenerKind kind = ListenerKind::http;
  std::string address;  // "" = every address, IPv4 and IPv6
  std::uint16_t port = 0;
  bool operator==(const ListenerSpec&) const = default;
};
NARU_JSON(ListenerSpec)

}  // namespace naru
