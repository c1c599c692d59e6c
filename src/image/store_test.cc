#include "image/store.h"

#include <sys/wait.h>

#include <thread>

#include "image/bootstrap.h"
#include "image/image_fixture.h"
#include "image/import.h"

namespace naru::image {
namespace {

using namespace test;
using format::ImageReference;

ImageReference named(std::string_view text) {
  return ImageReference::parse(text).value();
}

struct World {
  Folder folder;
  Store store = Store::open(folder.path / "images").value();
  Result<Image> import(const std::string& bytes, std::string_view name = "app:1") {
    return import_rootfs(store, folder.write("in.tar", bytes), named(name), default_rootfs_config());
  }
  std::size_t blobs() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(store.root() / "blobs/sha256"), {}));
  }
  std::size_t temps() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(store.root() / ".tmp"), {}));
  }
};

// Runs a program of the host; its exit status, output in `out`.
int shell(const std::string& command, std::string* out = nullptr) {
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  char chunk[4096];
  for (std::size_t got; (got = ::fread(chunk, 1, sizeof chunk, pipe)) > 0;)
    if (out) out->append(chunk, got);
  return WEXITSTATUS(::pclose(pipe));
}

TEST(Store, WritesABlobThatIsThereNotAgainButOneThatIsDamaged) {
  World world;
  const fs::path path = world.store.blob_path(world.store.put_blob("whole")->digest);
  const auto inode = [&] {
    struct stat info{};
    EXPECT_EQ(::stat(path.c_str(), &info), 0);
    return info.st_ino;
  };
  const auto first = inode();
  ASSERT_TRUE(world.store.put_blob("whole"));
  EXPECT_EQ(inode(), first);
  std::ofstream(path) << "w";
  ASSERT_TRUE(world.store.put_blob("whole"));
  EXPECT_EQ(world.store.read_blob(Digest::of_sha256("whole"), 100).value(), "whole");
}

TEST(Store, MakesABlobVisibleOnlyWholeAndVerified) {
  World world;
  {
    BlobWriter dropped = world.store.begin_blob().value();
    ASSERT_TRUE(dropped.write("half"));
    EXPECT_EQ(world.temps(), 1U);
  }
  EXPECT_EQ(world.temps(), 0U);
  const Digest digest = Digest::of_sha256("whole");
  EXPECT_EQ(world.store.put_blob("other", digest).error().code, Code::digest_mismatch);
  EXPECT_FALSE(world.store.has(digest));
  EXPECT_EQ(world.store.put_blob("whole", digest)->digest, digest);
  EXPECT_TRUE(world.store.has(digest));
  EXPECT_EQ(world.store.read_blob(digest, 100).value(), "whole");
  EXPECT_EQ(world.store.read_blob(digest, 2).error().code, Code::too_large);
  EXPECT_EQ(world.store.read_blob(Digest::of_sha256("none"), 2).error().code, Code::image_unknown);
  EXPECT_EQ(world.store.begin_blob(3)->write("four").error().code, Code::too_large);
  EXPECT_EQ(world.temps(), 0U);
}

TEST(Store, NoticesADamagedBlob) {
  World world;
  const Digest digest = world.store.put_blob("fine")->digest;
  std::ofstream(world.store.blob_path(digest)) << "evil";
  EXPECT_EQ(world.store.read_blob(digest, 100).error().code, Code::digest_mismatch);
}

TEST(Store, TagsResolvesListsAndRemoves) {
  World world;
  const Image image = world.import(Tar().file("a", "1").bytes(), "debian:bookworm-slim").value();
  EXPECT_EQ(world.store.resolve(named("docker.io/library/debian:bookworm-slim"))->manifest, image.manifest);
  EXPECT_EQ(world.store.resolve(named("debian@" + image.manifest.text()))->manifest, image.manifest);
  EXPECT_EQ(world.store.resolve(named("debian:other")).error().code, Code::image_unknown);
  ASSERT_TRUE(world.store.tag(named("debian:other"), image.manifest));
  ASSERT_EQ(world.store.list()->size(), 2U);
  EXPECT_EQ(world.store.list()->front().reference, named("debian:bookworm-slim"));
  EXPECT_EQ(world.store.remove(named("debian:bookworm-slim"))->blobs, 0U) << "the other tag still needs them";
  EXPECT_EQ(world.store.remove(named("debian:other"))->blobs, 3U);
  EXPECT_EQ(world.blobs(), 0U);
  EXPECT_EQ(world.store.untag(named("debian:other")).error().code, Code::image_unknown);
}

