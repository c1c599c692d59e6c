#include "network/separation.h"

#include <map>

#include "base/result.h"

namespace naru::network {

namespace {

bool share(const std::set<std::string>& a, const std::set<std::string>& b) {
  return std::ranges::any_of(a, [&](const std::string& segment) { return b.contains(segment); });
}

}  // namespace

std::string set_of(std::string_view kind, std::string_view name, std::string_view type,
                   const std::vector<std::string>& elements, bool interval) {
  std::string text =
      fmt::format("  {} {} {{\n    {}{}\n", kind, name, type.starts_with("typeof ") ? "" : "type ", type);
  if (interval) text += "    flags interval\n";
  if (!elements.empty()) text += fmt::format("    elements = {{ {} }}\n", fmt::join(elements, ", "));
  return text + "  }\n";
}

bool is_separated(const std::vector<RuledMember>& members) {
  std::set<std::set<std::string>> kinds;
  for (const RuledMember& member : members) kinds.insert(member.segments);
  for (const auto& a : kinds)
    for (const auto& b : kinds)
      if (!share(a, b)) return true;
  return false;
}

Separation render_separation(const std::vector<std::vector<RuledMember>>& networks, bool by_port) {
  const std::string_view type = by_port ? "ifname" : "ipv4_addr", to = by_port ? "oifname" : "ip daddr";
  Separation out;
  std::vector<std::string> verdicts;
  std::size_t segments = 0, groups = 0;
  for (const auto& members : networks) {
    std::map<std::string, std::vector<std::string>> by_segment;
    std::map<std::set<std::string>, std::vector<std::string>> by_kind;
    for (const RuledMember& member : members) {
      const std::string key = by_port ? fmt::format("\"{}\"", member.port) : member.address;
      for (const std::string& segment : member.segments) by_segment[segment].push_back(key);
      by_kind[member.segments].push_back(key);
    }
    std::map<std::string, std::size_t> number;
    for (const auto& [segment, keys] : by_segment) {
      number[segment] = segments;
      out.sets += set_of("set", fmt::format("segment_{}", segments++), type, keys, false);
    }
    for (const auto& [kind, keys] : by_kind) {
      for (const std::string& key : keys) verdicts.push_back(fmt::format("{} : goto group_{}", key, groups));
      out.chains += fmt::format("  chain group_{} {{\n", groups++);
      for (const std::string& segment : kind)
        out.chains += fmt::format("    {} @segment_{} accept\n", to, number[segment]);
      out.chains += "    drop\n  }\n";
    }
  }
  out.sets += set_of("map", "groups", fmt::format("{} : verdict", type), verdicts, false);
  return out;
}

}  // namespace naru::network
