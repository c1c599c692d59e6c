#include "model/address.h"

#include <arpa/inet.h>

#include <charconv>

namespace naru {

std::string nth_address(std::string_view range, std::uint32_t n) {
  const auto slash = range.find('/');
  if (slash == std::string_view::npos) return {};
  unsigned bits = 33;
  std::from_chars(range.data() + slash + 1, range.data() + range.size(), bits);
  in_addr base{};
  if (bits > 32 || inet_pton(AF_INET, std::string(range.substr(0, slash)).c_str(), &base) != 1) return {};
  if (bits > 0 && n >= (1ULL << (32 - bits))) return {};
  in_addr address{htonl(ntohl(base.s_addr) + n)};
  char text[INET_ADDRSTRLEN];
  return inet_ntop(AF_INET, &address, text, sizeof text);
}

}  // namespace naru
