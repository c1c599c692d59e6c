// YAML 1.2 as a tree that remembers where everything stood. Pure; made for hostile bytes.
//
// Source: yaml.org/spec/1.2.2; scalars stay text and are read by the core schema (10.3.2) by whoever wants a
// type, so that variables can be put in first. Aliases are expanded and merge keys (`<<`,
// yaml.org/type/merge.html) applied here, within bounds: a document of a few lines cannot become gigabytes
// ("billion laughs").
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace naru::format {

enum class YamlKind : unsigned char { scalar, sequence, mapping };

struct YamlEntry;

// Copies are deep. An alias's nodes keep the place of the anchor's.
struct YamlNode {
  YamlKind kind = YamlKind::scalar;
  std::uint32_t line = 0, column = 0;  // from 1
  bool plain = true;                   // scalar: written without quotes, hence typed by the core schema
  std::string text;                    // scalar
  std::vector<YamlNode> items;         // sequence
  std::vector<YamlEntry> entries;      // mapping, in the file's order; keys are unique

  bool is_null() const;
  const YamlNode* find(std::string_view key) const;
};

struct YamlEntry {
  std::string key;
  std::uint32_t line = 0, column = 0;  // of the key
  YamlNode value;
};

struct YamlLimits {
  std::size_t bytes = 1 << 20;
  std::size_t nodes = 50'000;            // after aliases are expanded
  std::size_t expanded_bytes = 4 << 20;  // of text copied by aliases
  std::size_t depth = 50;
};

// Exactly one document. malformed or too_large, as "FILE:LINE:COL: ..." with the line and a caret.
Result<YamlNode> parse_yaml(std::string_view text, std::string_view file_name, const YamlLimits& limits = {});

// The core schema, for plain scalars and for text that variables were put into.
bool yaml_null(std::string_view text);
std::optional<bool> yaml_bool(std::string_view text);         // true, True, TRUE, false, ...
std::optional<std::int64_t> yaml_int(std::string_view text);  // 12, -3, 0o17, 0x1f
std::optional<double> yaml_float(std::string_view text);      // finite ones

// "    | <the line>\n    | <spaces>^", long lines cut around the column; "" when there is no such line.
std::string excerpt(std::string_view text, std::uint32_t line, std::uint32_t column);
std::string_view line_of(std::string_view text, std::uint32_t line);
// The same for a line that was already taken out.
std::string caret_under(std::string_view line, std::uint32_t column);

}  // namespace naru::format
