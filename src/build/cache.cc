#include "build/cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <sstream>

#include "base/fd.h"
#include "base/rng.h"
#include "model/json_text.h"

namespace naru::build {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kMaxRecordBytes = 8 << 20;

fs::path record_path(const fs::path& folder, std::string_view kind, std::string_view hex) {
  return folder / kind / (std::string(hex) + ".json");
}

// The modification time of a record is the time of its last use.
void touch(const fs::path& path) {
  ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
}

WallTime last_use(const fs::path& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return {};
  return WallTime(milliseconds(info.st_mtim.tv_sec * 1000LL + info.st_mtim.tv_nsec / 1'000'000));
}

std::vector<fs::path> records(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (entry.path().extension() == ".json") paths.push_back(entry.path());
  return paths;
}

// What a kill left of a record being written.
void remove_unfinished(const fs::path& folder, WallTime now) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (entry.path().extension() == ".tmp" && now - last_use(entry.path()) > 1h)
      ::unlink(entry.path().c_str());
}

}  // namespace

Result<StepCache> StepCache::open(fs::path folder) {
  for (const char* kind : {"steps", "slots", "stages"}) {
    std::error_code error;
    fs::create_directories(folder / kind, error);
    if (error)
      return fail(Code::system, "making the build cache {}: {}", (folder / kind).string(), error.message());
  }
  return StepCache(std::move(folder));
}

Result<void> StepCache::write(const fs::path& path, const Json& json) const {
  const std::string bytes = json_text(json);
  const fs::path temp = fs::path(path).replace_extension("." + secure_random_hex(8) + ".tmp");
  Fd file(::open(temp.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) return fail_errno(Code::system, "writing {}", temp.string());
  // No fsync: a record that a power cut damages reads as none.
  const bool written = ::write(file.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
  const bool full = errno == ENOSPC;
  file.reset();
  if (!written || ::rename(temp.c_str(), path.c_str()) != 0) {
    auto error = fail_errno(full ? Code::disk_full : Code::system, "writing {}", path.string());
    ::unlink(temp.c_str());
    return error;
  }
  return {};
}

std::optional<Json> StepCache::read(const fs::path& path) const {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return std::nullopt;
  std::string bytes;
  std::array<char, 16384> buffer{};
  for (ssize_t n = 0; (n = ::read(file.get(), buffer.data(), buffer.size())) > 0;) {
    bytes.append(buffer.data(), static_cast<std::size_t>(n));
    if (bytes.size() > kMaxRecordBytes) return std::nullopt;
  }
  Json json = Json::parse(bytes, nullptr, false);
  if (json.is_discarded()) return std::nullopt;
  return json;
}

std::optional<StepCache::Record> StepCache::find(const Digest& key) const {
  const fs::path path = record_path(folder_, "steps", key.hex());
  const auto json = read(path);
  if (!json || !json->is_object()) return std::nullopt;
  try {
    auto record = json->get<Record>();
    if (!record.empty && (record.layer.blob.empty() || record.layer.diff_id.empty())) return std::nullopt;
    touch(path);
    return record;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

Result<void> StepCache::put(const Digest& key, const Record& record) const {
  return write(record_path(folder_, "steps", key.hex()), Json(record));
}

Result<StepCache::Claim> StepCache::claim(const Digest& key, std::stop_token stop) const {
  std::unique_lock lock(running_->mutex);
  if (!running_->changed.wait(lock, stop, [&] { return !running_->keys.contains(key); }))
    return fail(Code::build_cancelled, "the build was cancelled");
  running_->keys.insert(key);
  return Claim(this, key);
}

StepCache::Claim::~Claim() {
  if (cache_ == nullptr) return;
  const std::lock_guard lock(cache_->running_->mutex);
  cache_->running_->keys.erase(key_);
  cache_->running_->changed.notify_all();
}

void StepCache::forget(const Digest& key) const {
  ::unlink(record_path(folder_, "steps", key.hex()).c_str());
}

std::optional<std::vector<KeyPart>> StepCache::last_parts(std::string_view slot) const {
  const auto json = read(record_path(folder_, "slots", Digest::of_sha256(slot).hex()));
  if (!json) return std::nullopt;
  try {
    return json->get<std::vector<KeyPart>>();
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

std::vector<KeyPart> StepCache::stored_form(std::vector<KeyPart> parts) {
  if (parts.size() > kMaxPartsKept) {
    const Digest all = key_of(parts);
    parts.resize(16);
    parts.push_back({"the files", all.text()});
  }
  // Values may be secrets given as arguments: a digest tells a change as well.
  for (KeyPart& part : parts) part.value = Digest::of_sha256(part.value).short_hex();
  return parts;
}

Result<void> StepCache::remember_parts(std::string_view slot, const std::vector<KeyPart>& parts) const {
  return write(record_path(folder_, "slots", Digest::of_sha256(slot).hex()), Json(stored_form(parts)));
}

Result<void> StepCache::keep_stage(const Digest& key, const Digest& manifest) const {
  return write(record_path(folder_, "stages", key.hex()), Json{{"manifest", manifest}});
}

std::vector<Digest> StepCache::kept_manifests(WallTime now, milliseconds age) const {
  std::vector<Digest> manifests;
  for (const fs::path& path : records(folder_ / "stages")) {
    if (now - last_use(path) > age) continue;
    const auto json = read(path);
    if (!json || !json->is_object() || !json->contains("manifest") || !(*json)["manifest"].is_string())
      continue;
    if (auto digest = Digest::parse((*json)["manifest"].get<std::string>()))
      manifests.push_back(std::move(*digest));
  }
  std::ranges::sort(manifests);
  return manifests;
}

void StepCache::touch_stage(const Digest& key) const {
  touch(record_path(folder_, "stages", key.hex()));
}

// Of a step's layer; nothing when an earlier record had the same one.
std::uint64_t StepCache::layer_bytes(const fs::path& path, std::set<Digest>& counted) const {
  const auto json = read(path);
  if (!json || !json->is_object()) return 0;
  try {
    const auto record = json->get<Record>();
    return !record.empty && counted.insert(record.layer.blob).second ? record.layer.size : 0;
  } catch (const Json::exception&) {
    return 0;
  }
}

std::size_t StepCache::trim(WallTime now, const Bound& bound, bool dry_run) const {
  WallTime oldest = now - bound.age;
  std::size_t removed = 0;
  // Steps first: a stage that was used before every step that stays would keep the layers of those that go.
  for (const std::string_view kind : {"steps", "stages", "slots"}) {
    std::vector<std::pair<WallTime, fs::path>> aged;
    for (fs::path& path : records(folder_ / kind)) {
      const WallTime used = last_use(path);
      aged.emplace_back(used, std::move(path));
    }
    std::ranges::sort(aged, std::greater{});
    if (!dry_run) remove_unfinished(folder_ / kind, now);
    std::uint64_t bytes = 0;
    std::set<Digest> counted;
    std::size_t kept = 0;
    for (; kept < aged.size() && kept < bound.records && aged[kept].first >= oldest; ++kept) {
      if (kind != "steps") continue;
      bytes += layer_bytes(aged[kept].second, counted);
      if (bytes > bound.bytes) break;
    }
    if (kind == "steps" && bytes > bound.bytes) oldest = kept == 0 ? now : aged[kept - 1].first;
    removed += aged.size() - kept;
    for (std::size_t i = kept; i < aged.size() && !dry_run; ++i) ::unlink(aged[i].second.c_str());
  }
  return removed;
}

NARU_JSON_FIELDS(StepCache::Record, empty, layer)
}  // namespace naru::build
