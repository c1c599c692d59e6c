#include "image/unpack.h"

#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "image/diff.h"
#include "image/image_fixture.h"

namespace naru::image {
namespace {

using namespace test;
using format::kOciLayerGzip;
using format::kOciLayerTar;
using format::kOciLayerZstd;

struct World {
  Folder folder;
  fs::path layers = folder.path / "layers";
  fs::path outside = folder.path / "outside";
  fs::path made;
  World() {
    fs::create_directories(layers);
    fs::create_directories(outside);
    folder.write("outside/secret", "secret");
  }
  Result<UnpackReport> unpack(const std::string& tar, const UnpackLimits& limits = {},
                              std::string_view type = kOciLayerTar, const std::string& blob = {}) {
    const fs::path path = folder.write("blob", blob.empty() ? tar : blob);
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const Digest diff_id = Digest::of_sha256(tar);
    made = layers / std::string(diff_id.hex());
    return unpack_layer(fd.get(), type, diff_id, made, limits);
  }
  // Nothing beside the finished layers, nothing outside touched.
  void expect_clean(std::size_t finished) const {
    EXPECT_EQ(static_cast<std::size_t>(std::distance(fs::directory_iterator(layers), {})), finished);
    EXPECT_EQ(static_cast<std::size_t>(std::distance(fs::directory_iterator(outside), {})), 1U);
    EXPECT_EQ(slurp(outside / "secret"), "secret");
  }
};

struct stat look(const fs::path& path) {
  struct stat info{};
  EXPECT_EQ(::lstat(path.c_str(), &info), 0) << path;
  return info;
}
bool is_whiteout(const fs::path& path) {
  struct stat info{};
  return ::lstat(path.c_str(), &info) == 0 && S_ISCHR(info.st_mode) && info.st_rdev == makedev(0, 0);
}
std::string xattr(const fs::path& path, const char* name) {
  char value[256];
  const ssize_t size = ::lgetxattr(path.c_str(), name, value, sizeof value);
  return size < 0 ? "(none)" : std::string(value, static_cast<std::size_t>(size));
}

TEST(Unpack, MakesFilesFoldersAndLinksWithTheirModesOwnersAndTimes) {
  World world;
  Tar tar;
  tar.folder(".", 0711).folder("usr", 0750).folder("usr/bin");
  tar.add({.kind = Kind::file,
           .name = "usr/bin/tool",
           .target = {},
           .mode = 04755,
           .uid = 12,
           .gid = 34,
           .size = 3,
           .mtime = 77,
           .xattrs = {{"user.colour", "red"}}},
          "abc");
  tar.symlink("bin", "usr/bin")
      .hardlink("usr/bin/again", "usr/bin/tool")
      .file("bin/through-link", "x")
      .add({.kind = Kind::fifo, .name = "pipe", .target = {}, .mode = 0622, .xattrs = {}});
  const auto report = world.unpack(tar.bytes());
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(look(world.made).st_mode & 07777, 0711U);
  EXPECT_EQ(look(world.made / "usr").st_mode & 07777, 0750U);
  EXPECT_EQ(look(world.made / "usr").st_mtime, 2000);
  const auto tool = look(world.made / "usr/bin/tool");
  EXPECT_EQ(tool.st_mode & 07777, 04755U);
  EXPECT_EQ(tool.st_uid, 12U);
  EXPECT_EQ(tool.st_gid, 34U);
  EXPECT_EQ(tool.st_mtime, 77);
  EXPECT_EQ(tool.st_nlink, 2U);
  EXPECT_EQ(xattr(world.made / "usr/bin/tool", "user.colour"), "red");
  EXPECT_EQ(slurp(world.made / "usr/bin/through-link"), "x");
  EXPECT_TRUE(S_ISFIFO(look(world.made / "pipe").st_mode));
  world.expect_clean(1);
}

TEST(Unpack, ReadsGzipAndZstdAndVerifiesTheTarInside) {
  const std::string tar = Tar().file("a", "hello").bytes();
  for (const auto& [type, blob] : {std::pair{kOciLayerGzip, gzip(tar)},
                                   {kOciLayerZstd, zstd(tar)},
                                   {kOciLayerGzip, gzip(tar.substr(0, 700)) + gzip(tar.substr(700))}}) {
    World world;
    ASSERT_TRUE(world.unpack(tar, {}, type, blob));
    EXPECT_EQ(slurp(world.made / "a"), "hello");
    const auto again = world.unpack(tar, {}, type, blob);
    ASSERT_TRUE(again);
    EXPECT_TRUE(again->already_there);
    world.expect_clean(1);
  }
}

TEST(Unpack, LeavesNothingWhenTheDiffIdIsAnother) {
  World world;
  const auto report =
      world.unpack(Tar().file("a", "one").bytes(), {}, kOciLayerTar, Tar().file("a", "two").bytes());
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Code::digest_mismatch);
  // Bytes after the end of the tar count, too.
  EXPECT_EQ(world
                .unpack(Tar().file("a", "one").bytes(), {}, kOciLayerTar,
                        Tar().file("a", "one").bytes() + std::string(512, 'x'))
                .error()
                .code,
            Code::digest_mismatch);
  world.expect_clean(0);
}

TEST(Unpack, TranslatesWhiteoutsForOverlay) {
  World world;
  Tar tar;
  tar.file("etc/.wh.gone", "")
      .folder("var")
      .file("var/.wh..wh..opq", "")
      .file("var/kept", "k")
      .file(".wh..wh.plnk", "")
      .file("own", "o")
      .file(".wh.own", "");
  tar.file(".wh.reborn", "").folder("reborn").file("reborn/x", "");
  ASSERT_TRUE(world.unpack(tar.bytes()));
  EXPECT_TRUE(is_whiteout(world.made / "etc/gone"));
  EXPECT_EQ(xattr(world.made / "var", "trusted.overlay.opaque"), "y");
  EXPECT_EQ(slurp(world.made / "var/kept"), "k");
  EXPECT_EQ(slurp(world.made / "own"), "o");
  EXPECT_EQ(xattr(world.made / "reborn", "trusted.overlay.opaque"), "y");
  EXPECT_FALSE(fs::exists(world.made / ".wh..wh.plnk"));
}

TEST(Unpack, KeepsNamesInAnyLanguageAndOfAnyLength) {
  World world;
  const std::string korean = "나루/터미널.txt",
                    deep = std::string(120, 'd') + "/" + std::string(200, 'e') + "/" + std::string(250, 'f');
  const std::string raw = "latin-\xe9\xff";
  ASSERT_TRUE(world.unpack(
      Tar().file(korean, "k").file(deep, "d").file(raw, "r").symlink("l", std::string(300, 't')).bytes()));
  EXPECT_EQ(slurp(world.made / korean), "k");
  EXPECT_EQ(slurp(world.made / deep), "d");
  EXPECT_EQ(slurp(world.made / raw), "r");
  EXPECT_EQ(fs::read_symlink(world.made / "l").string().size(), 300U);
}

TEST(Unpack, LaterEntriesReplaceEarlierOnes) {
  World world;
  Tar tar;
  tar.file("a/b", "1")
      .file("a/b", "2")
      .file("d/x", "")
      .symlink("s", "d")
      .folder("s")
      .file("s/y", "y")
      .file("f/sub/z", "")
      .file("f", "now a file");
  ASSERT_TRUE(world.unpack(tar.bytes()));
  EXPECT_EQ(slurp(world.made / "a/b"), "2");
  EXPECT_EQ(slurp(world.made / "s/y"), "y");
  EXPECT_FALSE(fs::exists(world.made / "d/y"));
  EXPECT_EQ(slurp(world.made / "f"), "now a file");
}

TEST(Unpack, NeverWritesOutsideOfItsRoot) {
  World probe;
  const std::string out = probe.outside.string();
  const std::string up = "../../outside";
  const std::pair<const char*, Tar> attacks[] = {
      {"dotdot", Tar().file("../outside/evil", "x")},
      {"inner dotdot", Tar().folder("a").file("a/../../../outside/evil", "x")},
      {"absolute", Tar().file(out + "/evil", "x")},
      {"symlink then write", Tar().symlink("link", out).file("link/evil", "x")},
      {"relative symlink then write", Tar().symlink("link", up).file("link/evil", "x")},
      {"chain of symlinks", Tar()
                                .symlink("a", ".")
                                .symlink("a/b", "../..")
                                .symlink("b/c", "../../../" + out)
                                .file("c/evil", "x")
                                .file("b/outside/evil", "x")},
      {"symlink replaced file", Tar().symlink("secret", out + "/secret").file("secret", "overwritten")},
      {"hard link outside", Tar().hardlink("stolen", out + "/secret")},
      {"hard link by dotdot", Tar().hardlink("stolen", "../../outside/secret")},
      {"hard link through symlink", Tar().symlink("link", out).hardlink("stolen", "link/secret")},
      {"hard link to symlink, then write",
       Tar().symlink("link", out + "/secret").hardlink("l2", "link").file("l2", "overwritten")},
      {"proc link", Tar().symlink("p", "/proc/self/root").file("p" + out + "/evil", "x")},
      {"whiteout of dotdot", Tar().file(".wh...", "")},
      {"whiteout through symlink", Tar().symlink("link", out).file("link/.wh.secret", "")},
      {"opaque through symlink", Tar().symlink("link", out).file("link/.wh..wh..opq", "")},
      {"folder over symlink", Tar().symlink("link", out).folder("link", 0777)},
      {"folder .wh..", Tar().folder(".wh...").file(".wh.../evil", "x")},
  };
  for (const auto& [name, tar] : attacks) {
    SCOPED_TRACE(name);
    const auto info = look(probe.outside);
    const auto report = probe.unpack(tar.bytes());
    if (report) {
      fs::remove_all(probe.made);
    } else {
      EXPECT_THAT(report.error().code, ::testing::AnyOf(Code::layer_escape, Code::malformed))
          << report.error().message();
    }
    EXPECT_EQ(look(probe.outside).st_mode, info.st_mode);
    EXPECT_EQ(xattr(probe.outside, "trusted.overlay.opaque"), "(none)");
    EXPECT_EQ(look(probe.outside / "secret").st_nlink, 1U);
    probe.expect_clean(0);
  }
}

TEST(Unpack, LeavesDevicesAndForeignAttributesOut) {
  World world;
  Tar tar;
  tar.device("null", '3').device("disk", '4');
  tar.add({.kind = Kind::folder,
           .name = "d/",
           .target = {},
           .mode = 0755,
           .xattrs = {{"trusted.overlay.redirect", "/etc"},
                      {"trusted.overlay.opaque", "y"},
                      {"user.overlay.opaque", "y"}}});
  const auto report = world.unpack(tar.bytes());
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->devices_left_out, 2U);
  EXPECT_EQ(report->xattrs_left_out, 3U);
  EXPECT_FALSE(fs::exists(world.made / "null"));
  EXPECT_EQ(xattr(world.made / "d", "trusted.overlay.redirect"), "(none)");
  EXPECT_EQ(xattr(world.made / "d", "trusted.overlay.opaque"), "(none)");
}

