// How the verbs are written: names, options, help and examples (CLI11). Parsing picks a function; nothing
// runs here.
#pragma once

#include <CLI/CLI.hpp>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/verbs.h"

namespace naru::cli {

using Verb = std::function<Done(const Session&)>;

class Grammar {
 public:
  Grammar();
  CLI::App& root() { return root_; }

  struct Parsed {
    Verb verb;  // null when `text` is the whole answer (help, version)
    std::string text;
    std::optional<Error> wrong;  // the words make no sense: status 2
    bool json = false;
    std::string data;
  };
  Parsed parse(std::vector<std::string> words);

  // For what adds verbs.
  CLI::App* group(CLI::App* parent, const std::string& name, const std::string& description,
                  const std::vector<std::string>& examples);
  // `examples`: lines "naru ps shop", each with an optional "  # why".
  CLI::App* verb(CLI::App* parent, const std::string& name, const std::string& description,
                 const std::vector<std::string>& examples, Verb run);

 private:
  void add_common(CLI::App* app);
  std::optional<Error> wrong_name(const std::vector<std::string>& words) const;
  CLI::App root_;
  Verb chosen_;
  bool json_ = false;
  std::string data_;
};

void add_platform_verbs(Grammar& grammar);  // up, down, app, status, ps, logs, image, ...
void add_delivery_verbs(Grammar& grammar);  // rollout, promote, env, exec, events, ...

// The name nearest to a mistyped one, or "" when none is near.
std::string nearest_command(const std::string& word, const std::vector<std::string>& names);

}  // namespace naru::cli
