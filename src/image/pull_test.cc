#include "image/pull.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "image/http_io.h"
#include "image/image_fixture.h"
#include "image/import.h"
#include "image/registry.h"

namespace naru::image {
namespace {

using namespace test;
using format::ImageReference;

ImageReference named(std::string_view text) {
  return ImageReference::parse(text).value();
}

// A registry in memory that can lie. `url -> answer`; a test changes single answers.
class FakeRegistry final : public HttpPort {
 public:
  struct Page {
    int status = 200;
    std::string body{};
    std::multimap<std::string, std::string> headers{};
    int breaks = 0;       // so many times the connection breaks half-way
    std::string token{};  // wanted, else 401
  };
  FakeRegistry() {
    const std::string config = format::write_config([this] {
      format::ImageConfig config;
      config.diff_ids = {Digest::of_sha256(layers[0]), Digest::of_sha256(layers[1])};
      return config;
    }());
    format::ImageManifest manifest;
    manifest.config = {.media_type = std::string(format::kOciConfig),
                       .digest = Digest::of_sha256(config),
                       .size = config.size()};
    for (const std::string& layer : layers)
      manifest.layers.push_back({.media_type = std::string(format::kOciLayerTar),
                                 .digest = Digest::of_sha256(layer),
                                 .size = layer.size()});
    manifest_bytes = format::write_manifest(manifest);
    manifest_url = base + "manifests/1";
    pages[manifest_url] = {.body = manifest_bytes,
                           .headers = {{"content-type", std::string(format::kOciManifest)}}};
    put_blob(config);
    for (const std::string& layer : layers) put_blob(layer);
    layer_url = base + "blobs/" + Digest::of_sha256(layers[1]).text();
  }
  void put_blob(const std::string& bytes) {
    pages[base + "blobs/" + Digest::of_sha256(bytes).text()] = {.body = bytes};
  }

  Result<HttpAnswer> get(const HttpGet& request, const Sink& sink) override {
    Page page;
    {
      const std::lock_guard lock(mutex);
      asked.push_back(request.url);
      const auto at = pages.find(request.url);
      if (at == pages.end()) {
        page = {.status = 404, .body = "no such page"};
      } else {
        page = at->second;
        if (at->second.breaks > 0) --at->second.breaks;
      }
    }
    std::string authorization;
    for (const auto& [name, value] : request.headers)
      if (name == "Authorization") authorization = value;
    if (!page.token.empty() && authorization != "Bearer " + page.token) page.status = 401;
    if (page.token.empty() && !authorization.empty()) leaked = true;
    if (page.breaks > 0) {
      TRY(sink(page.status, std::string_view(page.body).substr(0, page.body.size() / 2)));
      return fail(Code::closed, "cut short");
    }
    for (std::size_t at = 0; at < page.body.size(); at += 100)
      TRY(sink(page.status, std::string_view(page.body).substr(at, 100)));
    return HttpAnswer{page.status, page.headers};
  }

  const std::vector<std::string> layers{Tar().file("a", std::string(1000, '1')).bytes(),
                                        Tar().file("b", "2").bytes()};
  const std::string base = "https://reg.example/v2/team/app/";
  std::string manifest_bytes, manifest_url, layer_url;
  std::map<std::string, Page> pages;
  std::vector<std::string> asked;
  bool leaked = false;
  std::mutex mutex;
};

struct World {
  Folder folder;
  Store store = Store::open(folder.path / "images").value();
  FakeRegistry registry;
  Result<Image> pull(std::string_view name = "reg.example/team/app:1") {
    return image::pull(store, registry, named(name), {.retry_pause = 1ms});
  }
  std::size_t temps() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(store.root() / ".tmp"), {}));
  }
  void expect_refused(Code code, std::string_view name = "reg.example/team/app:1") {
    const auto image = pull(name);
    ASSERT_FALSE(image);
    EXPECT_EQ(image.error().code, code) << image.error().message();
    EXPECT_TRUE(store.list()->empty());
    EXPECT_EQ(temps(), 0U);
  }
};