TEST(Store, TagsNothingWhoseBlobsAreMissing) {
  World world;
  const Image image = world.import(Tar().file("a", "1").bytes()).value();
  fs::remove(world.store.blob_path(image.layers[0].blob));
  EXPECT_EQ(world.store.tag(named("x"), image.manifest).error().code, Code::image_unknown);
  EXPECT_EQ(world.store.tag(named("x"), Digest::of_sha256("?")).error().code, Code::image_unknown);
  EXPECT_EQ(world.store.put_image({}, image.layers).error().code, Code::image_unknown);
}

TEST(Store, CollectsOnlyWhatIsOldAndUnreachable) {
  World world;
  const Image image = world.import(Tar().file("a", "1").bytes()).value();
  const Image released = world.import(Tar().file("a", "2").bytes(), "app:2").value();
  ASSERT_TRUE(world.store.untag(named("app:2")));
  ASSERT_TRUE(world.store.put_blob("lonely"));
  ASSERT_EQ(world.blobs(), 7U);
  EXPECT_EQ(world.store.collect_garbage({})->blobs, 0U) << "everything is fresh";
  GarbageOptions later{.keep = {released.manifest}};
  later.now += std::chrono::hours(2);
  EXPECT_EQ(world.store.collect_garbage(later)->blobs, 1U);
  EXPECT_EQ(world.store.diff_ids_in_use({released.manifest})->size(), 2U);
  EXPECT_EQ(world.store.diff_ids_in_use()->size(), 1U);
  later.keep.clear();
  EXPECT_EQ(world.store.collect_garbage(later)->blobs, 3U);
  EXPECT_TRUE(world.store.resolve(named("app:1")));
  EXPECT_EQ(world.store.resolve(named("app:1"))->manifest, image.manifest);
}

TEST(Store, DropsTagsAndWhatOnlyTheyNamedInOneStep) {
  World world;
  const Image kept = world.import(Tar().file("a", "1").bytes()).value();
  const Image built = world.import(Tar().file("a", "2").bytes(), "shop/web:abc").value();
  ASSERT_TRUE(world.store.tag(named("shop/web:abc"), built.manifest, "shop"));
  EXPECT_EQ(world.store.list()->back().built_for, "shop");
  EXPECT_EQ(world.store.list()->front().built_for, "");
  GarbageOptions options{.drop = {named("shop/web:abc")}, .dry_run = true};
  options.now += std::chrono::hours(2);
  const auto would = world.store.collect_garbage(options).value();
  EXPECT_EQ(std::tuple(would.tags, would.blobs), std::tuple(1U, 3U));
  EXPECT_EQ(world.blobs(), 6U) << "a dry run touches nothing";
  EXPECT_TRUE(world.store.resolve(named("shop/web:abc")));
  EXPECT_EQ(world.store.diff_ids_in_use({}, options.drop)->size(), 1U);
  options.dry_run = false;
  const auto did = world.store.collect_garbage(options).value();
  EXPECT_EQ(std::tuple(did.tags, did.blobs, did.bytes), std::tuple(would.tags, would.blobs, would.bytes));
  EXPECT_EQ(world.blobs(), 3U);
  EXPECT_EQ(world.store.list()->size(), 1U);
  EXPECT_TRUE(world.store.resolve(named("app:1")));
}

TEST(Store, SameInputGivesTheSameImage) {
  World one, two;
  const std::string tar = gzip(Tar().file("a", "1").bytes());
  EXPECT_EQ(one.import(tar)->manifest, two.import(tar)->manifest);
}

TEST(Store, LosesNoTagWhenManyThreadsTagAtOnce) {
  World world;
  const Digest manifest = world.import(Tar().file("a", "1").bytes())->manifest;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        const Store own = Store::open(world.store.root()).value();
        for (int i = 0; i < 10; ++i) EXPECT_TRUE(own.tag(named(fmt::format("t{}:{}", t, i)), manifest));
      });
  }
  EXPECT_EQ(world.store.list()->size(), 41U);
}

