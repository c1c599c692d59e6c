#include "network/firewalls.h"

#include <algorithm>

#include "base/take.h"
#include "os/nftables.h"

namespace naru::network {

namespace {

// Of the text of one chain. What is longer is not for people to read either: its policy counts alone.
constexpr std::size_t kMostRules = 4U << 20;

struct ForwardChain {
  std::string name;  // "family table chain"
  bool drops = false;
};

std::string_view take_line(std::string_view& text) {
  std::string_view line = take_until(text, '\n');
  while (line.starts_with('\t') || line.starts_with(' ')) line.remove_prefix(1);
  while (line.ends_with(' ')) line.remove_suffix(1);
  return line;
}

std::string_view take_word(std::string_view& text) {
  return take_until(text, ' ');
}

// "table inet firewalld {": "inet firewalld".
std::string_view named(std::string_view line, std::string_view what) {
  line.remove_prefix(what.size());
  if (line.ends_with(" {")) line.remove_suffix(2);
  return line;
}

bool is_narus(std::string_view table) {
  take_word(table);  // its family
  return table.starts_with("naru_");
}

// It goes into a command for nft.
bool is_plain(std::string_view name) {
  return name.size() <= 300 && std::ranges::count(name, ' ') == 2 && std::ranges::all_of(name, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                  c == '-' || c == '.' || c == '/' || c == ' ';
         });
}

// A rule without a condition: only what counts and writes down may stand before the verdict.
bool stops_everything(std::string_view rule) {
  while (true) {
    const std::string_view word = take_word(rule);
    if (word == "drop" || word == "reject") return true;
    if (word == "counter") {
      if (rule.starts_with("packets "))
        for (int i = 0; i < 4; ++i) take_word(rule);
    } else if (word == "log") {
      while (rule.starts_with("prefix ") || rule.starts_with("level ") || rule.starts_with("flags ")) {
        const bool quoted = take_word(rule) == "prefix" && rule.starts_with('"');
        if (quoted)
          rule.remove_prefix(std::min(rule.find('"', 1), rule.size() - 1) + 1);
        else
          take_word(rule);
        if (rule.starts_with(' ')) rule.remove_prefix(1);
      }
    } else {
      return false;
    }
  }
}

std::vector<ForwardChain> read_chains(std::string_view listing) {
  std::vector<ForwardChain> found;
  std::string_view table, chain, last_rule;
  bool forward = false, policy_drops = false;
  while (!listing.empty()) {
    const std::string_view line = take_line(listing);
    if (line.starts_with("table ")) {
      table = named(line, "table ");
    } else if (line.starts_with("chain ")) {
      chain = named(line, "chain ");
      last_rule = {};
      forward = policy_drops = false;
    } else if (line == "}") {
      const bool ours = is_narus(table);
      if (forward && !ours && found.size() < kMostForwardChains)
        found.push_back({fmt::format("{} {}", table, chain), policy_drops || stops_everything(last_rule)});
      forward = false;
    } else if (line.starts_with("type ")) {
      forward = line.find(" hook forward ") != std::string_view::npos;
      policy_drops = line.ends_with("policy drop;");
    } else if (!line.empty() && !line.starts_with('#')) {
      last_rule = line;
    }
  }
  return found;
}

}  // namespace

std::vector<std::string> forward_chains(std::string_view listing) {
  std::vector<std::string> names;
  for (ForwardChain& chain : read_chains(listing))
    if (is_plain(chain.name)) names.push_back(std::move(chain.name));
  return names;
}

std::vector<std::string> forward_drops(std::string_view listing) {
  std::vector<std::string> names;
  for (ForwardChain& chain : read_chains(listing))
    if (chain.drops) names.push_back(std::move(chain.name));
  return names;
}

// One run for each chain: of several `list chain` in one, nft (1.0.6) knows only the last.
Result<std::vector<std::string>> find_forward_drops() {
  const std::string all = TRY(os::run_nftables("list chains\n"));
  std::vector<std::string> found = forward_drops(all);
  for (const std::string& chain : forward_chains(all)) {
    if (std::ranges::find(found, chain) != found.end()) continue;
    const auto rules = os::run_nftables(fmt::format("list chain {}\n", chain));
    if (rules && rules->size() <= kMostRules && !forward_drops(*rules).empty()) found.push_back(chain);
  }
  return found;
}

}  // namespace naru::network
