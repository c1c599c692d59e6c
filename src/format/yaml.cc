#include "format/yaml.h"

#include <libfyaml.h>

#include <charconv>
#include <cmath>
#include <optional>
#include <ranges>
#include <set>

#include "base/utf8.h"

namespace naru::format {
namespace {

// Characters that a cut line shows on either side of the column.
constexpr std::size_t kExcerptRadius = 70;

struct Place {
  std::uint32_t line = 0, column = 0;
};

struct ParserDeleter {
  void operator()(fy_parser* parser) const { fy_parser_destroy(parser); }
};
struct DiagDeleter {
  void operator()(fy_diag* diag) const { fy_diag_unref(diag); }
};

// Returns the event to its parser.
class Event {
 public:
  Event(fy_parser* parser, fy_event* event) : parser_(parser), event_(event) {}
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { fy_parser_event_free(parser_, event_); }
  fy_event* operator->() const { return event_; }
  explicit operator bool() const { return event_ != nullptr; }
  Place place() const {
    const fy_mark* mark = fy_event_start_mark(event_);
    if (mark == nullptr) return {};
    // libfyaml points behind the quote or the asterisk.
    const int column = mark->column + (quoted() || event_->type == FYET_ALIAS ? 0 : 1);
    return {static_cast<std::uint32_t>(mark->line + 1), static_cast<std::uint32_t>(std::max(column, 1))};
  }

 private:
  bool quoted() const {
    if (event_->type != FYET_SCALAR || event_->scalar.value == nullptr) return false;
    const fy_scalar_style style = fy_token_scalar_style(event_->scalar.value);
    return style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED;
  }
  fy_parser* parser_;
  fy_event* event_;
};

std::string token_text(fy_token* token) {
  if (token == nullptr) return {};
  std::size_t size = 0;
  const char* text = fy_token_get_text(token, &size);
  return text == nullptr ? std::string() : std::string(text, size);
}

std::size_t count_nodes(const YamlNode& node) {
  std::size_t count = 1;
  for (const YamlNode& item : node.items) count += count_nodes(item);
  for (const YamlEntry& entry : node.entries) count += count_nodes(entry.value);
  return count;
}

std::size_t count_bytes(const YamlNode& node) {
  std::size_t bytes = node.text.size();
  for (const YamlNode& item : node.items) bytes += count_bytes(item);
  for (const YamlEntry& entry : node.entries) bytes += entry.key.size() + count_bytes(entry.value);
  return bytes;
}

std::size_t height(const YamlNode& node) {
  std::size_t deepest = 0;
  for (const YamlNode& item : node.items) deepest = std::max(deepest, height(item));
  for (const YamlEntry& entry : node.entries) deepest = std::max(deepest, height(entry.value));
  return deepest + 1;
}

// An anchor's finished node, with what a copy of it costs.
struct Anchored {
  YamlNode node;
  std::size_t nodes = 0, bytes = 0, height = 0;
};

class Builder {
 public:
  Builder(std::string_view text, std::string_view file, const YamlLimits& limits)
      : text_(text), file_(file), limits_(limits) {}

  Result<YamlNode> run(fy_parser* parser, fy_diag* diag);

 private:
  // A collection whose end has not come yet.
  struct Open {
    YamlNode node;
    std::string anchor;
    std::optional<YamlEntry> pending;  // a key that waits for its value
    std::vector<YamlNode> merges;      // values of `<<`
    std::set<std::string, std::less<>> keys{};
  };

  template <class... Args>
  std::unexpected<Error> fault(Code code, Place at, fmt::format_string<Args...> format,
                               Args&&... args) const {
    std::string where = fmt::format("{}:{}:{}: {}", file_, at.line, at.column,
                                    fmt::format(format, std::forward<Args>(args)...));
    if (std::string lines = excerpt(text_, at.line, at.column); !lines.empty()) where += "\n" + lines;
    return std::unexpected(Error{code, std::move(where), 0, {}});
  }

  Place place_of(const Event& event) const;
  Result<> on_event(const Event& event);
  Result<> on_scalar(const Event& event);
  Result<> on_alias(const Event& event);
  Result<> open(const Event& event, YamlKind kind, fy_token* anchor, fy_token* tag);
  Result<> close(const Event& event);
  Result<> place_node(YamlNode node, const std::string& anchor);
  Result<> place_key(Open& parent, YamlNode node);
  Result<> merge(Open& mapping);
  Result<> merge_one(Open& mapping, const YamlNode& source);
  Result<> spend(Place at, std::size_t nodes, std::size_t bytes);
  Result<> check_tag(Place at, fy_token* tag, bool& is_text) const;
  std::unexpected<Error> syntax_fault(fy_diag* diag) const;

