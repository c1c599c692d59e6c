#include "network/record.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "model/json_text.h"
#include "os/file.h"
#include "os/netlink.h"

namespace naru::network {

namespace {

constexpr std::uintmax_t kMaxFile = 4U << 20;

struct Leases {
  std::map<std::string, std::string> leases;
  std::map<std::string, Place> places;
  std::uint32_t next = 0;
};
NARU_JSON(Leases)

std::string path_of(const std::string& folder, const std::string& id) {
  return folder + "/" + id + ".json";
}
std::string leases_path_of(const std::string& folder, const std::string& id) {
  return folder + "/" + id + ".leases";
}

Result<void> sync_folder(const std::string& folder) {
  const Fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return fail_errno(Code::system, "fsync {}", folder);
  return {};
}

Result<Json> read_file(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::file_size(path, ignored) > kMaxFile)
    return fail(Code::too_large, "{}: more than {} bytes", path.string(), kMaxFile);
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return parse_json(text, path.string());
}

// A power cut may have left anything here; then no container runs that could hold an address.
void read_leases(const std::string& folder, Record& record) {
  const auto json = read_file(leases_path_of(folder, record.info.id));
  if (!json) return;
  try {
    Leases leases = json->get<Leases>();
    record.leases = std::move(leases.leases);
    record.places = std::move(leases.places);
    record.next = leases.next;
  } catch (const Json::exception&) {
    return;
  }
}

Result<Record> read_record(const std::filesystem::path& path) {
  const Json json = TRY(read_file(path));
  Record record;
  try {
    record = json.get<Record>();
  } catch (const Json::exception& problem) {
    return fail(Code::malformed, "{}: {}", path.string(), problem.what());
  }
  if (!valid_id(record.info.id) || path.filename() != record.info.id + ".json")
    return fail(Code::malformed, "{}: its id does not fit its name", path.string());
  TRY(os::Ipv4Prefix::parse(record.info.subnet));
  TRY(os::Ipv4Prefix::parse(record.info.virtual_range));
  TRY(os::parse_ipv4(record.info.gateway));
  return record;
}

}  // namespace

bool valid_id(std::string_view id) {
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (id.empty() || id.size() > 63 || !plain(id.front()) || id.find("..") != std::string_view::npos)
    return false;
  return std::ranges::all_of(id, [&](char c) { return plain(c) || c == '.' || c == '-'; });
}

Result<void> save_record(const std::string& folder, const Record& record) {
  return os::write_file_atomically(path_of(folder, record.info.id), json_text(record, 1),
                                   {.durable = os::Durable::yes});
}

Result<void> save_leases(const std::string& folder, const Record& record) {
  return os::write_file_atomically(leases_path_of(folder, record.info.id),
                                   json_text(Leases{record.leases, record.places, record.next}, 1));
}

Result<void> remove_record(const std::string& folder, const std::string& id) {
  for (const std::string& path : {leases_path_of(folder, id), path_of(folder, id)})
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno(Code::system, "unlink {}", path);
  return sync_folder(folder);
}

Result<LoadedRecords> load_records(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  LoadedRecords loaded;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".new" || entry.path().extension() == ".tmp")  // cut short
      ::unlink(entry.path().c_str());
    if (entry.path().extension() != ".json") continue;
    auto record = read_record(entry.path());
    if (record) {
      read_leases(folder, *record);
      loaded.records.emplace(record->info.id, std::move(*record));
      continue;
    }
    loaded.unreadable.push_back(record.error().message());
    std::error_code ignored;
    std::filesystem::rename(entry.path(), entry.path().string() + ".bad", ignored);
  }
  if (error) {
    errno = error.value();
    return fail_errno(Code::system, "read {}", folder);
  }
  return loaded;
}

std::optional<std::string> next_free_address(Record& record) {
  const auto subnet = os::Ipv4Prefix::parse(record.info.subnet);
  if (!subnet) return std::nullopt;
  std::set<std::string> taken{record.info.gateway};
  for (const auto& [container, address] : record.leases) taken.insert(address);
  const std::uint32_t count = subnet->last() - subnet->first() - 1;  // without network and broadcast address
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t offset = 1 + (record.next + i) % count;
    std::string address = os::ipv4_text(subnet->first() + offset);
    if (taken.contains(address)) continue;
    record.next = offset % count;
    return address;
  }
  return std::nullopt;
}

namespace {
NARU_JSON_FIELDS(Leases, leases, places, next)
}
NARU_JSON_FIELDS(Place, segments, internal)
NARU_JSON_FIELDS(Record, info, leases, places, next, udp_routes)
}  // namespace naru::network
