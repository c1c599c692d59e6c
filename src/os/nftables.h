// Runs nftables rulesets through libnftables. One call is one transaction: all of it holds or nothing.
// Acts on the network namespace of the calling thread. Errors: system, with what nft said.
#pragma once

#include <string>

#include "base/result.h"

namespace naru::os {

Result<std::string> run_nftables(const std::string& ruleset);  // what nft printed (for `list ...`)

}  // namespace naru::os