TEST(Pull, StoresAndTagsAnImageAndFetchesNothingTwice) {
  World world;
  const auto image = world.pull();
  ASSERT_TRUE(image) << image.error().message();
  EXPECT_EQ(image->layers.size(), 2U);
  EXPECT_EQ(world.store.resolve(named("reg.example/team/app:1"))->manifest,
            Digest::of_sha256(world.registry.manifest_bytes));
  world.registry.asked.clear();
  ASSERT_TRUE(world.pull());
  EXPECT_EQ(world.registry.asked, std::vector<std::string>{world.registry.manifest_url});
}

TEST(Pull, ChoosesThePlatformOfAnIndexAndHonoursAPinnedDigest) {
  World world;
  const Digest manifest = Digest::of_sha256(world.registry.manifest_bytes);
  const auto page = world.registry.pages[world.registry.manifest_url];
  format::ImageIndex index;
  index.manifests.push_back({.media_type = std::string(format::kOciManifest),
                             .digest = Digest::of_sha256("other"),
                             .size = 1,
                             .platform = format::Platform{"linux", "s390x", ""}});
  index.manifests.push_back({.media_type = std::string(format::kOciManifest),
                             .digest = manifest,
                             .size = 1,
                             .platform = format::host_platform()});
  world.registry.pages[world.registry.base + "manifests/" + manifest.text()] = page;
  world.registry.pages[world.registry.manifest_url] = {
      .body = format::write_index(index),
      .headers = {{"content-type", std::string(format::kOciIndex) + "; charset=utf-8"}}};
  EXPECT_EQ(world.pull()->manifest, manifest);
  EXPECT_EQ(world.pull("reg.example/team/app@" + manifest.text())->manifest, manifest);
  world.registry.pages[world.registry.base + "manifests/" + manifest.text()].body += " ";
  Folder other;
  world.store = Store::open(other.path / "images").value();
  world.expect_refused(Code::digest_mismatch);
}

TEST(Pull, AsksForAnAnonymousTokenAndShowsItToNobodyElse) {
  World world;
  const std::string challenge =
      R"(Bearer realm="https://auth.example/token",service="reg.example",scope="repository:team/app:pull")";
  for (auto& [url, page] : world.registry.pages) {
    page.token = "secret";
    page.headers.emplace("www-authenticate", challenge);
  }
  const auto blob = world.registry.pages[world.registry.layer_url];
  world.registry.pages[world.registry.layer_url] = {
      .status = 307,
      .headers = {{"location", "https://cdn.example/x?sig=1"}, {"www-authenticate", challenge}},
      .token = "secret"};
  world.registry.pages["https://cdn.example/x?sig=1"] = {.body = blob.body};
  world.registry
      .pages["https://auth.example/token?service=reg.example&scope=repository%3Ateam%2Fapp%3Apull"] = {
      .body = R"({"token":"secret"})"};
  const auto image = world.pull();
  ASSERT_TRUE(image) << image.error().message();
  EXPECT_FALSE(world.registry.leaked);
}

