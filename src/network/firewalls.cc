#include "network/firewalls.h"

#include <algorithm>

namespace naru::network {

std::vector<std::string> forward_drops(std::string_view chains) {
  std::vector<std::string> found;
  std::string table;
  bool forward = false;
  while (!chains.empty()) {
    const auto end = std::min(chains.find('\n'), chains.size());
    std::string_view line = chains.substr(0, end);
    chains.remove_prefix(std::min(end + 1, chains.size()));
    while (line.starts_with('\t') || line.starts_with(' ')) line.remove_prefix(1);
    if (line.starts_with("table ")) {
      line = line.substr(6, line.find(" {") == std::string_view::npos ? line.npos : line.find(" {") - 6);
      table = line;
    } else if (line.starts_with("chain ")) {
      forward = false;
    }
    forward = forward || line.find("hook forward") != std::string_view::npos;
    const bool drops = forward && line.find("policy drop") != std::string_view::npos;
    if (drops && table.find("naru_") == std::string::npos && std::ranges::find(found, table) == found.end())
      found.push_back(table);
  }
  return found;
}

}  // namespace naru::network
