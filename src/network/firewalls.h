// Other firewalls of this machine, as far as they stand in the way.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace naru::network {

// From the text of `nft list chains`: the tables, but our own, whose chain at the forward hook drops by
// default.
std::vector<std::string> forward_drops(std::string_view chains);

}  // namespace naru::network