  std::string_view text_, file_;
  const YamlLimits& limits_;
  std::vector<Open> stack_;
  std::map<std::string, Anchored, std::less<>> anchors_;
  std::optional<YamlNode> root_;
  std::size_t nodes_ = 0, bytes_ = 0;
  int documents_ = 0;
};

Result<YamlNode> Builder::run(fy_parser* parser, fy_diag* diag) {
  while (true) {
    const Event event(parser, fy_parser_parse(parser));
    if (!event) break;
    if (event->type == FYET_STREAM_END) break;
    TRY(on_event(event));
  }
  if (fy_parser_get_stream_error(parser) || fy_diag_got_error(diag)) return syntax_fault(diag);
  if (!root_) {
    YamlNode nothing;
    nothing.line = nothing.column = 1;
    return nothing;
  }
  return std::move(*root_);
}

Result<> Builder::on_event(const Event& event) {
  switch (event->type) {
    case FYET_DOCUMENT_START:
      if (++documents_ > 1)
        return fault(Code::malformed, event.place(), "found a second document, expected one");
      return {};
    case FYET_SCALAR:
      return on_scalar(event);
    case FYET_ALIAS:
      return on_alias(event);
    case FYET_MAPPING_START:
      return open(event, YamlKind::mapping, event->mapping_start.anchor, event->mapping_start.tag);
    case FYET_SEQUENCE_START:
      return open(event, YamlKind::sequence, event->sequence_start.anchor, event->sequence_start.tag);
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END:
      return close(event);
    default:
      return {};
  }
}

// A value that was left out has no place of its own: its key's, else its collection's.
Place Builder::place_of(const Event& event) const {
  const bool written = event->type != FYET_SCALAR || event->scalar.value != nullptr;
  if (const Place at = event.place(); at.line != 0 && written) return at;
  if (stack_.empty()) return {1, 1};
  const Open& parent = stack_.back();
  if (parent.pending) return {parent.pending->line, parent.pending->column};
  return {parent.node.line, parent.node.column};
}

Result<> Builder::on_scalar(const Event& event) {
  YamlNode node;
  const Place at = place_of(event);
  node.line = at.line;
  node.column = at.column;
  node.text = token_text(event->scalar.value);
  node.plain = event->scalar.value == nullptr || fy_token_scalar_style(event->scalar.value) == FYSS_PLAIN;
  bool is_text = false;
  TRY(check_tag(at, event->scalar.tag, is_text));
  if (is_text) node.plain = false;
  TRY(spend(at, 1, 0));
  return place_node(std::move(node), token_text(event->scalar.anchor));
}

Result<> Builder::on_alias(const Event& event) {
  const std::string name = token_text(event->alias.anchor);
  const Place at = event.place();
  const auto found = anchors_.find(name);
  if (found == anchors_.end())
    return fault(Code::malformed, at, "found the alias *{}, but no anchor &{} is complete before it", name,
                 name);
  const Anchored& anchored = found->second;
  TRY(spend(at, anchored.nodes, anchored.bytes));
  if (stack_.size() + anchored.height > limits_.depth)
    return fault(Code::too_large, at, "the alias *{} nests deeper than {} levels", name, limits_.depth);
  return place_node(anchored.node, "");
}

Result<> Builder::open(const Event& event, YamlKind kind, fy_token* anchor, fy_token* tag) {
  const Place at = event.place();
  if (stack_.size() >= limits_.depth)
    return fault(Code::too_large, at, "found more than {} nested levels", limits_.depth);
  bool is_text = false;
  TRY(check_tag(at, tag, is_text));
  TRY(spend(at, 1, 0));
  Open opened;
  opened.node.kind = kind;
  opened.node.line = at.line;
  opened.node.column = at.column;
  opened.anchor = token_text(anchor);
  stack_.push_back(std::move(opened));
  return {};
}

Result<> Builder::close(const Event& event) {
  if (stack_.empty()) return fault(Code::malformed, event.place(), "found an end without a beginning");
  Open done = std::move(stack_.back());
  stack_.pop_back();
  TRY(merge(done));
  return place_node(std::move(done.node), done.anchor);
}

Result<> Builder::place_node(YamlNode node, const std::string& anchor) {
  if (!anchor.empty()) {
    Anchored anchored{node, count_nodes(node), count_bytes(node), height(node)};
    // The anchor's own copy counts too, or anchors around anchors would be free.
    TRY(spend({node.line, node.column}, anchored.nodes, anchored.bytes));
    anchors_.insert_or_assign(anchor, std::move(anchored));
  }
  if (stack_.empty()) {
    root_ = std::move(node);
    return {};
  }
  Open& parent = stack_.back();
  if (parent.node.kind == YamlKind::sequence) {
    parent.node.items.push_back(std::move(node));
    return {};
  }
  if (!parent.pending) return place_key(parent, std::move(node));
  if (parent.pending->key == "<<") {
    parent.merges.push_back(std::move(node));
  } else {
    parent.pending->value = std::move(node);
    parent.node.entries.push_back(std::move(*parent.pending));
  }
  parent.pending.reset();
  return {};
}

Result<> Builder::place_key(Open& parent, YamlNode node) {
  const Place at{node.line, node.column};
  if (node.kind != YamlKind::scalar)
    return fault(Code::malformed, at, "found a collection as a key, expected text");
  if (!parent.keys.insert(node.text).second)
    return fault(Code::malformed, at, "found the key \"{}\" a second time in one mapping",
                 node.text.substr(0, 100));
  parent.pending = YamlEntry{std::move(node.text), at.line, at.column, {}};
  return {};
}

Result<> Builder::merge(Open& mapping) {
  for (const YamlNode& source : mapping.merges) {
    if (source.kind != YamlKind::sequence) {
      TRY(merge_one(mapping, source));
      continue;
    }
    for (const YamlNode& one : source.items) TRY(merge_one(mapping, one));
  }
  return {};
}

Result<> Builder::merge_one(Open& mapping, const YamlNode& source) {
  const Place at{source.line, source.column};
  if (source.kind != YamlKind::mapping)
    return fault(Code::malformed, at, "found something else than a mapping to merge with `<<`");
  for (const YamlEntry& entry : source.entries) {
    if (!mapping.keys.insert(entry.key).second) continue;  // the nearer one wins
    TRY(spend(at, count_nodes(entry.value), count_bytes(entry.value)));
    mapping.node.entries.push_back(entry);
  }
  return {};
}

Result<> Builder::spend(Place at, std::size_t nodes, std::size_t bytes) {
  nodes_ += nodes;
  bytes_ += bytes;
  if (nodes_ > limits_.nodes)
    return fault(Code::too_large, at, "the document has more than {} values once its aliases are expanded",
                 limits_.nodes);
  if (bytes_ > limits_.expanded_bytes)
    return fault(Code::too_large, at, "the aliases expand to more than {} bytes", limits_.expanded_bytes);
  return {};
}

Result<> Builder::check_tag(Place at, fy_token* tag, bool& is_text) const {
  if (tag == nullptr) return {};
  const std::string name = token_text(tag);
  static constexpr std::string_view kCore = "tag:yaml.org,2002:";
  if (name == "!") {
    is_text = true;
    return {};
  }
  if (!name.starts_with(kCore))
    return fault(Code::malformed, at, "found the tag {}, which is not part of YAML's core schema",
                 name.substr(0, 100));
  is_text = name.substr(kCore.size()) == "str";
  return {};
}

std::unexpected<Error> Builder::syntax_fault(fy_diag* diag) const {
  void* previous = nullptr;
  while (const fy_diag_error* error = fy_diag_errors_iterate(diag, &previous)) {
    if (error->type != FYET_ERROR || error->msg == nullptr) continue;
    const Place at{error->line < 0 ? 1 : static_cast<std::uint32_t>(error->line),
                   error->column < 0 ? 1 : static_cast<std::uint32_t>(error->column)};
    const auto said = std::string_view(error->msg).substr(0, 300);
    // What a bracket without its end swallows goes on for lines: the place to look at is where it was opened.
    for (const auto& opened : std::views::reverse(stack_)) {
      const std::string_view line = line_of(text_, opened.node.line);
      const std::size_t column = opened.node.column;
      if (column == 0 || column > line.size() || at.line <= opened.node.line) continue;
      if (const char bracket = line[column - 1]; bracket == '[' || bracket == '{')
        return fault(Code::malformed, {opened.node.line, opened.node.column},
                     "not valid YAML: {} is opened here and not closed before line {}: {}", bracket, at.line,
                     said);
    }
    return fault(Code::malformed, at, "not valid YAML: {}", said);
  }
  return fault(Code::malformed, {1, 1}, "not valid YAML");
}

// c-printable of YAML 1.2 (5.1).
bool is_printable(char32_t c) {
  return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c < 0x7f) || c == 0x85 ||
         (c >= 0xa0 && c <= 0xfffd) || c >= 0x10000;
}

// libfyaml never sees bytes that YAML does not allow.
Result<> check_characters(std::string_view text, std::string_view file) {
  std::uint32_t line = 1, column = 1;
  for (std::size_t i = 0; i < text.size();) {
    const Character c = first_character(text.substr(i));
    if (c.malformed || !is_printable(c.code))
      return fail(Code::malformed, "{}:{}:{}: found the byte 0x{:02x}, expected printable UTF-8 text", file,
                  line, column, static_cast<unsigned char>(text[i]));
    if (text[i] == '\n') {
      ++line;
      column = 1;
    } else {
      ++column;
    }
    i += c.bytes;
  }
  return {};
}

bool one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

// Byte offset of the character number `index` (from 0), or the end.
std::size_t character_offset(std::string_view line, std::size_t index) {
  std::size_t i = 0;
  while (i < line.size() && index > 0) {
    ++i;
    while (i < line.size() && (static_cast<unsigned char>(line[i]) & 0xc0) == 0x80) ++i;
    --index;
  }
  return i;
}

}  // namespace

