#include "launcher/layers.h"

#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/rng.h"
#include "image/unpack.h"
#include "os/disk_use.h"
#include "os/file.h"

namespace naru::launcher {

namespace fs = std::filesystem;

namespace {
constexpr milliseconds kPatience{5'000}, kPause{20};
const std::string kGone = std::string(image::kUnfinishedPrefix) + "gone-";
}  // namespace

Result<std::vector<Digest>> Layers::list() const {
  std::vector<Digest> layers;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error))
    if (auto digest = Digest::parse("sha256:" + entry.path().filename().string()))
      layers.push_back(std::move(*digest));
  if (error) return std::unexpected(Error{Code::system, "list " + folder_.string(), error.value(), {}});
  std::ranges::sort(layers);
  return layers;
}

Result<std::unique_lock<std::shared_mutex>> Layers::alone() {
  std::unique_lock lock(making_, std::try_to_lock);
  for (const auto deadline = std::chrono::steady_clock::now() + kPatience; !lock.owns_lock();) {
    if (std::chrono::steady_clock::now() > deadline)
      return fail(Code::busy, "containers or builds are being started all the time");
    std::this_thread::sleep_for(kPause);
    lock.try_lock();
  }
  return lock;
}

Result<LayerRemoval> Layers::remove(const std::vector<Digest>& layers, bool dry_run,
                                    const std::function<std::set<Digest>()>& in_use) {
  const auto lock = TRY(alone());
  const std::set<Digest> used = in_use();
  LayerRemoval removal;
  std::error_code error;
  for (const Digest& layer : layers) {
    const fs::path path = path_of(layer);
    if (!fs::is_directory(fs::symlink_status(path, error))) continue;
    if (used.contains(layer)) {
      removal.in_use.push_back(layer);
      continue;
    }
    const fs::path aside = folder_ / (kGone + secure_random_hex(8));
    if (!dry_run && ::rename(path.c_str(), aside.c_str()) != 0)
      return fail_errno(Code::system, "rename {}", path.string());
    removal.removed.push_back(layer);
  }
  return removal;
}

Result<std::uint64_t> Layers::sweep() {
  const std::lock_guard one_at_a_time(sweeping_);
  std::vector<fs::path> aside;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error))
    if (entry.path().filename().string().starts_with(kGone)) aside.push_back(entry.path());
  if (error) return std::unexpected(Error{Code::system, "list " + folder_.string(), error.value(), {}});
  std::uint64_t bytes = 0;
  for (const fs::path& path : aside) {
    bytes += os::bytes_below(path);
    TRY(os::remove_tree(path));
  }
  return bytes;
}

std::uint64_t Layers::bytes_of(const std::vector<Digest>& layers) const {
  std::uint64_t bytes = 0;
  for (const Digest& layer : layers) bytes += os::bytes_below(path_of(layer));
  return bytes;
}

}  // namespace naru::launcher
