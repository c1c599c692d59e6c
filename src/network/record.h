// What is known of one network on disk: <data>/networks/<id>.json, and who holds which address beside it in
// <id>.leases. No container outlives the machine's restart, so leases need to survive the launcher, not a
// power cut: they are written without waiting for the disk, which would be in the way of every start.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "network/networks.h"

namespace naru::network {

// Of who has any: with whom it shares its network, and whether it is kept from the outside.
struct Place {
  std::vector<std::string> segments;  // empty = "default"
  bool internal = false;
  bool operator==(const Place&) const = default;
};
NARU_JSON(Place)

struct Record {
  NetworkInfo info;
  std::map<std::string, std::string> leases;  // container id -> address
  std::map<std::string, Place> places;        // of containers that hold one; none: on "default"
  std::uint32_t next = 0;                     // where the search for a free address goes on: no quick reuse
  UdpRoutes udp_routes;
};
NARU_JSON(Record)

// Replaces the file atomically (temporary file, fsync, rename, fsync of the folder). disk_full, system.
Result<void> save_record(const std::string& folder, const Record& record);
// `leases`, `places` and `next` alone, atomically but not durably. They go before those of the record's own
// file, which counts when this one is missing or damaged. disk_full, system.
Result<void> save_leases(const std::string& folder, const Record& record);
Result<void> remove_record(const std::string& folder, const std::string& id);

struct LoadedRecords {
  std::map<std::string, Record> records;  // by network id
  std::vector<std::string> unreadable;    // files set aside as <name>.bad
};
Result<LoadedRecords> load_records(const std::string& folder);

// Ids of networks and containers: [a-z0-9][a-z0-9.-]{0,62}, without "..". They become names of files.
bool valid_id(std::string_view id);

// A free address of the subnet, none when all are taken. Moves `record.next`.
std::optional<std::string> next_free_address(Record& record);

}  // namespace naru::network
