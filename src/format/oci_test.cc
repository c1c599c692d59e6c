#include "format/oci.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rng.h"

namespace naru::format {
namespace {

const std::string kHex(64, 'a');

TEST(ImageReference, NormalisesAsDockerDoes) {
  const std::pair<const char*, const char*> cases[] = {
      {"debian", "docker.io/library/debian:latest"},
      {"debian:bookworm-slim", "docker.io/library/debian:bookworm-slim"},
      {"library/debian", "docker.io/library/debian:latest"},
      {"grafana/grafana:11", "docker.io/grafana/grafana:11"},
      {"docker.io/debian", "docker.io/library/debian:latest"},
      {"index.docker.io/library/debian", "docker.io/library/debian:latest"},
      {"localhost/app", "localhost/app:latest"},
      {"localhost:5000/a/b:1", "localhost:5000/a/b:1"},
      {"127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"},
      {"[::1]:5000/a:x", "[::1]:5000/a:x"},
      {"ghcr.io/o/r", "ghcr.io/o/r:latest"},
      {"a__b/c-d.e---f", "docker.io/a__b/c-d.e---f:latest"},
  };
  for (const auto& [given, full] : cases) {
    const auto reference = ImageReference::parse(given);
    ASSERT_TRUE(reference) << given;
    EXPECT_EQ(reference->text(), full);
    EXPECT_EQ(ImageReference::parse(reference->text()).value(), *reference);
    EXPECT_EQ(ImageReference::parse(reference->familiar()).value(), *reference);
  }
  EXPECT_EQ(ImageReference::parse("docker.io/library/debian:a").value().familiar(), "debian:a");
}

TEST(ImageReference, KeepsATagBesideADigest) {
  const auto pinned = ImageReference::parse("debian@sha256:" + kHex).value();
  EXPECT_EQ(pinned.tag, "");
  EXPECT_EQ(pinned.text(), "docker.io/library/debian@sha256:" + kHex);
  EXPECT_EQ(ImageReference::parse("debian:x@sha256:" + kHex).value().tag, "x");
}

TEST(ImageReference, RefusesWhatIsNoReference) {
  for (const std::string& bad : {std::string(),
                                 std::string("Debian"),
                                 std::string("a//b"),
                                 std::string("/a"),
                                 std::string("a/"),
                                 std::string("a:"),
                                 std::string("a:b:c"),
                                 std::string("a:-x"),
                                 std::string("a___b"),
                                 std::string("a..b"),
                                 std::string("-a"),
                                 std::string("a@"),
                                 std::string("a@sha256:12"),
                                 "a@sha512:" + kHex + kHex,
                                 std::string("../x"),
                                 std::string("a/../b"),
                                 std::string("a b"),
                                 std::string("a\n"),
                                 std::string("exa mple.com/a"),
                                 std::string("host:port/a"),
                                 std::string("https://x/y"),
                                 std::string("-h.io/a"),
                                 std::string(300, 'a'),
                                 "a:" + std::string(129, 't'),
                                 std::string("a\0b", 3)}) {
    const auto reference = ImageReference::parse(bad);
    ASSERT_FALSE(reference) << bad;
    EXPECT_EQ(reference.error().code, Code::malformed);
  }
}

std::string descriptor(std::string_view type, std::int64_t size = 3) {
  return fmt::format(R"({{"mediaType":"{}","digest":"sha256:{}","size":{}}})", type, kHex, size);
}
std::string manifest_text(std::string_view type = kOciManifest) {
  return fmt::format(R"({{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}})", type,
                     descriptor(kOciConfig), descriptor(kOciLayerGzip));
}

TEST(Manifest, IsReadAndWrittenBack) {
  for (const auto type : {kOciManifest, kDockerManifest}) {
    const auto manifest = parse_manifest(manifest_text(type), type).value();
    EXPECT_EQ(manifest.layers.size(), 1U);
    EXPECT_EQ(manifest.config.size, 3U);
    const std::string bytes = write_manifest(manifest);
    EXPECT_EQ(write_manifest(parse_manifest(bytes).value()), bytes);
  }
}

TEST(Manifest, RefusesADocumentThatCouldBeTwoThings) {
  std::string both = manifest_text();
  both.insert(both.size() - 1, R"(,"manifests":[])");
  EXPECT_EQ(parse_manifest(both).error().code, Code::malformed);
  EXPECT_EQ(parse_index(both).error().code, Code::malformed);
  EXPECT_EQ(parse_manifest(manifest_text(kOciManifest), kDockerManifest).error().code, Code::malformed);
  EXPECT_EQ(parse_index(manifest_text()).error().code, Code::malformed);
}

TEST(Manifest, RefusesGarbage) {
  for (const std::string& bad :
       {std::string(), std::string("[]"), std::string("null"), std::string("{"), std::string("{}"),
        std::string(R"({"schemaVersion":2,"config":5,"layers":[]})"),
        std::string(R"({"schemaVersion":2,"layers":[]})"),
        fmt::format(R"({{"config":{},"layers":{{}}}})", descriptor(kOciConfig)),
        fmt::format(R"({{"config":{},"layers":[1]}})", descriptor(kOciConfig)),
        fmt::format(R"({{"config":{},"layers":[]}})", descriptor(kOciConfig, -1)),
        std::string(R"({"config":{"digest":"sha256:../../etc/passwd","size":1},"layers":[]})"),
        std::string(R"({"config":{"digest":"sha256:x","size":1e30},"layers":[]})")})
    EXPECT_EQ(parse_manifest(bad).error().code, Code::malformed) << bad;
  EXPECT_EQ(parse_manifest(R"({"schemaVersion":1,"fsLayers":[]})").error().code, Code::unsupported);
  EXPECT_EQ(parse_manifest(std::string(kMaxManifestBytes + 1, ' ')).error().code, Code::too_large);
  EXPECT_FALSE(parse_manifest(std::string(1U << 20, '[')));
  std::string many = fmt::format(R"({{"config":{},"layers":[)", descriptor(kOciConfig));
  for (std::size_t i = 0; i <= kMaxLayers; ++i) many += (i ? "," : "") + descriptor(kOciLayerGzip);
  EXPECT_EQ(parse_manifest(many + "]}").error().code, Code::too_large);
}

TEST(Manifest, SurvivesEveryTruncationAndManyFlippedBytes) {
  const std::string good = manifest_text();
  for (std::size_t i = 0; i < good.size(); ++i) EXPECT_FALSE(parse_manifest(good.substr(0, i)));
  Rng rng(7);
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = good;
    bytes[rng.below(bytes.size())] = static_cast<char>(rng.below(256));
    (void)parse_manifest(bytes);
    (void)parse_index(bytes);
    (void)parse_config(bytes);
  }
}

TEST(Index, ChoosesTheManifestOfThePlatform) {
  ImageIndex index;
  index.manifests.push_back({.media_type = std::string(kOciManifest),
                             .digest = Digest::of_sha256("a"),
                             .size = 1,
                             .annotations = {},
                             .platform = Platform{"linux", "arm64", "v8"}});
  index.manifests.push_back({.media_type = std::string(kOciManifest),
                             .digest = Digest::of_sha256("b"),
                             .size = 1,
                             .annotations = {},
                             .platform = Platform{"linux", "amd64", ""}});
  const auto again = parse_index(write_index(index)).value();
  EXPECT_EQ(again.select({"linux", "amd64", ""}).value().digest, Digest::of_sha256("b"));
  EXPECT_EQ(again.select({"linux", "arm64", ""}).value().digest, Digest::of_sha256("a"));
  const auto missing = again.select({"linux", "riscv64", ""});
  EXPECT_EQ(missing.error().code, Code::image_unknown);
  EXPECT_THAT(missing.error().message(), ::testing::HasSubstr("linux/arm64/v8, linux/amd64"));
}

TEST(Config, KeepsEverythingThatItNames) {
  ImageConfig config;
  config.created = "2026-01-01T00:00:00Z";
  config.env = {"PATH=/bin", "EMPTY="};
  config.entrypoint = {"/a", "b c"};
  config.cmd = {"x"};
  config.working_dir = "/srv";
  config.user = "1000:1000";
  config.stop_signal = "SIGINT";
  config.exposed_ports = {"53/udp", "80/tcp"};
  config.volumes = {"/data"};
  config.labels = {{"k", "v"}};
  config.shell = {"/bin/bash", "-c"};
  config.health = HealthSpec{.test = {"curl", "x"}, .interval = 5s, .timeout = 2s, .retries = 7};
  config.diff_ids = {Digest::of_sha256("1"), Digest::of_sha256("2")};
  config.history = {
      {.created = "", .created_by = "RUN x", .author = "", .comment = "c", .empty_layer = true}};
  EXPECT_EQ(parse_config(write_config(config)).value(), config);
}

TEST(Config, ReadsWhatDockerWrites) {
  const auto config = parse_config(
      R"({"architecture":"amd64","os":"linux","config":{"Hostname":"","Env":["PATH=/bin"],"Cmd":null,"Entrypoint":["/e"],"Volumes":null,
          "Healthcheck":{"Test":["CMD-SHELL","curl -f x"],"Interval":3000000000},"OnBuild":null},"rootfs":{"type":"layers","diff_ids":[]},"x":1})");
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->health->test, (std::vector<std::string>{"/bin/sh", "-c", "curl -f x"}));
  EXPECT_EQ(config->health->interval, 3s);
  EXPECT_EQ(config->env_value("PATH"), "/bin");
  EXPECT_EQ(config->env_value("PAT"), std::nullopt);
}

