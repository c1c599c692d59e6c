// Tars made by hand, and a folder that goes: for the tests of this folder.
#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/fd.h"
#include "base/rng.h"
#include "image/tar_writer.h"

namespace naru::image::test {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Folder {
 public:
  Folder() : path(fs::temp_directory_path() / ("naru-image-" + secure_random_hex(6))) {
    fs::create_directories(path);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  fs::path path;
  fs::path write(const std::string& name, std::string_view bytes) const {
    fs::create_directories((path / name).parent_path());
    std::ofstream(path / name, std::ios::binary) << bytes;
    return path / name;
  }
};

inline std::string slurp(const fs::path& path) {
  std::ostringstream all;
  all << std::ifstream(path, std::ios::binary).rdbuf();
  return all.str();
}

using Kind = TarEntry::Kind;

class Tar {
 public:
  Tar& add(const TarEntry& entry, std::string_view content = "") {
    EXPECT_TRUE(writer_.begin(entry));
    EXPECT_TRUE(writer_.data(content));
    EXPECT_TRUE(writer_.end());
    return *this;
  }
  Tar& file(const std::string& name, std::string_view content, std::uint32_t mode = 0644) {
    return add({.kind = Kind::file,
                .name = name,
                .target = {},
                .mode = mode,
                .size = content.size(),
                .mtime = 1000,
                .xattrs = {}},
               content);
  }
  Tar& folder(const std::string& name, std::uint32_t mode = 0755) {
    return add(
        {.kind = Kind::folder, .name = name + "/", .target = {}, .mode = mode, .mtime = 2000, .xattrs = {}});
  }
  Tar& symlink(const std::string& name, const std::string& target) {
    return add({.kind = Kind::symlink, .name = name, .target = target, .xattrs = {}});
  }
  Tar& hardlink(const std::string& name, const std::string& target) {
    return add({.kind = Kind::hardlink, .name = name, .target = target, .xattrs = {}});
  }
  Tar& device(const std::string& name, char kind) {
    return add({.kind = static_cast<Kind>(kind), .name = name, .target = {}, .xattrs = {}});
  }
  std::string bytes() const { return out_ + std::string(1024, '\0'); }
  std::string unfinished() const { return out_; }

 private:
  std::string out_;
  TarWriter writer_{[this](std::string_view bytes) -> Result<> {
    out_ += bytes;
    return {};
  }};
};

inline std::string gzip(std::string_view bytes) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<unsigned char*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<unsigned>(bytes.size());
  stream.next_out = reinterpret_cast<unsigned char*>(out.data());
  stream.avail_out = static_cast<unsigned>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

inline std::string zstd(std::string_view bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 3));
  return out;
}

}  // namespace naru::image::test