TEST(Store, SurvivesKillsInTheMiddleOfWriting) {
  World world;
  const Digest manifest = world.import(Tar().file("a", "1").bytes())->manifest;
  Rng rng(3);
  for (int round = 0; round < 15; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (int i = 0;; ++i) {
        (void)world.store.put_blob(fmt::format("{}-{}", round, i));
        (void)world.store.tag(named(fmt::format("r{}:{}", round, i)), manifest);
      }
    }
    std::this_thread::sleep_for(microseconds(rng.below(15'000)));  // the moment is the point, not a wait
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    const auto listed = Store::open(world.store.root())->list();
    ASSERT_TRUE(listed) << listed.error().message();
    EXPECT_TRUE(world.store.resolve(named("app:1")));
  }
  GarbageOptions later;
  later.now += std::chrono::hours(2);
  ASSERT_TRUE(world.store.collect_garbage(later));
  EXPECT_EQ(world.temps(), 0U);
  EXPECT_EQ(world.blobs(), 3U);
}

TEST(Store, RefusesAFolderThatIsSomethingElse) {
  Folder folder;
  folder.write("a/index.json", "{}");
  EXPECT_EQ(Store::open(folder.path / "a").error().code, Code::malformed);
  folder.write("b/oci-layout", R"({"imageLayoutVersion":"9.0"})");
  EXPECT_EQ(Store::open(folder.path / "b").error().code, Code::malformed);
  World world;
  std::ofstream(world.store.root() / "index.json") << "garbage";
  EXPECT_EQ(world.store.list().error().code, Code::malformed);
  EXPECT_THAT(world.store.list().error().message(), HasSubstr("index.json"));
}

TEST(Store, IsReadBySkopeo) {
  World world;
  const Image image =
      world.import(gzip(Tar().file("bin/sh", "x").bytes()), "docker.io/library/debian:bookworm-slim").value();
  std::string out;
  ASSERT_EQ(
      shell("skopeo inspect oci:" + world.store.root().string() + ":docker.io/library/debian:bookworm-slim",
            &out),
      0)
      << out;
  EXPECT_THAT(out, HasSubstr(image.manifest.text()));
  ASSERT_EQ(shell("skopeo copy -q oci:" + world.store.root().string() +
                      ":docker.io/library/debian:bookworm-slim dir:" + (world.folder.path / "copy").string(),
                  &out),
            0)
      << out;
}

TEST(Import, TakesPlainGzipAndZstdRootFileSystems) {
  const std::string tar = Tar().file("a", "hello").bytes();
  for (const std::string& bytes : {tar, gzip(tar), zstd(tar)}) {
    World world;
    const auto image = world.import(bytes);
    ASSERT_TRUE(image) << image.error().message();
    EXPECT_EQ(image->layers.at(0).diff_id, Digest::of_sha256(tar));
    EXPECT_EQ(image->layers[0].blob, Digest::of_sha256(bytes));
    EXPECT_EQ(image->config.history.size(), 1U);
    EXPECT_EQ(image->config.cmd, std::vector<std::string>{"/bin/sh"});
  }
}

TEST(Import, RefusesGarbageAndKeepsNothing) {
  World world;
  const std::string tar = Tar().file("a", "hello").bytes();
  for (const std::string& bad :
       {std::string(), std::string("hello"), std::string(4096, 'x'), gzip("no tar"), gzip(tar).substr(0, 50),
        zstd(tar).substr(0, 20), std::string("\x1f\x8b garbage")})
    EXPECT_EQ(world.import(bad).error().code, Code::malformed);
  EXPECT_EQ(import_rootfs(world.store, world.folder.path, named("x"), {}).error().code,
            Code::invalid_argument);
  EXPECT_EQ(import_rootfs(world.store, world.folder.path / "none", named("x"), {}).error().code,
            Code::not_found);
  const auto path = world.folder.write("big", tar);
  EXPECT_EQ(import_rootfs(world.store, path, named("x"), {}, {.blob_bytes = 100}).error().code,
            Code::too_large);
  EXPECT_EQ(import_rootfs(world.store, path, named("x"), {}, {.tar_bytes = 100}).error().code,
            Code::too_large);
  EXPECT_EQ(world.blobs(), 0U);
  EXPECT_EQ(world.temps(), 0U);
  EXPECT_TRUE(world.store.list()->empty());
}

TEST(Import, TakesWhatSkopeoWrites) {
  World from;
  const Image image = from.import(gzip(Tar().file("a", "hello").bytes())).value();
  const std::string source = "oci:" + from.store.root().string() + ":docker.io/library/app:1 ";
  for (const std::string kind : {"oci-archive", "docker-archive"}) {
    const fs::path archive = from.folder.path / (kind + ".tar");
    std::string out;
    ASSERT_EQ(shell("skopeo copy -q " + source + kind + ":" + archive.string() +
                        (kind == "docker-archive" ? ":app:1" : ""),
                    &out),
              0)
        << out;
    World into;
    const auto imported = import_file(into.store, archive, named("copied:1"));
    ASSERT_TRUE(imported) << imported.error().message();
    EXPECT_EQ(imported->layers.at(0).diff_id, image.layers[0].diff_id);
    EXPECT_EQ(imported->config.cmd, image.config.cmd);
    EXPECT_TRUE(into.store.resolve(named("copied:1")));
  }
}

Tar oci_archive_whose_layer_is_said_to_have(std::uint64_t size) {
  const std::string layer = Tar().file("a", "1").bytes();
  format::ImageConfig config;
  config.diff_ids = {Digest::of_sha256(layer)};
  const std::string config_bytes = format::write_config(config);
  format::ImageManifest manifest;
  manifest.config = {.media_type = std::string(format::kOciConfig),
                     .digest = Digest::of_sha256(config_bytes),
                     .size = config_bytes.size()};
  manifest.layers = {
      {.media_type = std::string(format::kOciLayerTar), .digest = Digest::of_sha256(layer), .size = size}};
  const std::string bytes = format::write_manifest(manifest);
  const auto blob = [](const std::string& content) {
    return "blobs/sha256/" + std::string(Digest::of_sha256(content).hex());
  };
  return Tar()
      .file("oci-layout", R"({"imageLayoutVersion":"1.0.0"})")
      .file(blob(layer), layer)
      .file(blob(config_bytes), config_bytes)
      .file(blob(bytes), bytes)
      .file("index.json",
            fmt::format(R"({{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{}","size":{}}}]}})",
                        format::kOciManifest, Digest::of_sha256(bytes).text(), bytes.size()));
}

