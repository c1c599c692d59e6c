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

Result<LayerRemoval> Layers::remove(const std::vector<Digest>& layers, bool dry_run,
                                    const std::function<std::set<Digest>()>& in_use) {
  LayerRemoval removal;
  std::vector<fs::path> aside;
  {
    std::unique_lock alone(making_, std::try_to_lock);
    for (const auto deadline = std::chrono::steady_clock::now() + kPatience; !alone.owns_lock();) {
      if (std::chrono::steady_clock::now() > deadline)
        return fail(Code::busy, "containers or builds are being started all the time");
      std::this_thread::sleep_for(kPause);
      alone.try_lock();
    }
    const std::set<Digest> used = in_use();
    std::error_code error;
    for (const Digest& layer : layers) {
      const fs::path path = folder_ / std::string(layer.hex());
      if (!fs::is_directory(fs::symlink_status(path, error))) continue;
      if (used.contains(layer)) {
        removal.in_use.push_back(layer);
        continue;
      }
      removal.removed.push_back(layer);
      if (dry_run) {
        aside.push_back(path);
        continue;
      }
      aside.push_back(folder_ / fmt::format("{}gone-{}", image::kUnfinishedPrefix, secure_random_hex(8)));
      if (::rename(path.c_str(), aside.back().c_str()) != 0)
        return fail_errno(Code::system, "rename {}", path.string());
    }
  }
  for (const fs::path& path : aside) {
    removal.bytes += os::bytes_below(path);
    if (!dry_run) TRY(os::remove_tree(path));
  }
  return removal;
}

}  // namespace naru::launcher