TEST(Unpack, IsBoundedAgainstBombs) {
  World world;
  const UnpackLimits small{
      .entries = 10, .bytes = 1 << 20, .ratio = 20, .ratio_floor = 64 << 10, .depth = 16, .xattr_bytes = 100};
  Tar many;
  for (int i = 0; i < 11; ++i) many.file(std::to_string(i), "");
  const std::string zeros(900'000, '\0');
  std::string deep, longest(300, 'n');
  for (int i = 0; i < 17; ++i) deep += "d/";
  const std::tuple<const char*, std::string, std::string_view, std::string> bombs[] = {
      {"entries", many.bytes(), kOciLayerTar, ""},
      {"bytes", Tar().file("a", std::string((1 << 20) + 1, 'x')).bytes(), kOciLayerTar, ""},
      {"ratio gzip", Tar().file("a", zeros).bytes(), kOciLayerGzip, gzip(Tar().file("a", zeros).bytes())},
      {"ratio zstd", Tar().file("a", zeros).bytes(), kOciLayerZstd, zstd(Tar().file("a", zeros).bytes())},
      {"depth", Tar().file(deep + "x", "").bytes(), kOciLayerTar, ""},
      {"name", Tar().file(longest, "").bytes(), kOciLayerTar, ""},
      {"path", Tar().file(std::string(2100, 'a') + "/" + std::string(2100, 'b'), "").bytes(), kOciLayerTar,
       ""},
      {"xattrs",
       Tar()
           .add(
               {.kind = Kind::file, .name = "x", .target = {}, .xattrs = {{"user.a", std::string(101, 'v')}}})
           .bytes(),
       kOciLayerTar, ""},
  };
  for (const auto& [name, tar, type, blob] : bombs) {
    const auto report = world.unpack(tar, small, type, blob);
    ASSERT_FALSE(report) << name;
    EXPECT_EQ(report.error().code, Code::too_large) << name << ": " << report.error().message();
  }
  // A header that promises 8 EiB.
  std::string huge =
      Tar().add({.kind = Kind::file, .name = "h", .target = {}, .size = 0, .xattrs = {}}).bytes();
  const auto promise = [&](std::string size) {
    std::string bytes = huge;
    bytes.replace(124, 12, size);
    unsigned sum = 0;
    for (int i = 0; i < 512; ++i)
      sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(bytes[static_cast<std::size_t>(i)]);
    return bytes.replace(148, 7, fmt::format("{:06o}", sum) + std::string(1, '\0'));
  };
  EXPECT_FALSE(world.unpack(promise("77777777777" + std::string(1, '\0'))));
  EXPECT_FALSE(world.unpack(promise("\x80" + std::string(3, '\0') + "\x7f\xff\xff\xff\xff\xff\xff\xff")));
  world.expect_clean(0);
}

TEST(Unpack, RefusesGarbageWithoutLeavingAnything) {
  World world;
  const std::string good =
      Tar().folder("a").file("a/b", std::string(3000, 'x')).symlink("l", "a").hardlink("h", "a/b").bytes();
  for (const std::string& bad : {std::string("x"), std::string(511, 'x'), std::string(2048, 'x'),
                                 good.substr(0, 700), good.substr(0, 1100), good.substr(0, 3000)})
    EXPECT_FALSE(world.unpack(bad)) << bad.size();
  EXPECT_FALSE(world.unpack(good, {}, kOciLayerGzip, good));
  EXPECT_FALSE(world.unpack(good, {}, kOciLayerGzip, gzip(good).substr(0, 60)));
  EXPECT_FALSE(world.unpack(good, {}, kOciLayerZstd, zstd(good).substr(0, 40)));
  EXPECT_EQ(world.unpack(good, {}, "application/x-what").error().code, Code::unsupported);
  Rng rng(11);
  for (int round = 0; round < 400; ++round) {
    std::string bytes = good;
    for (int flips = 0; flips < 3; ++flips) bytes[rng.below(2600)] = static_cast<char>(rng.below(256));
    if (world.unpack(bytes)) fs::remove_all(world.made);
  }
  world.expect_clean(0);
}

TEST(Unpack, RemovesWhatAKilledWorkerLeft) {
  World world;
  fs::create_directories(world.layers / ".unpack-0123/a/b");
  fs::create_directories(world.layers / "abc");
  ASSERT_TRUE(remove_stale_unpacks(world.layers));
  world.expect_clean(1);
}

TEST(ExtractArchive, UnpacksIntoAnOpenFolderAndRefusesWhiteouts) {
  Folder folder;
  fs::create_directories(folder.path / "root");
  const Fd root(::open((folder.path / "root").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto extract = [&](const std::string& bytes) {
    const Fd fd(::open(folder.write("t", bytes).c_str(), O_RDONLY | O_CLOEXEC));
    return extract_archive(fd.get(), root.get());
  };
  ASSERT_TRUE(extract(gzip(Tar().file("a/b", "x").bytes())));
  EXPECT_EQ(slurp(folder.path / "root/a/b"), "x");
  EXPECT_EQ(extract(Tar().file("a/.wh.b", "").bytes()).error().code, Code::malformed);
  EXPECT_EQ(extract(Tar().file("../evil", "").bytes()).error().code, Code::layer_escape);
}

TEST(Diff, GivesBackWhatWasUnpacked) {
  World world;
  Tar tar;
  tar.folder("a")
      .file("a/x", "x", 04711)
      .file("b", std::string(300'000, 'b'))
      .hardlink("c", "b")
      .symlink("l", "/a/x")
      .file("a/.wh.gone", "")
      .folder("o")
      .file("o/.wh..wh..opq", "")
      .file("나루", "k");
  tar.add({.kind = Kind::file,
           .name = "z",
           .target = {},
           .uid = 3'000'000,
           .size = 1,
           .mtime = 9,
           .xattrs = {{"user.k", std::string("v\0w", 3)}}},
          "z");
  tar.add({.kind = Kind::fifo, .name = "zpipe", .target = {}, .mtime = 77, .xattrs = {}})
      .file(std::string(90, 'y') + "/" + std::string(120, 'q'), "long");
  ASSERT_TRUE(world.unpack(tar.bytes()));
  const fs::path first = world.made;
  for (const auto compression :
       {format::Compression::none, format::Compression::gzip, format::Compression::zstd}) {
    const fs::path blob = world.folder.path / "out";
    Fd out(::open(blob.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    const auto report = commit_layer(first, out.get(), {.compression = compression});
    ASSERT_TRUE(report) << report.error().message();
    EXPECT_EQ(Digest::of_sha256(slurp(blob)), report->blob);
    EXPECT_EQ(slurp(blob).size(), report->size);
    const fs::path again = world.layers / "again";
    const Fd in(::open(blob.c_str(), O_RDONLY | O_CLOEXEC));
    const auto unpacked = unpack_layer(in.get(), report->media_type, report->diff_id, again);
    ASSERT_TRUE(unpacked) << unpacked.error().message();
    EXPECT_TRUE(is_whiteout(again / "a/gone"));
    EXPECT_EQ(xattr(again / "o", "trusted.overlay.opaque"), "y");
    EXPECT_EQ(look(again / "b").st_nlink, 2U);
    EXPECT_EQ(look(again / "z").st_uid, 3'000'000U);
    EXPECT_EQ(xattr(again / "z", "user.k"), std::string("v\0w", 3));
    EXPECT_EQ(look(again / "a/x").st_mode & 07777, 04711U);
    EXPECT_EQ(slurp(again / "나루"), "k");
    EXPECT_EQ(look(again / "zpipe").st_mtime, look(first / "zpipe").st_mtime);
    Fd twice(::open((world.folder.path / "twice").c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    EXPECT_EQ(commit_layer(again, twice.get(), {.compression = compression})->blob, report->blob);
    fs::remove_all(again);
  }
}

TEST(Diff, ClampsTimesSoThatEqualBuildsGiveEqualLayers) {
  Digest digests[2];
  for (Digest& digest : digests) {
    World world;
    world.folder.write("up/a", "same");
    struct timespec times[2] = {{static_cast<time_t>(2'000'000'000 + secure_random_u64() % 1000), 5},
                                {static_cast<time_t>(2'000'000'000 + secure_random_u64() % 1000), 7}};
    ::utimensat(AT_FDCWD, (world.folder.path / "up/a").c_str(), times, 0);
    Fd out(::open((world.folder.path / "out").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    digest =
        commit_layer(world.folder.path / "up", out.get(), {.latest_mtime = seconds(1'700'000'000)})->blob;
  }
  EXPECT_EQ(digests[0], digests[1]);
}

TEST(Diff, FollowsNoLinkAndRefusesWhatALayerCannotSay) {
  World world;
  const fs::path up = world.folder.path / "up";
  fs::create_directories(up);
  const auto commit = [&](DiffOptions options = {}) {
    Fd out(::open((world.folder.path / "out").c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    options.compression = format::Compression::none;
    return commit_layer(up, out.get(), options);
  };
  fs::create_symlink(world.outside, up / "link");
  fs::create_symlink("/dev/zero", up / "zero");
  ASSERT_TRUE(commit());
  EXPECT_THAT(slurp(world.folder.path / "out"), ::testing::Not(HasSubstr("secret")));
  EXPECT_EQ(commit({.max_entries = 1}).error().code, Code::too_large);
  EXPECT_EQ(commit({.max_bytes = 600}).error().code, Code::too_large);
  world.folder.write("up/.wh.trick", "");
  EXPECT_EQ(commit().error().code, Code::unsupported);
  fs::remove(up / ".wh.trick");
  fs::create_directories(up / "moved");
  ASSERT_EQ(::setxattr((up / "moved").c_str(), "trusted.overlay.redirect", "x", 1, 0), 0);
  EXPECT_EQ(commit().error().code, Code::unsupported);
  fs::remove_all(up / "moved");
  ASSERT_EQ(::mknod((up / "null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
  EXPECT_EQ(commit()->left_out, 1U);
}

TEST(Diff, OfARealOverlayHidesWhatWasRemovedThere) {
  World world;
  const fs::path base = world.folder.path;
  for (const char* name : {"low", "up", "work", "merged"}) fs::create_directories(base / name);
  world.folder.write("low/gone", "x");
  world.folder.write("low/dir/inner", "x");
  world.folder.write("low/kept", "x");
  const std::string options = fmt::format(
      "lowerdir={0}/low,upperdir={0}/up,workdir={0}/work,redirect_dir=off,metacopy=off", base.string());
  ASSERT_EQ(::mount("overlay", (base / "merged").c_str(), "overlay", 0, options.c_str()), 0)
      << std::strerror(errno) << ": Naru needs overlayfs";
  fs::remove(base / "merged/gone");
  fs::remove_all(base / "merged/dir");
  world.folder.write("merged/dir/new", "n");
  ASSERT_EQ(::umount2((base / "merged").c_str(), 0), 0);
  Fd out(::open((base / "out").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const auto report = commit_layer(base / "up", out.get(), {.compression = format::Compression::none});
  ASSERT_TRUE(report) << report.error().message();
  const std::string tar = slurp(base / "out");
  for (const char* name : {".wh.gone", "dir/.wh..wh..opq", "dir/new"}) EXPECT_THAT(tar, HasSubstr(name));
  EXPECT_THAT(tar, ::testing::Not(HasSubstr("kept")));
}

}  // namespace
}  // namespace naru::image
