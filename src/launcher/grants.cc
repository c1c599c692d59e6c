#include "launcher/grants.h"

#include "base/log.h"
#include "model/json_text.h"
#include "os/file.h"
#include "os/mount_table.h"

namespace naru::launcher {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kMaxFile = 16U << 20;

Result<std::map<std::string, AppGrants>> read(const fs::path& file) {
  std::map<std::string, AppGrants> apps;
  const auto text = os::read_file(file, kMaxFile);
  if (!text && text.error().code == Code::not_found) return apps;
  if (!text) return std::unexpected(text.error());
  const Json json = TRY(parse_json(*text, file.string()));
  try {
    for (const Json& row : json.at("apps")) {
      auto grants = row.get<AppGrants>();
      const std::string app = grants.app;
      apps.emplace(app, std::move(grants));
    }
  } catch (const Json::exception& problem) {
    return fail(Code::malformed, "{}: {}", file.string(), problem.what());
  }
  return apps;
}

Result<std::vector<Grant>> parse(const std::vector<std::string>& texts) {
  if (texts.empty() || texts.size() > kMaxGrants)
    return fail(Code::invalid_argument, "{} grants at once; it takes 1 to {}", texts.size(), kMaxGrants);
  std::vector<Grant> grants;
  for (const std::string& text : texts) grants.push_back(TRY(parse_grant(text)));
  return grants;
}

std::string name_of(std::string_view by) {
  std::string name(by.substr(0, 64));
  for (char& c : name)
    if (static_cast<unsigned char>(c) <= ' ' || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  return name.empty() ? "root" : name;
}

}  // namespace

std::unique_ptr<Grants> Grants::open(fs::path data, const Clock& clock, MachineFolders folders) {
  std::unique_ptr<Grants> grants(new Grants(std::move(data), clock, std::move(folders)));
  std::error_code ignored;
  grants->canonical_ = fs::weakly_canonical(grants->data_, ignored);
  if (auto apps = read(grants->file()))
    grants->apps_ = std::move(*apps);
  else
    log_event(Level::error, "launcher.grants_lost", {{"error", apps.error().message()}});
  return grants;
}

Result<void> Grants::keep(std::map<std::string, AppGrants> apps) {
  Json rows = Json::array();
  for (const auto& [name, grants] : apps) rows.push_back(grants);
  const Json all{{"apps", std::move(rows)}};
  const std::string text = json_text(all, 1);
  if (text.size() > kMaxFile)  // it would not be read again
    return fail(Code::too_large, "the grants of all applications would be {} bytes; {} is the most",
                text.size(), kMaxFile);
  TRY(os::write_file_atomically(file(), text, {.durable = os::Durable::yes}));
  apps_ = std::move(apps);
  return {};
}

std::unexpected<Error> Grants::refuse_own(const Grant& grant) const {
  return std::unexpected(
      Error{Code::forbidden,
            fmt::format("{}: the data folder of Naru, {}, is no application's", grant.text(), data_.string()),
            0, "let the application have a folder of its own, below /srv say"});
}

// By the names that are known without asking a disk.
Result<void> Grants::check_name(const Grant& grant) const {
  if (grant.kind != GrantKind::bind) return {};
  for (const fs::path& name : {data_, canonical_})
    if (const auto own = machine_path(name.string()); own && folders_meet(grant.name, *own))
      return refuse_own(grant);
  return {};
}

// By whatever name, also of a disk that is mounted on several places: in Naru's own folder lie the variables
// of everybody, and the list of grants.
Result<void> Grants::check_place(const Grant& grant, const OpenedFolder& folder) const {
  const Fd own = TRY(os::open_folder(data_));
  const std::vector<os::Mount> mounts = TRY(os::mount_table());
  std::vector<os::Place> places{TRY(os::place_of(own.get(), mounts))};
  for (const os::Mount& mount : mounts)
    if (lies_in(mount.point, canonical_.string())) places.push_back({mount.device, mount.root});
  const os::Place asked = TRY(os::place_of(folder.fd.get(), mounts));
  for (const os::Place& place : places)
    if (place.device == asked.device && folders_meet(place.path, asked.path)) return refuse_own(grant);
  // One file system under two device numbers.
  for (fs::path around = canonical_; !around.empty(); around = around.parent_path()) {
    struct stat info{};
    if (::stat(around.c_str(), &info) == 0 && info.st_dev == folder.info.st_dev &&
        info.st_ino == folder.info.st_ino)
      return refuse_own(grant);
    if (around == around.parent_path()) break;
  }
  return {};
}

Result<OpenedFolder> Grants::open_folder(const Grant& grant) const {
  auto opened = folders_.open(grant.name);
  if (!opened) {
    opened.error().context = fmt::format("{}: {}", grant.text(), opened.error().context);
    return opened;
  }
  TRY(check_place(grant, *opened));
  return opened;
}

// State is never run twice; what several programs write needs one application that says who may.
Result<void> Grants::check_only_writer(const std::string& app, const Grant& grant) const {
  if (grant.kind != GrantKind::bind || !grant.writable) return {};
  for (const auto& [name, other] : apps_) {
    if (name == app) continue;
    for (const Grant& theirs : grants_in(other.grants))
      if (theirs.kind == GrantKind::bind && theirs.writable && folders_meet(theirs.name, grant.name))
        return std::unexpected(
            Error{Code::conflict,
                  fmt::format("{}: {} writes there already ({})", grant.text(), name, theirs.text()), 0,
                  fmt::format("let one of them read only: bind:{}; or take it back: naru app disallow {} {}",
                              grant.name, name, theirs.text())});
  }
  return {};
}

std::set<std::string> Grants::names_of(const std::string& app) const {
  const std::lock_guard lock(mutex_);
  std::set<std::string> names;
  if (const auto found = apps_.find(app); found != apps_.end())
    for (const GrantRecord& record : found->second.grants) names.insert(record.grant);
  return names;
}

Result<AppGrants> Grants::allow(const std::string& app, const std::vector<std::string>& texts,
                                const std::string& by) {
  const std::vector<Grant> wanted = TRY(parse(texts));
  const std::set<std::string> before = names_of(app);
  // Without the lock: a folder may let us wait, and every start asks for grants.
  for (const Grant& grant : wanted) {
    if (before.contains(grant.text()) || grant.kind != GrantKind::bind) continue;
    TRY(check_name(grant));
    TRY(open_folder(grant));
  }
  const std::lock_guard lock(mutex_);
  if (!apps_.contains(app) && apps_.size() >= kMaxApps)
    return fail(Code::too_large, "{} applications have grants; that is the most", kMaxApps);
  auto apps = apps_;
  AppGrants& its = apps[app];
  const WallTime now = clock_.wall();
  bool changed = false;
  for (const Grant& grant : wanted) {
    if (std::ranges::find(its.grants, grant.text(), &GrantRecord::grant) != its.grants.end()) continue;
    TRY(check_only_writer(app, grant));
    its.grants.push_back({grant.text(), name_of(by), now});
    changed = true;
  }
  if (its.grants.size() > kMaxGrants)
    return fail(Code::too_large, "{}: {} grants is the most", app, kMaxGrants);
  if (!changed) return its;
  its.app = app;
  its.by = name_of(by);
  its.changed = now;
  AppGrants answer = its;
  TRY(keep(std::move(apps)));
  return answer;
}

Result<AppGrants> Grants::disallow(const std::string& app, const std::vector<std::string>& texts,
                                   const std::string& by) {
  const std::lock_guard lock(mutex_);
  auto apps = apps_;
  const auto found = apps.find(app);
  for (const std::string& text : texts) {
    // As it was written down, though nobody would be given it any more.
    const auto parsed = parse_grant(text);
    const std::string written = parsed ? parsed->text() : text;
    if (found == apps.end() || std::erase_if(found->second.grants, [&](const GrantRecord& record) {
                                 return record.grant == written || record.grant == text;
                               }) == 0)
      return std::unexpected(Error{Code::not_found,
                                   fmt::format("{} is not allowed {}", app, text.substr(0, 80)), 0,
                                   fmt::format("see what it is allowed: naru app allow {}", app)});
  }
  if (texts.empty()) return fail(Code::invalid_argument, "there is nothing to take back");
  found->second.by = name_of(by);
  found->second.changed = clock_.wall();
  AppGrants answer = found->second;
  TRY(keep(std::move(apps)));
  return answer;
}

Result<void> Grants::drop(const std::string& app) {
  const std::lock_guard lock(mutex_);
  if (!apps_.contains(app)) return {};
  auto apps = apps_;
  apps.erase(app);
  return keep(std::move(apps));
}

std::vector<AppGrants> Grants::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<AppGrants> all;
  for (const auto& [name, grants] : apps_) all.push_back(grants);
  return all;
}

Result<void> Grants::check(const std::string& app, std::span<const Grant> needs) const {
  if (needs.empty()) return {};
  const std::lock_guard lock(mutex_);
  const auto found = apps_.find(app);
  const std::vector<Grant> given =
      found == apps_.end() ? std::vector<Grant>() : grants_in(found->second.grants);
  for (const Grant& need : needs) {
    // Canonical, so that what is mounted is what was looked at.
    if (need.kind == GrantKind::bind && machine_path(need.name) != need.name)
      return fail(Code::forbidden, "bind source '{}' is not a plain path", need.name.substr(0, 200));
    if (const std::string why = why_never(need); !why.empty())
      return std::unexpected(Error{Code::forbidden, fmt::format("{}: {}", need.text(), why), 0,
                                   "it can be granted to no application"});
    TRY(check_name(need));
    if (!is_covered(need, given))
      return std::unexpected(Error{Code::forbidden,
                                   fmt::format("{} is not allowed {}", app.empty() ? "it" : app, need.text()),
                                   0, fmt::format("on this machine, as root: {}", allow_command(app, need))});
  }
  return {};
}

}  // namespace naru::launcher