bool YamlNode::is_null() const {
  return kind == YamlKind::scalar && plain && yaml_null(text);
}

const YamlNode* YamlNode::find(std::string_view key) const {
  for (const YamlEntry& entry : entries)
    if (entry.key == key) return &entry.value;
  return nullptr;
}

Result<YamlNode> parse_yaml(std::string_view text, std::string_view file_name, const YamlLimits& limits) {
  if (text.size() > limits.bytes)
    return fail(Code::too_large, "{}: {} bytes; the bound is {}", file_name, text.size(), limits.bytes);
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  TRY(check_characters(text, file_name));
  if (text.empty()) text = "\n";  // libfyaml refuses zero bytes

  fy_diag_cfg diag_config{};
  fy_diag_cfg_default(&diag_config);
  diag_config.fp = nullptr;
  diag_config.output_fn = [](fy_diag*, void*, const char*, std::size_t) {};
  const std::unique_ptr<fy_diag, DiagDeleter> diag(fy_diag_create(&diag_config));
  if (!diag) return fail(Code::internal, "{}: no memory for the YAML parser", file_name);
  fy_diag_set_collect_errors(diag.get(), true);
  fy_parse_cfg config{};
  config.flags = static_cast<fy_parse_cfg_flags>(FYPCF_QUIET | FYPCF_COLLECT_DIAG |
                                                 FYPCF_DEFAULT_VERSION_1_2 | FYPCF_JSON_NONE);
  config.diag = diag.get();
  const std::unique_ptr<fy_parser, ParserDeleter> parser(fy_parser_create(&config));
  if (!parser || fy_parser_set_string(parser.get(), text.data(), text.size()) != 0)
    return fail(Code::internal, "{}: no memory for the YAML parser", file_name);
  auto parsed = Builder(text, file_name, limits).run(parser.get(), diag.get());
  // libfyaml 0.7.12 frees a diagnosis without the errors that it collected.
  fy_diag_set_collect_errors(diag.get(), false);
  return parsed;
}

