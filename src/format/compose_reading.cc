#include "format/compose_reading.h"

#include "base/utf8.h"
#include "format/quantity.h"

namespace naru::format {
namespace {

std::string cut(std::string_view text, std::size_t most) {
  return text.size() <= most ? std::string(text) : std::string(beginning(text, most)) + "...";
}

}  // namespace

At At::child(const YamlEntry& entry) const {
  return {&entry.value, path.empty() ? entry.key : path + "." + cut(entry.key, 100)};
}

At At::item(std::size_t index) const {
  return {&node->items[index], fmt::format("{}[{}]", path, index)};
}

At At::child_or_self(std::string_view key) const {
  for (const YamlEntry& entry : node->entries)
    if (entry.key == key) return child(entry);
  return *this;
}

std::string ComposeDiagnostic::text() const {
  std::string out = line == 0 ? fmt::format("{}: ", file) : fmt::format("{}:{}:{}: ", file, line, column);
  if (!path.empty()) out += path + ": ";
  out += message;
  if (!excerpt.empty()) out += "\n" + caret_under(excerpt, column);
  if (!hint.empty()) out += "\n    hint: " + hint;
  return out;
}

std::string found(const YamlNode& node) {
  if (node.kind == YamlKind::sequence) return node.items.empty() ? "an empty list" : "a list";
  if (node.kind == YamlKind::mapping) return node.entries.empty() ? "an empty mapping" : "a mapping";
  if (node.is_null()) return "nothing";
  return fmt::format("\"{}\"", cut(node.text, 80));
}

bool asks_nothing(const YamlNode& node) {
  if (node.kind != YamlKind::scalar) return node.items.empty() && node.entries.empty();
  return node.is_null() || node.text.empty() || yaml_bool(node.text) == false;
}

std::optional<std::string> normalise(std::string_view base, std::string_view path) {
  if (path.starts_with('/') || path.starts_with('~') || path.find('\0') != std::string_view::npos)
    return std::nullopt;
  std::vector<std::string> parts;
  const std::string whole = fmt::format("{}/{}", base, path);
  for (std::size_t begin = 0; begin <= whole.size();) {
    const std::size_t end = std::min(whole.find('/', begin), whole.size());
    const std::string part = whole.substr(begin, end - begin);
    begin = end + 1;
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
    } else {
      if (parts.empty()) return std::nullopt;
      parts.pop_back();
    }
  }
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : "/") + part;
  return out.empty() ? "." : out;
}

ComposeDiagnostic ComposeReading::remark(const At& at, std::string message, Advice advice) const {
  ComposeDiagnostic diagnostic{advice.code, input_.file_name,   0,  0,
                               at.path,     std::move(message), {}, std::move(advice.hint)};
  if (at.node != nullptr) {
    diagnostic.line = at.node->line;
    diagnostic.column = at.node->column;
    diagnostic.excerpt = std::string(line_of(text_, at.node->line));
  }
  return diagnostic;
}

void ComposeReading::error(const At& at, std::string message, Advice advice) {
  if (errors_.size() >= kMaxComposeErrors)
    ++more_errors_;
  else
    errors_.push_back(remark(at, std::move(message), std::move(advice)));
}

void ComposeReading::warn(const At& at, std::string message, Advice advice) {
  if (warnings_.size() >= kMaxComposeWarnings)
    ++more_warnings_;
  else
    warnings_.push_back(remark(at, std::move(message), std::move(advice)));
}

std::unexpected<Error> ComposeReading::errors() const {
  std::vector<const ComposeDiagnostic*> ordered;
  for (const ComposeDiagnostic& diagnostic : errors_) ordered.push_back(&diagnostic);
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const ComposeDiagnostic* a, const ComposeDiagnostic* b) {
                     return std::pair(a->line, a->column) < std::pair(b->line, b->column);
                   });
  Error error{ordered.front()->code, {}, 0, ordered.size() == 1 ? ordered.front()->hint : std::string()};
  for (const ComposeDiagnostic* diagnostic : ordered)
    error.context += (error.context.empty() ? "" : "\n") + diagnostic->text();
  if (more_errors_ > 0)
    error.context += fmt::format("\n{}: and {} more errors", input_.file_name, more_errors_);
  return std::unexpected(std::move(error));
}

