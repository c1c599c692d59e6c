#include "base/rng.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <cstdlib>
#include <vector>

namespace naru {

namespace {
void fill_random(void* into, std::size_t size) {
  auto* bytes = static_cast<unsigned char*>(into);
  while (size > 0) {
    const ssize_t got = ::getrandom(bytes, size, 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      std::abort();  // getrandom without flags cannot fail on a supported kernel
    }
    bytes += got;
    size -= static_cast<std::size_t>(got);
  }
}
}  // namespace

std::string secure_random_hex(std::size_t bytes) {
  std::vector<unsigned char> raw(bytes);
  fill_random(raw.data(), raw.size());
  return fmt::format("{:02x}", fmt::join(raw, ""));
}

std::uint64_t secure_random_u64() {
  std::uint64_t value = 0;
  fill_random(&value, sizeof value);
  return value;
}

}  // namespace naru
