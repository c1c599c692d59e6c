// Any bytes as a layer: unpacked from gzip or zstd and read as a tar to its end, within the bounds. What is
// done with the entries on a disk stands in the tests of image/unpack: a fuzzer that runs as root must not
// write.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "base/fd.h"
#include "image/tar_reader.h"

namespace image = naru::image;

namespace {

constexpr image::StreamLimits kLimits{.bytes = 4 << 20, .ratio = 50, .ratio_floor = 64 << 10};
constexpr int kMostEntries = 1000;

void require(bool ok) {
  if (!ok) std::abort();
}

naru::Fd file_of(std::string_view bytes) {
  naru::Fd fd(::memfd_create("layer", MFD_CLOEXEC));
  require(fd.valid() && ::write(fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  require(::lseek(fd.get(), 0, SEEK_SET) == 0);
  return fd;
}

void read_entries(image::TarReader& reader) {
  for (int i = 0; i < kMostEntries; ++i) {
    const auto entry = reader.next();
    if (!entry || *entry == nullptr) return;
    (void)image::entry_name(*entry);
    (void)image::entry_hardlink(*entry);
    (void)image::entry_symlink(*entry);
    if (i % 2 == 0) {
      const auto small = reader.read_small(4096, "an entry");
      require(!small || small->size() <= 4096);
      continue;
    }
    while (true) {
      const auto data = reader.read();
      if (!data || data->bytes.empty()) break;
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto compression = image::sniff_compression(bytes.substr(0, 6));
  if (bytes.size() >= 512) (void)image::looks_like_tar(bytes.substr(0, 512));
  const naru::Fd fd = file_of(bytes);
  if (auto stream = image::TarStream::open(fd.get(), compression, kLimits)) {
    if (const auto reader = image::TarReader::open(*stream)) read_entries(**reader);
    (void)stream->finish();
    require(stream->tar_bytes() <= kLimits.bytes + (1 << 20));
  }
  return 0;
}