TEST(Import, RefusesArchivesThatLie) {
  {
    World world;
    const auto tar = oci_archive_whose_layer_is_said_to_have(Tar().file("a", "1").bytes().size());
    const auto honest = import_archive(world.store, world.folder.write("in", tar.bytes()), named("x"));
    EXPECT_TRUE(honest) << honest.error().message();
  }
  const std::string layer = Tar().file("a", "1").bytes();
  const std::string config =
      fmt::format(R"({{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["{}"]}}}})",
                  Digest::of_sha256("other").text());
  const std::pair<Tar, Code> cases[] = {
      {Tar().file("manifest.json", "garbage"), Code::malformed},
      {Tar().file("manifest.json", "[]"), Code::malformed},
      {Tar().file("manifest.json", R"([{},{}])"), Code::unsupported},
      {Tar().file("manifest.json", R"([{"Config":"../../etc/passwd","Layers":[]}])"), Code::malformed},
      {Tar()
           .file("c.json", config)
           .file("l.tar", layer)
           .file("manifest.json", R"([{"Config":"c.json","Layers":["l.tar"]}])"),
       Code::digest_mismatch},
      {Tar().file("c.json", config).file("manifest.json", R"([{"Config":"c.json","Layers":["l.tar"]}])"),
       Code::malformed},
      {Tar()
           .file("c.json", config)
           .symlink("l.tar", "m.tar")
           .symlink("m.tar", "l.tar")
           .file("manifest.json", R"([{"Config":"c.json","Layers":["l.tar"]}])"),
       Code::malformed},
      {Tar().file("c.json", config).file("manifest.json", R"([{"Config":"c.json","Layers":[]}])"),
       Code::malformed},
      {Tar().file("c.json", config).file("manifest.json", R"([{"Config":"c.json","Layers":[7]}])"),
       Code::malformed},
      {Tar().file("oci-layout", "{}").file("index.json", R"({"manifests":[]})"), Code::malformed},
      {Tar()
           .file("oci-layout", "{}")
           .file("blobs/sha256/" + std::string(64, 'a'), "x")
           .file("index.json", "{}"),
       Code::digest_mismatch},
      {Tar().file("oci-layout", "{}").file("../../blobs/x", "x"), Code::layer_escape},
      {oci_archive_whose_layer_is_said_to_have(1ULL << 62), Code::malformed},
      {oci_archive_whose_layer_is_said_to_have(1), Code::malformed},
  };
  for (const auto& [tar, code] : cases) {
    World world;
    const auto image = import_archive(world.store, world.folder.write("in", tar.bytes()), named("x"));
    ASSERT_FALSE(image);
    EXPECT_EQ(image.error().code, code) << image.error().message();
    EXPECT_TRUE(world.store.list()->empty());
  }
}