bool yaml_null(std::string_view text) {
  return one_of(text, {"", "~", "null", "Null", "NULL"});
}

std::optional<bool> yaml_bool(std::string_view text) {
  if (one_of(text, {"true", "True", "TRUE"})) return true;
  if (one_of(text, {"false", "False", "FALSE"})) return false;
  return std::nullopt;
}

std::optional<std::int64_t> yaml_int(std::string_view text) {
  int base = 10;
  if (text.starts_with("0x")) base = 16;
  if (text.starts_with("0o")) base = 8;
  if (base != 10)
    text.remove_prefix(2);
  else if (text.starts_with('+'))
    text.remove_prefix(1);
  if (text.empty() || (base != 10 && text[0] == '-') || text.starts_with("+")) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> yaml_float(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.empty() || text.find_first_not_of("0123456789.eE+-") != std::string_view::npos || text[0] == '+')
    return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::string_view line_of(std::string_view text, std::uint32_t line) {
  if (line == 0) return {};
  for (; line > 1; --line) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  text = text.substr(0, text.find('\n'));
  if (text.ends_with('\r')) text.remove_suffix(1);
  return text;
}

std::string caret_under(std::string_view line, std::uint32_t column) {
  const std::size_t index = column == 0 ? 0 : column - 1;
  const std::size_t first = index > kExcerptRadius ? index - kExcerptRadius : 0;
  const std::size_t begin = character_offset(line, first);
  const std::size_t end = character_offset(line, first + 2 * kExcerptRadius);
  const std::string shown(line.substr(begin, end - begin));
  if (shown.find_first_not_of(" \t") == std::string::npos) return {};
  std::string pad;
  const std::string_view before = line.substr(begin, character_offset(line, index) - begin);
  for (const char c : before) {
    if (c == '\t')
      pad += '\t';
    else if ((static_cast<unsigned char>(c) & 0xc0) != 0x80)
      pad += ' ';
  }
  return fmt::format("    | {}{}{}\n    | {}{}^", first > 0 ? "..." : "", shown,
                     end < line.size() ? "..." : "", first > 0 ? "   " : "", pad);
}

std::string excerpt(std::string_view text, std::uint32_t line, std::uint32_t column) {
  const std::string_view found = line_of(text, line);
  return found.empty() ? std::string() : caret_under(found, column);
}

}  // namespace naru::format