std::vector<ComposeDiagnostic> ComposeReading::take_warnings() {
  std::stable_sort(warnings_.begin(), warnings_.end(),
                   [](const ComposeDiagnostic& a, const ComposeDiagnostic& b) {
                     return std::pair(a.line, a.column) < std::pair(b.line, b.column);
                   });
  if (more_warnings_ > 0)
    warnings_.push_back(remark({}, fmt::format("and {} more warnings", more_warnings_), {}));
  return std::move(warnings_);
}

std::optional<std::string> ComposeReading::text(const At& at, std::string_view expected) {
  if (at.node->kind != YamlKind::scalar || at.node->is_null()) {
    error(at, fmt::format("found {}, expected {}", found(*at.node), expected));
    return std::nullopt;
  }
  if (at.node->text.find('\0') != std::string::npos) {
    error(at, fmt::format("found text with a NUL character in it, expected {}", expected));
    return std::nullopt;
  }
  return at.node->text;
}

std::optional<bool> ComposeReading::boolean(const At& at) {
  const std::string word = at.node->kind == YamlKind::scalar ? at.node->text : "";
  if (const auto value = yaml_bool(word)) return value;
  std::string hint;
  if (word == "yes" || word == "on" || word == "y")
    hint = fmt::format("in YAML 1.2 \"{}\" is text; write true", word);
  if (word == "no" || word == "off" || word == "n")
    hint = fmt::format("in YAML 1.2 \"{}\" is text; write false", word);
  error(at, fmt::format("found {}, expected true or false", found(*at.node)), {hint});
  return std::nullopt;
}

std::optional<std::uint64_t> ComposeReading::whole(const At& at, std::uint64_t least, std::uint64_t most) {
  const auto value = at.node->kind == YamlKind::scalar ? yaml_int(at.node->text) : std::nullopt;
  if (value && *value >= 0 && static_cast<std::uint64_t>(*value) >= least &&
      static_cast<std::uint64_t>(*value) <= most)
    return static_cast<std::uint64_t>(*value);
  error(at, fmt::format("found {}, expected a whole number from {} to {}", found(*at.node), least, most));
  return std::nullopt;
}

std::optional<double> ComposeReading::number(const At& at, double more_than, double most) {
  const auto value = at.node->kind == YamlKind::scalar ? yaml_float(at.node->text) : std::nullopt;
  if (value && *value > more_than && *value <= most) return value;
  error(at,
        fmt::format("found {}, expected a number above {} and at most {}", found(*at.node), more_than, most));
  return std::nullopt;
}

std::optional<milliseconds> ComposeReading::duration(const At& at) {
  const auto value = at.node->kind == YamlKind::scalar ? parse_duration(at.node->text) : std::nullopt;
  if (!value) {
    const bool bare = at.node->kind == YamlKind::scalar && yaml_float(at.node->text).has_value();
    error(at, fmt::format("found {}, expected a duration like 30s, 1m30s or 500ms", found(*at.node)),
          {bare ? fmt::format("write the unit: {}s", at.node->text) : std::string()});
  }
  return value;
}

std::optional<std::uint64_t> ComposeReading::bytes(const At& at) {
  const auto value = at.node->kind == YamlKind::scalar ? parse_bytes(at.node->text) : std::nullopt;
  if (!value) error(at, fmt::format("found {}, expected a size like 512m, 2g or 64KiB", found(*at.node)));
  return value;
}

std::vector<std::string> ComposeReading::texts(const At& at, std::string_view expected) {
  std::vector<std::string> out;
  if (at.node->kind == YamlKind::scalar) {
    if (auto one = text(at, expected)) out.push_back(std::move(*one));
    return out;
  }
  each(at, expected, [&](const At& item) {
    if (auto one = text(item)) out.push_back(std::move(*one));
  });
  return out;
}

void ComposeReading::each(const At& at, std::string_view expected,
                          const std::function<void(const At&)>& read) {
  if (at.node->kind != YamlKind::sequence)
    return error(at, fmt::format("found {}, expected {}", found(*at.node), expected));
  for (std::size_t i = 0; i < at.node->items.size(); ++i) read(at.item(i));
}

void ComposeReading::entries(const At& at, std::string_view expected,
                             const std::function<void(const std::string&, const At&)>& read) {
  if (at.node->kind != YamlKind::mapping)
    return error(at, fmt::format("found {}, expected {}", found(*at.node), expected));
  for (const YamlEntry& entry : at.node->entries) read(entry.key, at.child(entry));
}

