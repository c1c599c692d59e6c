#include "format/interpolation.h"

namespace naru::format {
namespace {

constexpr int kMaxDepth = 16;

bool starts_name(char c) {
  return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool in_name(char c) {
  return starts_name(c) || (c >= '0' && c <= '9');
}

std::string_view take_name(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size() && (length == 0 ? starts_name(text[0]) : in_name(text[length]))) ++length;
  return text.substr(0, length);
}

class Interpolation {
 public:
  explicit Interpolation(const VariableLookup& lookup) : lookup_(lookup) {}

  Result<> run(std::string_view text, int depth) {
    if (depth > kMaxDepth) return fail(Code::malformed, "found more than {} nested ${{...}}", kMaxDepth);
    for (std::size_t i = 0; i < text.size();) {
      if (text[i] != '$') {
        const std::size_t end = std::min(text.find('$', i), text.size());
        TRY(put(text.substr(i, end - i)));
        i = end;
        continue;
      }
      i += TRY(dollar(text.substr(i), depth));
    }
    return {};
  }

  Interpolated take() { return std::move(out_); }

 private:
  Result<> put(std::string_view piece) {
    if (out_.text.size() + piece.size() > kMaxInterpolatedBytes)
      return fail(Code::too_large, "variables make the text longer than {} bytes", kMaxInterpolatedBytes);
    out_.text += piece;
    return {};
  }

  // `text` starts at a dollar sign; returns how much of it was used.
  Result<std::size_t> dollar(std::string_view text, int depth) {
    if (text.starts_with("$$")) {
      TRY(put("$"));
      return 2;
    }
    if (!text.starts_with("${")) {
      const std::string_view name = take_name(text.substr(1));
      if (name.empty())
        return fail(Code::malformed, "found \"{}\", expected $NAME, ${{NAME}} or $$", text.substr(0, 20));
      TRY(put(value_or_unset(name)));
      return 1 + name.size();
    }
    const std::size_t end = closing_brace(text);
    if (end == std::string_view::npos)
      return fail(Code::malformed, "found \"{}\", whose brace does not close", text.substr(0, 40));
    TRY(braced(text.substr(2, end - 2), depth));
    return end + 1;
  }

  static std::size_t closing_brace(std::string_view text) {
    int depth = 1;
    for (std::size_t i = 2; i < text.size(); ++i) {
      if (text[i] == '$' && i + 1 < text.size() && (text[i + 1] == '$' || text[i + 1] == '{')) {
        if (text[i + 1] == '{') ++depth;
        ++i;
      } else if (text[i] == '}' && --depth == 0) {
        return i;
      }
    }
    return std::string_view::npos;
  }

  // What stands between the braces.
  Result<> braced(std::string_view inner, int depth) {
    const std::string_view name = take_name(inner);
    std::string_view rest = inner.substr(name.size());
    if (name.empty())
      return fail(Code::malformed, "found \"${{{}}}\", expected a name of letters, digits and _",
                  inner.substr(0, 40));
    if (rest.empty()) return put(value_or_unset(name));
    const bool empty_counts = rest.starts_with(':');
    if (empty_counts) rest.remove_prefix(1);
    const char operation = rest.empty() ? '\0' : rest[0];
    if (operation != '-' && operation != '?' && operation != '+')
      return fail(Code::malformed, "found \"${{{}}}\", expected one of :- - :? ? :+ + after the name",
                  inner.substr(0, 40));
    const std::string_view word = rest.substr(1);
    const std::optional<std::string> value = lookup_(name);
    const bool has = value && !(empty_counts && value->empty());
    if (operation == '+') return has ? run(word, depth + 1) : Result<>();
    if (has) return put(*value);
    if (operation == '-') return run(word, depth + 1);
    out_.required.push_back({std::string(name), std::string(word.substr(0, 500))});
    return {};
  }

  std::string value_or_unset(std::string_view name) {
    std::optional<std::string> value = lookup_(name);
    if (value) return std::move(*value);
    if (out_.unset.size() < 100) out_.unset.emplace_back(name);
    return {};
  }

  const VariableLookup& lookup_;
  Interpolated out_;
};

}  // namespace

Result<Interpolated> interpolate(std::string_view text, const VariableLookup& lookup) {
  Interpolation interpolation(lookup);
  TRY(interpolation.run(text, 0));
  return interpolation.take();
}

}  // namespace naru::format
