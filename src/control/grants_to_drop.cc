#include "control/grants_to_drop.h"

#include "base/log.h"
#include "model/json_text.h"
#include "os/file.h"

namespace naru::control {

namespace {

constexpr std::size_t kMaxFile = 1U << 20;
constexpr std::size_t kMaxApps = 4096;

Result<std::map<std::string, bool>> read(const std::filesystem::path& file) {
  const auto text = os::read_file(file, kMaxFile);
  if (!text && text.error().code == Code::not_found) return std::map<std::string, bool>();
  if (!text) return std::unexpected(text.error());
  const Json json = TRY(parse_json(*text, file.string()));
  try {
    return json.get<std::map<std::string, bool>>();
  } catch (const Json::exception& problem) {
    return fail(Code::malformed, "{}: {}", file.string(), problem.what());
  }
}

}  // namespace

GrantsToDrop::GrantsToDrop(std::filesystem::path file, const Exists& exists, Drop drop)
    : file_(std::move(file)), drop_(std::move(drop)) {
  auto apps = read(file_);
  if (!apps) {
    log_event(Level::error, "control.grants_to_drop", {{"error", apps.error().message()}});
    return;
  }
  // Cut short in the middle of a removal: the state knows whether it happened.
  std::erase_if(*apps, [&](const auto& row) { return !row.second && exists(row.first); });
  for (auto& [app, gone] : *apps) gone = true;
  apps_ = std::move(*apps);
}

Result<void> GrantsToDrop::keep(std::map<std::string, bool> apps) {
  TRY(os::write_file_atomically(file_, json_text(apps), {.durable = os::Durable::yes}));
  apps_ = std::move(apps);
  return {};
}

Result<void> GrantsToDrop::begin(const std::string& app) {
  const std::lock_guard lock(mutex_);
  if (apps_.size() >= kMaxApps)
    return fail(Code::unavailable, "the launcher has not dropped what {} removed applications were allowed",
                apps_.size());
  auto apps = apps_;
  apps.emplace(app, false);
  return keep(std::move(apps));
}

void GrantsToDrop::end(const std::string& app, bool removed) {
  const std::lock_guard lock(mutex_);
  const auto found = apps_.find(app);
  if (found == apps_.end() || (found->second && !removed)) return;
  if (removed)
    found->second = true;
  else
    apps_.erase(found);
  if (auto kept = keep(apps_); !kept)  // the state knows it at the next start
    log_event(Level::warn, "control.grants_to_drop", {{"error", kept.error().message()}});
}

Result<void> GrantsToDrop::settle() {
  const std::lock_guard lock(mutex_);
  return settle_locked();
}

Result<void> GrantsToDrop::make_room(const std::string& app) {
  const std::lock_guard lock(mutex_);
  const auto found = apps_.find(app);
  if (found == apps_.end() || !found->second) return {};
  const auto settled = settle_locked();
  if (!apps_.contains(app)) return {};
  return std::unexpected(
      Error{Code::unavailable,
            fmt::format("what the operator allowed an earlier {} is not dropped yet: {}", app,
                        settled ? "the launcher was asked" : settled.error().message()),
            0, "try it again in a moment; `naru doctor` says how the launcher is"});
}

Result<void> GrantsToDrop::settle_locked() {
  const auto all = apps_;
  for (const auto& [app, gone] : all) {
    if (!gone) continue;
    TRY(drop_(app));
    auto apps = apps_;
    apps.erase(app);
    TRY(keep(std::move(apps)));
  }
  return {};
}

}  // namespace naru::control
