// Environment replacement: one word in, its value out. Follows BuildKit's shlex
// (frontend/dockerfile/shell/lex.go).
#include "format/dockerfile.h"

namespace naru::format {

namespace {

constexpr int kMaxNesting = 32;

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Expander {
 public:
  Expander(std::string_view word, const VariableLookup& lookup, char escape)
      : word_(word), lookup_(lookup), escape_(escape) {}

  // Up to the end, or to `stop` (which is consumed).
  Result<std::string> until(char stop, int depth) {
    if (depth > kMaxNesting) return fail(Code::too_large, "more than {} nested ${{...}}", kMaxNesting);
    std::string out;
    while (at_ < word_.size()) {
      const char c = word_[at_];
      if (stop != 0 && c == stop) {
        ++at_;
        return out;
      }
      if (c == '\'') {
        out += TRY(single_quoted());
      } else if (c == '"') {
        out += TRY(double_quoted(depth));
      } else if (c == '$') {
        out += TRY(variable(depth));
      } else if (c == escape_) {
        ++at_;
        if (at_ < word_.size()) out += word_[at_++];
      } else {
        out += c;
        ++at_;
      }
      if (out.size() > kMaxExpandedWordBytes)
        return fail(Code::too_large, "a value of more than {} bytes after substitution",
                    kMaxExpandedWordBytes);
    }
    if (stop != 0)
      return fail(Code::dockerfile_invalid, "'${{' without its '{}' in '{}'", stop, word_.substr(0, 80));
    return out;
  }

 private:
  Result<std::string> single_quoted() {
    const auto end = word_.find('\'', at_ + 1);
    if (end == word_.npos)
      return fail(Code::dockerfile_invalid, "a single quote without its end in '{}'", word_.substr(0, 80));
    std::string out(word_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return out;
  }

  Result<std::string> double_quoted(int depth) {
    std::string out;
    for (++at_; at_ < word_.size();) {
      const char c = word_[at_];
      if (c == '"') {
        ++at_;
        return out;
      }
      if (c == '$') {
        out += TRY(variable(depth));
        continue;
      }
      ++at_;
      if (c == escape_ && at_ < word_.size()) {
        const char next = word_[at_++];
        if (next != '"' && next != '$' && next != escape_) out += c;
        out += next;
      } else {
        out += c;
      }
    }
    return fail(Code::dockerfile_invalid, "a double quote without its end in '{}'", word_.substr(0, 80));
  }

  std::string_view name() {
    const std::size_t from = at_;
    if (at_ >= word_.size()) return {};
    if (is_name_start(word_[at_])) {
      while (at_ < word_.size() && (is_name_start(word_[at_]) || is_digit(word_[at_]))) ++at_;
    } else if (is_digit(word_[at_])) {
      while (at_ < word_.size() && is_digit(word_[at_])) ++at_;
    } else if (std::string_view("@*#?-$!").find(word_[at_]) != std::string_view::npos) {
      ++at_;
    }
    return word_.substr(from, at_ - from);
  }

  Result<std::string> variable(int depth) {
    ++at_;  // $
    if (at_ >= word_.size()) return std::string("$");
    if (word_[at_] != '{') {
      const std::string_view plain = name();
      if (plain.empty()) return std::string("$");
      return lookup_(plain).value_or("");
    }
    ++at_;  // {
    const std::string named(name());
    if (named.empty() || at_ >= word_.size())
      return fail(Code::dockerfile_invalid, "'${{' without a name and '}}' in '{}'", word_.substr(0, 80));
    const std::optional<std::string> value = lookup_(named);
    if (word_[at_] == '}') {
      ++at_;
      return value.value_or("");
    }
    return modified(named, value, depth);
  }

  // Behind the name: :-  -  :+  +  :?  ?
  Result<std::string> modified(const std::string& named, const std::optional<std::string>& value, int depth) {
    const bool colon = word_[at_] == ':';
    if (colon) ++at_;
    const char modifier = at_ < word_.size() ? word_[at_] : '\0';
    if (modifier != '-' && modifier != '+' && modifier != '?')
      return std::unexpected<Error>(Error{Code::unsupported,
                                          fmt::format("the modifier '{}' of ${{{}}} is not supported",
                                                      word_.substr(at_ - (colon ? 1 : 0), 2), named),
                                          0, "use ${x:-default}, ${x:+value} or ${x:?message}"});
    ++at_;
    std::string word = TRY(until('}', depth + 1));
    const bool present = value && !(colon && value->empty());
    if (modifier == '+') return present ? word : std::string();
    if (present) return *value;
    if (modifier == '-') return word;
    return fail(Code::dockerfile_invalid, "{}: {}", named, word.empty() ? "not allowed to be unset" : word);
  }

  std::string_view word_;
  const VariableLookup& lookup_;
  char escape_;
  std::size_t at_ = 0;
};

}  // namespace

Result<std::string> expand_word(std::string_view word, const VariableLookup& lookup, char escape) {
  return Expander(word, lookup, escape).until('\0', 0);
}

}  // namespace naru::format
