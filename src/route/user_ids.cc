#include "route/user_ids.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <array>

#include "base/rng.h"
#include "route/cohort.h"

namespace naru::route {
namespace {

constexpr std::size_t kSignedDigits = 32;
constexpr std::size_t kDigits = 48;

using V6 = std::array<std::uint8_t, 16>;

bool is_private_v4(std::uint32_t ip) {
  const auto in = [&](std::uint32_t network, int bits) { return (ip ^ network) >> (32 - bits) == 0; };
  return in(0x0a000000, 8) || in(0xac100000, 12) || in(0xc0a80000, 16) || in(0x64400000, 10) ||
         in(0xa9fe0000, 16) || in(0x7f000000, 8) || in(0, 8);
}

std::string network_v4(std::uint32_t ip) {
  return is_private_v4(ip) ? "" : fmt::format("{:08x}", ip);
}

std::uint32_t last_v4(const V6& ip) {
  return std::uint32_t{ip[12]} << 24 | std::uint32_t{ip[13]} << 16 | std::uint32_t{ip[14]} << 8 | ip[15];
}

std::string network_v6(const V6& ip) {
  static constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (std::equal(kMapped.begin(), kMapped.end(), ip.begin())) return network_v4(last_v4(ip));
  const bool link_local = ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80;
  const bool unique_local = (ip[0] & 0xfe) == 0xfc;
  if (link_local || unique_local || ip == V6{} || ip == V6{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
    return "";
  std::string network;
  for (int i = 0; i < 7; ++i) network += fmt::format("{:02x}", ip[static_cast<std::size_t>(i)]);
  return network;
}

}  // namespace

std::string public_network(std::string_view ip) {
  const std::string text(ip);
  V6 bytes{};
  if (inet_pton(AF_INET, text.c_str(), bytes.data() + 12) == 1) return network_v4(last_v4(bytes));
  if (inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1) return network_v6(bytes);
  return "";
}

UserIds::UserIds(std::string_view key) : k0_(siphash24(5, 6, key)), k1_(siphash24(7, 8, key)) {}

std::uint64_t UserIds::mac(std::string_view text) const {
  return siphash24(k0_, k1_, text);
}

std::string UserIds::make(std::string_view client_ip, WallTime now) const {
  const std::string network = public_network(client_ip);
  const auto hour = std::chrono::floor<std::chrono::hours>(now.time_since_epoch()).count();
  const std::string origin = network.empty()
                                 ? secure_random_hex(8)
                                 : fmt::format("{:016x}", mac(fmt::format("origin {} {}", network, hour)));
  std::string id = origin + secure_random_hex(8);
  id += fmt::format("{:016x}", mac(id));
  return id;
}

bool UserIds::made(std::string_view id) const {
  if (id.size() != kDigits) return false;
  std::uint64_t word = mac(id.substr(0, kSignedDigits)), differ = 0;
  for (std::size_t i = kDigits; i-- > kSignedDigits; word >>= 4)
    differ |= static_cast<unsigned char>(id[i]) ^ static_cast<unsigned char>("0123456789abcdef"[word & 15]);
  return differ == 0;
}

}  // namespace naru::route
