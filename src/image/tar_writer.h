// A deterministic tar: POSIX ustar headers, pax records (pax(1), POSIX.1-2001) only where ustar cannot say
// it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace naru::image {

struct TarEntry {
  enum class Kind : char { file = '0', hardlink = '1', symlink = '2', folder = '5', fifo = '6' };
  Kind kind = Kind::file;
  std::string name{};    // relative; a folder's ends in "/"
  std::string target{};  // of a link
  std::uint32_t mode = 0644, uid = 0, gid = 0;
  std::uint64_t size = 0;  // of a file
  std::int64_t mtime = 0;  // seconds
  std::map<std::string, std::string> xattrs{};
};

class TarWriter {
 public:
  using Sink = std::function<Result<>(std::string_view)>;
  explicit TarWriter(Sink sink) : sink_(std::move(sink)) {}

  Result<> begin(const TarEntry& entry);
  Result<> data(std::string_view bytes);  // exactly entry.size bytes in all
  Result<> end();                         // of the entry: padding
  Result<> finish();                      // the closing zero blocks

 private:
  Result<> header(const TarEntry& entry, char kind, std::string_view name, std::string_view target,
                  std::uint64_t size);
  Result<> pad(std::uint64_t size);
  Sink sink_;
  std::uint64_t expected_ = 0, written_ = 0;
};

}  // namespace naru::image
