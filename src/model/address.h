// IPv4 arithmetic on the ranges that the launcher hands out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace naru {

// nth_address("10.88.2.0/23", 5) == "10.88.2.5". Empty when the range is malformed or has no such address.
std::string nth_address(std::string_view range, std::uint32_t n);

}  // namespace naru
