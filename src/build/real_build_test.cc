// The builder over a real image store, real overlays and the real copy, commit and unpack functions: all but
// the container.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "build/builder.h"
#include "build/copy.h"
#include "build/store_images.h"
#include "build/testing.h"
#include "image/diff.h"
#include "image/unpack.h"

namespace naru::build {
namespace {

using testing::TempFolder;
namespace fs = std::filesystem;

// What the launcher does, in one process and without confinement.
class OverlayBench final : public Workbench {
 public:
  OverlayBench(const fs::path& folder, const image::Store& store, const fs::path& checkouts)
      : folder_(folder), store_(store), checkouts_(checkouts) {
    fs::create_directories(folder_ / "layers/none");
  }
  ~OverlayBench() override {
    for (const fs::path& mounted : mounts_) ::umount2(mounted.c_str(), MNT_DETACH);
  }
  Result<void> unpack(const LayerRef& layer) override {
    const Fd blob = TRY(store_.open_blob(layer.blob));
    TRY(image::unpack_layer(blob.get(), layer.media_type, layer.diff_id,
                            folder_ / "layers" / std::string(layer.diff_id.hex())));
    return {};
  }
  Result<void> begin(const BeginRequest& request) override {
    for (const char* part : {"upper", "work", "root"}) fs::create_directories(folder_ / request.build / part);
    return mount(request.build, request.layers);
  }
  Result<RunResult> run(const RunRequest&, const OutputCallback&, std::stop_token) override {
    return fail(Code::unsupported, "no containers here");
  }
  Result<void> copy(const CopyRequest& request, std::stop_token) override {
    const fs::path from = request.from.layers.empty()
                              ? checkouts_ / request.from.checkout
                              : folder_ / "layers" / std::string(request.from.layers.back().hex());
    const Fd source(::open(from.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    const Fd root(::open((folder_ / request.build / "root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    TRY(copy_into(source.get(), root.get(), request));
    return {};
  }
  Result<CommitResult> commit(const std::string& build) override {
    unmount(build);
    if (fs::is_empty(folder_ / build / "upper")) return CommitResult{{}, true};
    const auto report = TRY(image::commit_layer_to_layout(folder_ / build / "upper", store_.root()));
    const LayerRef layer{report.blob, report.diff_id, report.media_type, report.size};
    TRY(unpack(layer));  // the builder counts on it
    return CommitResult{layer, false};
  }
  void discard(const std::string& build) noexcept override { unmount(build); }

 private:
  Result<void> mount(const std::string& build, const std::vector<Digest>& layers) {
    std::vector<std::string> lower;
    for (auto at = layers.rbegin(); at != layers.rend(); ++at) {
      lower.push_back((folder_ / "layers" / std::string(at->hex())).string());
    }
    if (lower.empty()) lower.push_back((folder_ / "layers/none").string());
    const fs::path bench = folder_ / build;
    const std::string options = fmt::format("lowerdir={},upperdir={},workdir={}", fmt::join(lower, ":"),
                                            (bench / "upper").string(), (bench / "work").string());
    if (::mount("overlay", (bench / "root").c_str(), "overlay", 0, options.c_str()) != 0)
      return fail_errno(Code::system, "mount {}", options);
    mounts_.insert(bench / "root");
    return {};
  }
  void unmount(const std::string& build) {
    if (mounts_.erase(folder_ / build / "root") != 0)
      ::umount2((folder_ / build / "root").c_str(), MNT_DETACH);
  }
  fs::path folder_;
  image::Store store_;
  fs::path checkouts_;
  std::set<fs::path> mounts_;
};

TEST(RealBuild, MakesAnImageThatTheStoreAndOthersRead) {
  TempFolder data, checkouts;
  checkouts.write(
      "shop/c1/web/Dockerfile",
      "FROM scratch AS files\nWORKDIR /srv\nCOPY --chmod=0640 page.html static/ ./\nFROM scratch\n"
      "COPY --from=files --chown=7:8 /srv/page.html /www/index.html\nENV PORT=80\nCMD [\"/serve\"]\n");
  checkouts.write("shop/c1/web/page.html", "hello");
  checkouts.write("shop/c1/web/static/a.css", "x");
  const auto store = image::Store::open(data.path() / "images");
  ASSERT_TRUE(store) << store.error().context;
  OverlayBench bench(data.path() / "bench", *store, checkouts.path());
  StoreImages images(*store, {});
  const auto cache = StepCache::open(data.path() / "cache");
  SystemClock clock;
  BuildRequest request;
  request.id = "r1";
  request.name = "web";
  request.checkout = checkouts.path() / "shop/c1";
  request.checkout_path = "shop/c1";
  request.context = "web";
  const Builder builder(bench, images, *cache, clock);
  const auto built = builder.build(request, {});
  ASSERT_TRUE(built) << built.error().message();
  const auto again = builder.build(request, {});
  ASSERT_TRUE(again && again->cached);
  EXPECT_EQ(again->manifest, built->manifest);

  const auto reference = *format::ImageReference::parse("shop/web:1");
  ASSERT_TRUE(store->tag(reference, built->manifest));
  const auto image = store->resolve(reference);
  ASSERT_TRUE(image);
  ASSERT_EQ(image->layers.size(), 1U);
  EXPECT_EQ(image->config.env_value("PORT"), "80");

  // What a container would see.
  const fs::path root = data.path() / "unpacked";
  const Fd blob = *store->open_blob(image->layers[0].blob);
  ASSERT_TRUE(image::unpack_layer(blob.get(), image->layers[0].media_type, image->layers[0].diff_id, root));
  struct stat info{};
  ASSERT_EQ(::stat((root / "www/index.html").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0640U);
  EXPECT_EQ(info.st_uid, 7U);
  EXPECT_EQ(info.st_gid, 8U);

  // Garbage collection with what the cache keeps leaves the inner stage's layers alone.
  ASSERT_TRUE(store->collect_garbage(
      {.grace = 0ms, .keep = cache->kept_manifests(clock.wall(), 1h), .now = clock.wall() + 1h}));
  checkouts.write("shop/c1/web/Dockerfile",
                  "FROM scratch AS files\nWORKDIR /srv\nCOPY --chmod=0640 page.html static/ ./\n");
  const auto inner = builder.build(request, {});
  ASSERT_TRUE(inner);
  EXPECT_TRUE(inner->cached);
}

TEST(RealBuild, NamesABaseImageThatIsNotInTheStore) {
  TempFolder data, checkouts;
  checkouts.write("shop/c1/Dockerfile", "FROM nothing:1\n");
  const auto store = image::Store::open(data.path() / "images");
  OverlayBench bench(data.path() / "bench", *store, checkouts.path());
  const auto cache = StepCache::open(data.path() / "cache");
  SystemClock clock;
  BuildRequest request;
  request.id = request.name = "x";
  request.checkout = checkouts.path() / "shop/c1";
  request.checkout_path = "shop/c1";
  StoreImages local(*store, {});
  EXPECT_EQ(Builder(bench, local, *cache, clock).build(request, {}).error().code, Code::base_image_missing);
  StoreImages pulling(
      *store,
      [](const format::ImageReference&, const Images::Progress&, std::stop_token) -> Result<image::Image> {
        return fail(Code::timeout, "registry.example does not answer");
      });
  const auto result = Builder(bench, pulling, *cache, clock).build(request, {});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::base_image_missing);
  EXPECT_NE(result.error().context.find("does not answer"), std::string::npos) << result.error().context;
  StoreImages refused(
      *store,
      [](const format::ImageReference&, const Images::Progress&, std::stop_token) -> Result<image::Image> {
        return std::unexpected(Error{Code::registry_refused, "10.0.0.7:5000: not from here", 0,
                                     "naru up --allow-registry 10.0.0.7:5000"});
      });
  const auto forbidden = Builder(bench, refused, *cache, clock).build(request, {});
  ASSERT_FALSE(forbidden);
  EXPECT_EQ(forbidden.error().hint(), "naru up --allow-registry 10.0.0.7:5000");
}

}  // namespace
}  // namespace naru::build