TEST(Config, RefusesGarbage) {
  for (const char* bad :
       {"{}", R"({"rootfs":[]})", R"({"rootfs":{"diff_ids":["x"]}})", R"({"rootfs":{},"config":[]})",
        R"({"rootfs":{},"config":{"Env":["=x"]}})", R"({"rootfs":{},"config":{"Env":["x"]}})",
        R"({"rootfs":{},"config":{"Cmd":"sh"}})", R"({"rootfs":{},"config":{"Cmd":[1]}})",
        R"({"rootfs":{},"config":{"User":"a\u0000b"}})",
        R"({"rootfs":{},"config":{"Healthcheck":{"Test":["X"]}}})",
        R"({"rootfs":{},"config":{"Healthcheck":{"Test":["CMD","x"],"Interval":-1}}})",
        R"({"rootfs":{},"history":[1]})", R"({"rootfs":{},"history":{}})"})
    EXPECT_EQ(parse_config(bad).error().code, Code::malformed) << bad;
}

TEST(Config, WritesBytesThatAreNoUtf8WithoutThrowing) {
  ImageConfig config;
  config.env = {"A=\xff\xfe"};
  EXPECT_TRUE(parse_config(write_config(config)));
}

TEST(Layer, MediaTypesNameTheirCompression) {
  EXPECT_EQ(layer_compression(kOciLayerZstd).value(), Compression::zstd);
  EXPECT_EQ(layer_compression(kDockerLayerGzip).value(), Compression::gzip);
  EXPECT_EQ(layer_compression("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip").error().code,
            Code::unsupported);
  for (const auto c : {Compression::none, Compression::gzip, Compression::zstd})
    EXPECT_EQ(layer_compression(layer_media_type(c)).value(), c);
}

}  // namespace
}  // namespace naru::format