TEST(Bootstrap, KeepsOnlyTheSuitesOwnSources) {
  EXPECT_EQ(
      sources_of_suite(
          "# deb http://x bookworm main\ndeb http://d/debian bookworm main\ndeb-src http://d bookworm main\n"
          "deb [signed-by=/k arch=amd64] http://d bookworm-updates main\ndeb http://third cloud-sdk-bookworm "
          "main\ndeb http://d trixie main\n",
          "bookworm", false),
      "deb http://d/debian bookworm main\ndeb [signed-by=/k arch=amd64] http://d bookworm-updates main\n");
  const std::string debian =
      "Types: deb\nURIs: http://d\nSuites: bookworm\n bookworm-updates\nComponents: main\n";
  EXPECT_EQ(sources_of_suite("# c\n\n" + debian + "\nTypes: deb\nURIs: http://n\nSuites: nodistro\n\n" +
                                 "Enabled: no\n" + debian + "\nTypes: deb-src\nSuites: bookworm\n",
                             "bookworm", true),
            debian + "\n");
  EXPECT_EQ(sources_of_suite("garbage\0\xff", "bookworm", true), "");
}

TEST(Bootstrap, BuildsAReproducibleMinimalCommand) {
  const auto argv = bootstrap_command({.include = {"ca-certificates", "tini"}}, {"/tmp/0.sources"},
                                      {"Acquire::http::Proxy \"http://p:3128\""}, "/out.tar");
  EXPECT_EQ(argv.front(), "mmdebstrap");
  EXPECT_THAT(argv,
              ::testing::IsSupersetOf({"--variant=minbase", "--format=tar", "--include=ca-certificates,tini",
                                       "--aptopt=Acquire::http::Proxy \"http://p:3128\""}));
  EXPECT_EQ((std::vector<std::string>(argv.end() - 3, argv.end())),
            (std::vector<std::string>{"bookworm", "/out.tar", "/tmp/0.sources"}));
}

TEST(Bootstrap, SaysWhatIsMissingOrWrong) {
  Folder folder;
  EXPECT_EQ(bootstrap({.suite = "--evil"}, folder.path / "o.tar").error().code, Code::invalid_argument);
  EXPECT_EQ(bootstrap({.include = {"a,b"}}, folder.path / "o.tar").error().code, Code::invalid_argument);
  EXPECT_EQ(bootstrap({.apt_etc = folder.path}, folder.path / "o.tar").error().code, Code::not_found);
  folder.write("sources.list", "deb file:///nowhere bookworm main\n");
  const auto failed = bootstrap({.apt_etc = folder.path, .timeout = 60s}, folder.path / "o.tar");
  EXPECT_EQ(failed.error().code, Code::bootstrap_failed) << failed.error().message();
  EXPECT_FALSE(fs::exists(folder.path / "o.tar"));
}

}  // namespace
}  // namespace naru::image
