#include "launcher/checks.h"

#include <gtest/gtest.h>

#include "launcher/benches.h"
#include "launcher/grants.h"

namespace naru::launcher {
namespace {

// As a start is checked where the operator allows nothing.
Result<void> check_start(const ContainerSpec& spec) {
  static const SystemClock clock;
  static const auto nothing = Grants::open("/tmp/naru-no-such-data-folder", clock);
  TRY(check_spec(spec, "/data/checkouts"));
  return nothing->check(spec.app, needs_of(spec, "/data/checkouts"));
}

ContainerSpec good_spec() {
  ContainerSpec spec;
  spec.id = "shop.production.web-1";
  spec.layers = {Digest::of_sha256("layer")};
  spec.argv = {"/bin/true"};
  return spec;
}

TEST(Checks, AGoodSpecPasses) {
  ContainerSpec spec = good_spec();
  spec.mounts.push_back({MountKind::bind, "/data/checkouts/shop/4f2a/conf", "/conf", true, 0});
  spec.mounts.push_back({MountKind::volume, "shop.production.data", "/data", false, 0});
  spec.mounts.push_back({MountKind::tmpfs, "", "/tmp", false, 0});
  const auto checked = check_start(spec);
  EXPECT_TRUE(checked) << checked.error().message();
}

TEST(Checks, ForgedIdsAreRefused) {
  for (const char* id :
       {"", ".", "..", "../x", "a/b", "/etc", "A", "-a", "a..b", "a b", "a\n", "naru-build-x", "\xff"}) {
    ContainerSpec spec = good_spec();
    spec.id = id;
    EXPECT_FALSE(check_start(spec)) << id;
    EXPECT_TRUE(std::string_view(id) == "naru-build-x" || !check_id(id, "x")) << id;
    EXPECT_TRUE(std::string_view(id) == "naru-build-x" || !check_volume_name(id)) << id;
  }
  EXPECT_FALSE(check_id(std::string(64, 'a'), "x"));
  EXPECT_FALSE(check_id(std::string_view("a\0b", 3), "x"));
}

TEST(Checks, BindsOutsideOfTheCheckoutsAreForbidden) {
  for (const char* source : {"/etc", "/data/checkouts", "/data/checkouts/", "/data/checkouts/../volumes/x",
                             "/data/checkouts/a/../../../etc", "/data/checkouts//etc", "/data/checkouts/./a",
                             "/data/checkoutsx/a", "relative", "", "/data/checkouts/a/"}) {
    ContainerSpec spec = good_spec();
    spec.mounts.push_back({MountKind::bind, source, "/conf", true, 0});
    const auto refused = check_start(spec);
    ASSERT_FALSE(refused) << source;
    EXPECT_TRUE(refused.error().code == Code::forbidden || refused.error().code == Code::invalid_argument)
        << source;
  }
}

TEST(Checks, OtherForgedFieldsAreRefused) {
  const auto refused = [](auto change) {
    ContainerSpec spec = good_spec();
    change(spec);
    return !check_start(spec).has_value();
  };
  EXPECT_TRUE(refused([](auto& s) { s.layers = {Digest()}; }));
  EXPECT_TRUE(refused([](auto& s) { s.layers.clear(); }));
  EXPECT_TRUE(refused([](auto& s) { s.layers.assign(129, Digest::of_sha256("x")); }));
  EXPECT_TRUE(refused([](auto& s) { s.argv.clear(); }));
  EXPECT_TRUE(refused([](auto& s) { s.argv = {std::string("a\0b", 3)}; }));
  EXPECT_TRUE(refused([](auto& s) { s.env.assign(5000, "A=B"); }));
  EXPECT_TRUE(refused([](auto& s) { s.argv.push_back(std::string(2U << 20, 'x')); }));
  EXPECT_TRUE(refused([](auto& s) { s.network = "../x"; }));
  EXPECT_TRUE(refused([](auto& s) { s.network = "naru-builds"; }));
  EXPECT_TRUE(refused([](auto& s) { s.segments = {"front }; flush ruleset"}; }));
  EXPECT_TRUE(refused([](auto& s) { s.segments = {""}; }));
  EXPECT_TRUE(refused([](auto& s) { s.segments.assign(33, "front"); }));
  EXPECT_FALSE(refused([](auto& s) { s.segments = {"front", "Back_2.x"}; }));
  EXPECT_TRUE(refused([](auto& s) { s.parent_cgroup = "../../system"; }));
  EXPECT_TRUE(refused([](auto& s) { s.stop_grace = milliseconds(-1); }));
  EXPECT_TRUE(refused([](auto& s) { s.log_files = 1'000'000; }));
  EXPECT_TRUE(refused([](auto& s) { s.mounts.push_back({MountKind::volume, "../../etc", "/x", false, 0}); }));
  EXPECT_TRUE(refused([](auto& s) { s.mounts.push_back({MountKind::volume, "ok", "relative", false, 0}); }));
  EXPECT_TRUE(refused([](auto& s) { s.mounts.push_back({MountKind::tmpfs, "/etc", "/x", false, 0}); }));
}

TEST(Checks, CopiesComeFromCheckoutsOrLayersOnly) {
  build::CopyRequest request{.build = "b",
                             .from = {},
                             .sources = {"a"},
                             .dest = "/x",
                             .chown = "",
                             .chmod = "",
                             .ignore = "",
                             .add = false};
  EXPECT_FALSE(check_copy(request));  // neither
  request.from.checkout = "shop/4f2a";
  EXPECT_TRUE(check_copy(request));
  request.from.layers = {Digest::of_sha256("x")};
  EXPECT_FALSE(check_copy(request));  // both
  request.from.layers.clear();
  for (const char* path : {"/etc", "../volumes", "a/../../b", "a//b", "."}) {
    request.from.checkout = path;
    EXPECT_FALSE(check_copy(request)) << path;
  }
  request.from.checkout = "shop";
  request.dest = "relative";
  EXPECT_FALSE(check_copy(request));
}

TEST(Checks, FieldsOfAnotherTypeAreNamed) {
  const Json request{{"container", 7}, {"argv", "x"}, {"timeout_ms", Json::array()}};
  EXPECT_EQ(field<std::string>(request, "container").error().code, Code::malformed);
  EXPECT_EQ(field<std::vector<std::string>>(request, "argv").error().code, Code::malformed);
  EXPECT_NE(field<std::int64_t>(request, "timeout_ms").error().context.find("timeout_ms"), std::string::npos);
  EXPECT_EQ(field<std::string>(request, "none").error().code, Code::malformed);
}

TEST(Benches, FindANameserverThatAContainerCanReach) {
  EXPECT_EQ(reachable_nameserver("# x\nnameserver 127.0.0.53\nnameserver 10.1.2.3\n"), "10.1.2.3");
  EXPECT_EQ(reachable_nameserver("nameserver\t192.0.2.1 # comment\n"), "192.0.2.1");
  for (const char* none : {"", "nameserver", "nameserver \n", "nameserver ::1\n", "nameserverx 1.2.3.4",
                           "search a.b\nnameserver 127.0.0.1"})
    EXPECT_EQ(reachable_nameserver(none), "") << none;
}

}  // namespace
}  // namespace naru::launcher
