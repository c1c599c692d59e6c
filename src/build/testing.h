// A tiny world for the builder's tests: a checkout on disk, a bench and an image store in memory.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>

#include "build/builder.h"

namespace naru::build::testing {

namespace fs = std::filesystem;

class TempFolder {
 public:
  TempFolder() {
    std::string name = (fs::temp_directory_path() / "naru-build-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }
  void write(const std::string& name, std::string_view text, fs::perms mode = fs::perms(0644)) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << text;
    fs::permissions(path_ / name, mode);
  }
  std::string read(const std::string& name) const {
    std::ifstream in(path_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  fs::path path_;
};

// A layer's digest is made from what the step did and stood on, so equal steps give equal layers.
class MemoryBench final : public Workbench {
 public:
  std::function<Result<RunResult>(const RunRequest&, const OutputCallback&, std::stop_token)> on_run;
  std::function<Result<void>(const CopyRequest&)> on_copy;
  std::vector<std::string> log;  // "run make", "copy . /src/"
  std::set<std::string> open;
  std::vector<std::string> begun;
  std::set<Digest> unpacked;
  std::set<std::string> changes_nothing;  // commands whose commit is empty

  Result<void> unpack(const LayerRef& layer) override {
    const std::lock_guard lock(mutex_);
    unpacked.insert(layer.diff_id);
    return {};
  }
  Result<void> begin(const BeginRequest& request) override {
    const std::lock_guard lock(mutex_);
    for (const Digest& layer : request.layers)
      if (!unpacked.contains(layer))
        return fail(Code::internal, "the layer {} is not unpacked", layer.text());
    if (!open.insert(request.build).second) return fail(Code::conflict, "{} is open", request.build);
    begun.push_back(request.build);
    what_[request.build] = fmt::format("on {}", request.layers.size());
    for (const Digest& layer : request.layers) what_[request.build] += layer.text();
    return {};
  }
  Result<RunResult> run(const RunRequest& request, const OutputCallback& output,
                        std::stop_token stop) override {
    note(request.build, fmt::format("run {}", request.argv.back()));
    if (on_run) return on_run(request, output, stop);
    return RunResult{};
  }
  Result<void> copy(const CopyRequest& request, std::stop_token) override {
    note(request.build, fmt::format("copy {} {}{}", fmt::join(request.sources, " "), request.dest,
                                    request.from.layers.empty() ? "" : " from layers"));
    if (on_copy) return on_copy(request);
    return {};
  }
  Result<CommitResult> commit(const std::string& build) override {
    const std::lock_guard lock(mutex_);
    open.erase(build);
    for (const std::string& command : changes_nothing)
      if (what_[build].ends_with(command)) return CommitResult{{}, true};
    const Digest diff = Digest::of_sha256(what_[build]);
    unpacked.insert(diff);
    const Digest blob = Digest::of_sha256("blob" + diff.text());
    blobs.insert(blob);
    return CommitResult{{blob, diff, std::string(format::kOciLayerGzip), 100}, false};
  }
  void discard(const std::string& build) noexcept override {
    const std::lock_guard lock(mutex_);
    open.erase(build);
  }
  std::set<Digest> blobs;

 private:
  void note(const std::string& build, const std::string& what) {
    const std::lock_guard lock(mutex_);
    log.push_back(what);
    what_[build] += "\n" + what;
  }
  std::mutex mutex_;
  std::map<std::string, std::string> what_;
};

class MemoryImages final : public Images {
 public:
  explicit MemoryImages(MemoryBench& bench) : bench_(bench) {}
  std::map<std::string, image::Image> images;

  void add(const std::string& reference, std::vector<std::string> env = {"PATH=/usr/bin:/bin"}) {
    image::Image image;
    const Digest diff = Digest::of_sha256(reference);
    image.layers = {
        {Digest::of_sha256("blob" + diff.text()), diff, std::string(format::kOciLayerGzip), 1000}};
    image.config.env = std::move(env);
    image.config.cmd = {"bash"};
    image.config.diff_ids = {diff};
    bench_.blobs.insert(image.layers[0].blob);
    images[format::ImageReference::parse(reference)->text()] = image;
  }
  Result<image::Image> resolve(const format::ImageReference& reference, const Progress&,
                               std::stop_token) override {
    const auto at = images.find(reference.text());
    if (at == images.end())
      return fail(Code::base_image_missing, "the image {} is not here", reference.familiar());
    return at->second;
  }
  bool has_blob(const Digest& blob) override { return bench_.blobs.contains(blob); }
  Result<image::Image> put(const format::ImageConfig& config,
                           const std::vector<image::Layer>& layers) override {
    image::Image image{{}, {}, config, layers};
    image.config.diff_ids.clear();
    for (const image::Layer& layer : layers) image.config.diff_ids.push_back(layer.diff_id);
    image.config_digest = Digest::of_sha256(format::write_config(image.config));
    image.manifest = Digest::of_sha256("manifest of " + image.config_digest.text());
    return image;
  }

 private:
  MemoryBench& bench_;
};

}  // namespace naru::build::testing
