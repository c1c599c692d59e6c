// A route table compiled for look-ups. Immutable: threads share it freely.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/route_table.h"
#include "route/bounds.h"
#include "route/cohort.h"
#include "route/user_ids.h"

namespace naru::route {

// IPv4 in host byte order; malformed when it is not four decimal numbers.
Result<std::uint32_t> parse_ipv4(std::string_view text);

struct Target {
  std::string instance;
  std::uint32_t address = 0;  // host byte order
};

struct Pool {
  std::uint64_t release = 0;
  std::uint32_t slot = 0;
  std::vector<Target> targets;  // ready ones
};

struct Environment;

struct Service {
  const Environment* environment = nullptr;
  std::string name;
  std::string label;  // "shop/web", or "shop/web (staging)" outside production: for people
  std::uint32_t virtual_address = 0;
  std::vector<ServicePort> ports;
  Pool stable;
  std::optional<Pool> canary;
  bool hold = false;

  // Who answers this side's users: an unchanged service has one pool for both.
  const Pool& pool(Side side) const { return side == Side::canary && canary ? *canary : stable; }
  // The port that answers by Host: the first that speaks HTTP or may; 0 when there is none.
  std::uint16_t http_port() const;
  // "" (detect) for a port that is not listed.
  std::string_view protocol_of(std::uint16_t port) const;
};

// Where an inner call comes from.
struct CallerView {
  const Service* service = nullptr;                  // none: not in the table, or its service left
  std::optional<Side> side;                          // none: it serves both cohorts, or there is no rollout
  bool known = false;                                // in the table
  std::optional<std::uint32_t> reach, canary_reach;  // of Environment::reaches_of; none: everything
};

// What somebody may reach, by the networks of the services.
struct ReachView {
  std::vector<bool> services;  // beside Environment::services
  bool outside = true;
};

struct Environment {
  std::string app, name, network;
  std::optional<Split> split;
  std::optional<CohortHash> cohort;  // of the split's salt
  std::vector<Service> services;

  const Service* find(std::string_view service) const;
  const Service* by_virtual_address(std::uint32_t address) const;
  CallerView caller(std::uint32_t address) const;
  // In a call for a user of that side; for either. Nobody whom the table does not know reaches anything.
  bool reaches(const CallerView& caller, const Service& service, Side side) const;
  bool reaches(const CallerView& caller, const Service& service) const {
    return reaches(caller, service, Side::stable) || reaches(caller, service, Side::canary);
  }
  bool reaches_outside(const CallerView& caller) const;

  std::unordered_map<std::uint32_t, std::uint32_t> virtual_index;  // address -> services[i]
  std::unordered_map<std::uint32_t, CallerView> callers;
  std::vector<ReachView> reaches_of;
};

struct HostPort {
  const Environment* environment = nullptr;
  const Service* service = nullptr;  // none: the table names a service that it does not have
  std::string service_name;
  std::uint16_t port = 0;
};

class Snapshot {
 public:
  // What cannot be routed (a bad address, a weight above 10,000, a name twice, a bound exceeded) is left out
  // with its whole environment, never with another one.
  static std::shared_ptr<const Snapshot> compile(const RouteTable& table);

  // A sentence for each environment and host port that was left out.
  const std::vector<std::string>& left_out() const { return left_out_; }
  std::uint64_t revision() const { return revision_; }
  const UserIds& user_ids() const { return user_ids_; }
  // "<service>.<env>.<app>.localhost", any case, with or without ":port" and a final dot. Null: unknown.
  const Service* by_host(std::string_view host) const;
  const HostPort* by_listener(std::string_view listener) const;
  const Environment* by_network(std::string_view network) const;
  // Of every endpoint, sorted.
  const std::vector<std::uint32_t>& addresses() const { return addresses_; }
  // What the 404 page lists: at most `limit` host names.
  std::vector<std::string> hosts(std::size_t limit) const;

  Snapshot() = default;
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };
  template <class T>
  using Index = std::unordered_map<std::string, T, Hash, std::equal_to<>>;

  Result<void> add(const EnvironmentRoute& route, Index<const Environment*>& by_name);
  Result<void> add(const HostPortRoute& route, const Index<const Environment*>& by_name);

  std::uint64_t revision_ = 0;
  UserIds user_ids_{""};
  std::vector<std::string> left_out_;
  std::vector<std::unique_ptr<Environment>> environments_;
  Index<const Service*> hosts_;
  Index<HostPort> listeners_;
  Index<const Environment*> networks_;
  std::vector<std::uint32_t> addresses_;
};

}  // namespace naru::route