TEST(Pull, RefusesATokenServerThatIsNoneOrABasicLogin) {
  for (const char* challenge : {R"(Bearer realm="http://plain.example/token")", R"(Bearer service="x")",
                                R"(Basic realm="x")", R"(Bearer realm="file:///etc/passwd")"}) {
    World world;
    world.registry.pages[world.registry.manifest_url] = {.status = 401,
                                                         .headers = {{"www-authenticate", challenge}}};
    world.expect_refused(Code::registry_refused);
  }
  World world;
  world.registry.pages[world.registry.manifest_url] = {
      .status = 401, .headers = {{"www-authenticate", R"(Bearer realm="https://auth.example/t")"}}};
  world.registry.pages["https://auth.example/t?scope=repository%3Ateam%2Fapp%3Apull"] = {
      .body = R"({"token":"a\r\nHost: evil"})"};
  world.expect_refused(Code::malformed);
}

TEST(Pull, RefusesWhatALyingRegistrySends) {
  World().expect_refused(Code::image_unknown, "reg.example/team/app:none");
  const auto lie = [](Code code, const std::function<void(FakeRegistry&)>& change) {
    World world;
    change(world.registry);
    world.expect_refused(code);
  };
  lie(Code::digest_mismatch, [](FakeRegistry& r) { r.pages[r.layer_url].body[5] ^= 1; });
  lie(Code::too_large, [](FakeRegistry& r) { r.pages[r.layer_url].body += "x"; });
  lie(Code::closed, [](FakeRegistry& r) { r.pages[r.layer_url].body.resize(700); });
  lie(Code::closed, [](FakeRegistry& r) { r.pages[r.layer_url].breaks = 99; });
  lie(Code::image_unknown, [](FakeRegistry& r) { r.pages.erase(r.layer_url); });
  lie(Code::unavailable, [](FakeRegistry& r) { r.pages[r.layer_url].status = 503; });
  lie(Code::registry_refused, [](FakeRegistry& r) { r.pages[r.layer_url].status = 429; });
  lie(Code::registry_refused, [](FakeRegistry& r) {
    r.pages[r.layer_url] = {.status = 302, .headers = {{"location", r.layer_url}}};
  });
  lie(Code::registry_refused, [](FakeRegistry& r) {
    r.pages[r.layer_url] = {.status = 302, .headers = {{"location", "http://plain.example/"}}};
  });
  lie(Code::malformed, [](FakeRegistry& r) { r.pages[r.manifest_url].body = "<html>"; });
  lie(Code::too_large,
      [](FakeRegistry& r) { r.pages[r.manifest_url].body.assign(format::kMaxManifestBytes + 1, ' '); });
  lie(Code::digest_mismatch, [](FakeRegistry& r) {
    r.pages[r.manifest_url].headers.emplace("docker-content-digest", Digest::of_sha256("?").text());
  });
  lie(Code::malformed, [](FakeRegistry& r) {
    r.pages[r.manifest_url].headers = {{"content-type", std::string(format::kDockerManifest)}};
  });
  lie(Code::malformed, [](FakeRegistry& r) {
    format::ImageManifest manifest = format::parse_manifest(r.manifest_bytes).value();
    manifest.layers.pop_back();
    r.pages[r.manifest_url].body = format::write_manifest(manifest);
  });
  lie(Code::too_large, [](FakeRegistry& r) {
    format::ImageManifest manifest = format::parse_manifest(r.manifest_bytes).value();
    manifest.layers[0].size = 1ULL << 50;
    r.pages[r.manifest_url].body = format::write_manifest(manifest);
  });
  lie(Code::unsupported, [](FakeRegistry& r) {
    format::ImageManifest manifest = format::parse_manifest(r.manifest_bytes).value();
    manifest.layers[0].media_type = "application/vnd.evil";
    r.pages[r.manifest_url].body = format::write_manifest(manifest);
  });
}

TEST(Pull, TriesAgainWhenAConnectionBreaks) {
  World world;
  world.registry.pages[world.registry.layer_url].breaks = 2;
  EXPECT_TRUE(world.pull());
}

TEST(Challenge, IsReadAndGarbageIsRefused) {
  const auto challenge =
      parse_challenge(R"(Bearer realm="https://a/b?c=d",service="x \"y\"", scope=plain)").value();
  EXPECT_EQ(challenge.scheme, "bearer");
  EXPECT_EQ(challenge.parameters.at("service"), "x \"y\"");
  EXPECT_EQ(challenge.parameters.at("scope"), "plain");
  for (const char* bad : {"", " ", "Bearer realm", "Bearer =x", "Bearer realm=\"open", "Bearer realm=\"x\\"})
    EXPECT_FALSE(parse_challenge(bad)) << bad;
  EXPECT_EQ(parse_challenge(std::string(9000, 'a')).error().code, Code::too_large);
  Rng rng(5);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes;
    for (std::uint64_t i = rng.below(60); i > 0; --i) bytes += "Bearer=\"\\, x"[rng.below(12)];
    (void)parse_challenge(bytes);
  }
}

// A listening socket that takes connections and says nothing.
TEST(Pull, GivesUpOnARegistryThatHangs) {
  const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listener.get(), 8), 0);
  ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
  World world;
  IoHttp http;
  const auto image =
      image::pull(world.store, http, named(fmt::format("127.0.0.1:{}/a:1", ntohs(address.sin_port))),
                  {.request_timeout = 200ms, .attempts = 1});
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code, Code::timeout) << image.error().message();
}

// Debian's docker-registry on a free port.
class RealRegistry {
 public:
  explicit RealRegistry(const Folder& folder) {
    const fs::path config = folder.write(
        "registry.yml", fmt::format("version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: "
                                    "{{rootdirectory: {}}}\nhttp: {{addr: '127.0.0.1:0'}}\n",
                                    (folder.path / "registry").string()));
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return;
    output_ = Fd(ends[0]);
    const Fd in(ends[1]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in.get(), 1);
    posix_spawn_file_actions_adddup2(&actions, in.get(), 2);
    std::string words[] = {"docker-registry", "serve", config.string()};
    char* argv[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
    if (::posix_spawnp(&pid_, argv[0], &actions, nullptr, argv, environ) != 0) pid_ = -1;
    posix_spawn_file_actions_destroy(&actions);
    find_port();
  }
  RealRegistry(const RealRegistry&) = delete;
  ~RealRegistry() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  std::string address;
  std::string said;

 private:
  void find_port() {
    static constexpr std::string_view kMark = "listening on 127.0.0.1:";
    while (pid_ > 0) {
      pollfd waiting{output_.get(), POLLIN, 0};
      char chunk[4096];
      if (::poll(&waiting, 1, 20'000) <= 0) return;
      const ssize_t got = ::read(output_.get(), chunk, sizeof chunk);
      if (got <= 0) return;
      said.append(chunk, static_cast<std::size_t>(got));
      const auto at = said.find(kMark);
      if (at == std::string::npos) continue;
      const auto end = said.find_first_not_of("0123456789", at + kMark.size());
      if (end == std::string::npos) continue;
      address = said.substr(at + 13, end - at - 13);
      return;
    }
  }
  pid_t pid_ = -1;
  Fd output_;
};

TEST(Pull, TakesFromARealRegistryWhatSkopeoPushed) {
  World from, into;
  ASSERT_TRUE(import_rootfs(from.store,
                            from.folder.write("t", gzip(Tar().file("a", std::string(200'000, 'a')).bytes())),
                            named("app:1"), default_rootfs_config()));
  const RealRegistry registry(from.folder);
  ASSERT_FALSE(registry.address.empty()) << registry.said;
  for (const std::string format : {"oci", "v2s2"}) {
    const std::string command = fmt::format(
        "skopeo copy -q --format {} --dest-tls-verify=false oci:{}:docker.io/library/app:1 "
        "docker://{}/team/app:{}",
        format, from.store.root().string(), registry.address, format);
    ASSERT_EQ(std::system(command.c_str()), 0);
    IoHttp http;
    std::vector<std::string> lines;
    const auto image =
        image::pull(into.store, http, named(fmt::format("{}/team/app:{}", registry.address, format)),
                    {.progress = [&](std::string_view line) { lines.emplace_back(line); }});
    ASSERT_TRUE(image) << image.error().message();
    EXPECT_EQ(image->layers.at(0).diff_id, from.store.resolve(named("app:1"))->layers[0].diff_id);
    EXPECT_GE(lines.size(), 3U);
    const auto missing = image::pull(into.store, http, named(registry.address + "/team/app:none"));
    EXPECT_EQ(missing.error().code, Code::image_unknown) << missing.error().message();
  }
}

}  // namespace
}  // namespace naru::image
