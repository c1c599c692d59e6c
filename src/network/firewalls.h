// Other firewalls of this machine, as far as they stand in the way.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace naru::network {

// The chains that forward_drops() below means, of the network namespace of the calling thread. system: nft
// does not tell.
Result<std::vector<std::string>> find_forward_drops();

inline constexpr std::size_t kMostForwardChains = 32;

// From the text of `nft list chains`: what is at the forward hook, as "inet firewalld filter_FORWARD", but
// Narus' own and names that nft does not read. At most kMostForwardChains.
std::vector<std::string> forward_chains(std::string_view listing);

// From the text of `nft list chain ...`, of one or several: those of them that let nothing pass that their
// rules do not allow, by their policy or by a last rule that drops or rejects whatever it meets.
std::vector<std::string> forward_drops(std::string_view listing);

}  // namespace naru::network
