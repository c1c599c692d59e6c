// Inside of the compose reader: a place in the file, the list of remarks, and typed access that remarks by
// itself. Every read returns nothing after a fault and goes on, so that one push shows all faults.
#pragma once

#include <initializer_list>

#include "base/spelling.h"
#include "format/compose.h"
#include "format/yaml.h"

namespace naru::format {

// A node and its path. Refers into the tree.
struct At {
  const YamlNode* node = nullptr;
  std::string path;  // "services.web.ports[0]"

  At child(const YamlEntry& entry) const;
  At item(std::size_t index) const;
  // The child `key`, or this one where there is none.
  At child_or_self(std::string_view key) const;
};

// What to do about a remark.
struct Advice {
  std::string hint{};
  Code code = Code::compose_invalid;
};

// One key of a mapping and what reads it; a null value is not read.
struct Field {
  std::string_view key;
  std::function<void(const At&)> read;
};

struct KeyValue {
  std::string key;
  std::optional<std::string> value;  // none: null, or without `=`
  At at;
};

class ComposeReading {
 public:
  ComposeReading(std::string_view text, const ComposeInput& input) : input_(input), text_(text) {}

  const ComposeInput& input() const { return input_; }

  void error(const At& at, std::string message, Advice advice = {});
  void warn(const At& at, std::string message, Advice advice = {});
  bool failed() const { return !errors_.empty(); }
  // All errors as one; call when failed().
  std::unexpected<Error> errors() const;
  std::vector<ComposeDiagnostic> take_warnings();
  // A place without a remark.
  ComposeDiagnostic place(const At& at) const { return remark(at, {}, {}); }

  // Scalars. `expected` is said in the error: "found a list, expected a path".
  std::optional<std::string> text(const At& at, std::string_view expected = "text");
  std::optional<bool> boolean(const At& at);
  std::optional<std::uint64_t> whole(const At& at, std::uint64_t least, std::uint64_t most);
  std::optional<double> number(const At& at, double more_than, double most);
  std::optional<milliseconds> duration(const At& at);
  std::optional<std::uint64_t> bytes(const At& at);

  // One text or a list of texts.
  std::vector<std::string> texts(const At& at, std::string_view expected = "a list of text");
  // A list, each item; a fault when it is none.
  void each(const At& at, std::string_view expected, const std::function<void(const At&)>& read);
  // A mapping, each entry.
  void entries(const At& at, std::string_view expected,
               const std::function<void(const std::string&, const At&)>& read);
  // "KEY=value" items or a mapping.
  std::vector<KeyValue> key_values(const At& at);

  // Reads a mapping by its known keys. Unknown ones warn (with the nearest known one), or are errors when
  // `strict`; `x-*` is passed over. `otherwise` is asked about keys outside of `known` first: true = it took
  // care of it.
  enum class Unknown { warn, error };
  using Otherwise = std::function<bool(const std::string& key, const At& value)>;
  void fields(const At& at, std::initializer_list<Field> known, Unknown unknown = Unknown::warn,
              const Otherwise& otherwise = {});
  // Readers for keys without an effect here. A value that asks for nothing (false, empty) is always accepted.
  static std::function<void(const At&)> silent();
  std::function<void(const At&)> ignored(std::string why);
  std::function<void(const At&)> unsupported(std::string hint);
  std::function<void(const At&)> forbidden(std::string why);

  // A path relative to the compose file, normalised ("./a/../b" is "b", "" is "."); nothing when it is
  // absolute or escapes, which is reported.
  std::optional<std::string> inside(const At& at, std::string_view base, const std::string& path,
                                    std::string_view what);
  bool passes_link(const std::string& path) const {
    return input_.files.passes_link && input_.files.passes_link(path);
  }
  // False, and a remark with the operator's command, unless the application was granted `need`.
  bool granted(const At& at, const Grant& need);
  bool exists(const std::string& path) const { return !input_.files.exists || input_.files.exists(path); }

 private:
  ComposeDiagnostic remark(const At& at, std::string message, Advice advice) const;

  const ComposeInput& input_;
  std::string_view text_;
  std::vector<ComposeDiagnostic> errors_, warnings_;
  std::size_t more_errors_ = 0, more_warnings_ = 0;
};

// "\"abc\"", "a list", "a mapping", "nothing": for messages; long text is cut.
std::string found(const YamlNode& node);
// The remedy for what would reach beyond the container, where there is no way to allow it.
inline constexpr const char* kTakeOut = "take it out: it cannot be granted yet";
// Whether the value asks for nothing: null, false, an empty collection.
bool asks_nothing(const YamlNode& node);
// Normalises a relative path; nothing when it escapes or is absolute.
std::optional<std::string> normalise(std::string_view base, std::string_view path);

}  // namespace naru::format