std::vector<KeyValue> ComposeReading::key_values(const At& at) {
  std::vector<KeyValue> out;
  const auto add = [&](std::string key, std::optional<std::string> value, const At& where) {
    const bool bad = key.empty() || key.find_first_of(std::string_view("=\0\n", 3)) != std::string::npos;
    if (bad || (value && value->find('\0') != std::string::npos))
      return error(where,
                   fmt::format("found the key \"{}\", expected a name without = and NUL", cut(key, 60)));
    out.push_back({std::move(key), std::move(value), where});
  };
  if (at.node->kind == YamlKind::mapping) {
    entries(at, "", [&](const std::string& key, const At& value) {
      if (value.node->is_null()) return add(key, std::nullopt, value);
      if (auto read = text(value, "text, a number, true or false")) add(key, std::move(read), value);
    });
    return out;
  }
  each(at, "a mapping, or a list of KEY=value", [&](const At& item) {
    const auto read = text(item, "KEY=value");
    if (!read) return;
    const std::size_t equals = read->find('=');
    if (equals == std::string::npos)
      add(*read, std::nullopt, item);
    else
      add(read->substr(0, equals), read->substr(equals + 1), item);
  });
  return out;
}

void ComposeReading::fields(const At& at, std::initializer_list<Field> known, Unknown unknown,
                            const Otherwise& otherwise) {
  entries(at, "a mapping", [&](const std::string& key, const At& value) {
    for (const Field& field : known)
      if (field.key == key) {
        if (!value.node->is_null()) field.read(value);
        return;
      }
    if (key.starts_with("x-") || (otherwise && otherwise(key, value))) return;
    std::vector<std::string_view> names;
    for (const Field& field : known) names.push_back(field.key);
    const auto entry = std::find_if(at.node->entries.begin(), at.node->entries.end(),
                                    [&](const YamlEntry& e) { return e.key == key; });
    YamlNode place;  // the remark points at the key, not at its value
    place.line = entry->line;
    place.column = entry->column;
    const At where{&place, value.path};
    if (unknown == Unknown::error)
      return error(where, fmt::format("found the unknown key \"{}\"", cut(key, 60)),
                   {did_you_mean(key, names)});
    warn(where, fmt::format("the unknown key \"{}\" is ignored", cut(key, 60)), {did_you_mean(key, names)});
  });
}

std::function<void(const At&)> ComposeReading::silent() {
  return [](const At&) {};
}

std::function<void(const At&)> ComposeReading::ignored(std::string why) {
  return [this, why](const At& at) {
    if (!asks_nothing(*at.node)) warn(at, "ignored: " + why);
  };
}

std::function<void(const At&)> ComposeReading::unsupported(std::string hint) {
  return [this, hint](const At& at) {
    if (!asks_nothing(*at.node)) error(at, "Naru does not support this key yet", {hint, Code::unsupported});
  };
}

std::function<void(const At&)> ComposeReading::forbidden(std::string why) {
  return [this, why](const At& at) {
    if (asks_nothing(*at.node)) return;
    error(at, fmt::format("found {}, which is refused: {}", found(*at.node), why),
          {kTakeOut, Code::forbidden});
  };
}

bool ComposeReading::granted(const At& at, const Grant& need) {
  if (const std::string why = why_never(need); !why.empty()) {
    error(at, fmt::format("found {}, which is refused: {}", found(*at.node), why),
          {need.kind == GrantKind::bind ? "put the files into the repository and mount ./folder, or use a "
                                          "named volume"
                                        : kTakeOut,
           Code::forbidden});
    return false;
  }
  if (is_covered(need, input_.grants)) return true;
  const std::string_view app = std::string_view(input_.app).substr(0, input_.app.find('/'));
  error(at, fmt::format("found {}, which {} is not allowed", found(*at.node), app),
        {fmt::format("{}the operator allows it on the machine, as root: {}",
                     need.kind == GrantKind::bind ? "use a named volume, or " : "", allow_command(app, need)),
         Code::forbidden});
  return false;
}

std::optional<std::string> ComposeReading::inside(const At& at, std::string_view base,
                                                  const std::string& path, std::string_view what) {
  if (auto normal = normalise(base, path)) return normal;
  error(at, fmt::format("found \"{}\", expected {} inside the application's folder", cut(path, 80), what),
        {"a release is what was pushed; files elsewhere on the machine belong to others", Code::forbidden});
  return std::nullopt;
}

}  // namespace naru::format
